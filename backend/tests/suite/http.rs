//! The service as requests: tokens, malformed and large bodies, answers, probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use backend::record::ConflictRecord;
use backend::upload::BoxFuture;
use backend::wire::UploadAnswer;
use backend::{
    Auth, Config, Engine, Key, Limits, MemoryStore, PolicyKind, RETENTION_US, State, Store, StoreError, Upload, router,
};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::app;
use crate::script::START_US;

struct Service {
    router: Router,
    auth: Auth,
    now_us: Arc<AtomicI64>,
}

fn keys() -> Vec<Key> {
    vec![
        Key { kid: "current".to_owned(), secret: b"a secret of the tests".to_vec(), retires_us: None },
        Key { kid: "former".to_owned(), secret: b"an older one".to_vec(), retires_us: Some(START_US + 60_000_000) },
    ]
}

impl Service {
    fn new(kind: PolicyKind, is_development: bool) -> Self {
        let rules = app::rules();
        let store = Arc::new(MemoryStore::new(rules.clone()));
        Self::on(kind, is_development, store)
    }

    fn on(kind: PolicyKind, is_development: bool, store: Arc<dyn Store>) -> Self {
        let now_us = Arc::new(AtomicI64::new(START_US));
        let clock = now_us.clone();
        let auth = Auth::hs256(keys(), vec!["warehouse".to_owned()]);
        let state = State::new(Config {
            rules: app::rules(),
            policy: kind.policy(),
            store,
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            auth: auth.clone(),
            limits: Limits { body_bytes_max: 4096, ops_max: 3 },
            retention_us: RETENTION_US,
            is_development,
        });
        Self { router: router(state), auth, now_us }
    }

    fn token(&self) -> String {
        self.auth.mint("someone", START_US, 3600).expect("there is a key")
    }

    async fn send(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> (StatusCode, Json) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Json::Null))
    }

    async fn upload(&self, body: &Json) -> (StatusCode, Json) {
        self.send("POST", "/upload", Some(&self.token()), &body.to_string()).await
    }
}

fn transaction(tx_id: i64, ops: Json) -> Json {
    json!({"client_id": "a", "transactions": [{"tx_id": tx_id, "ops": ops}]})
}

fn put(op_id: i64, id: &str) -> Json {
    json!({"op_id": op_id, "op": "PUT", "table": "boxes", "id": id, "data": {"label": "x"}})
}

#[tokio::test]
async fn tokens() {
    let service = Service::new(PolicyKind::FieldMerge, false);
    let signed = |kid: &str, secret: &[u8], claims: Json| {
        let header = jsonwebtoken::Header {
            kid: Some(kid.to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(secret)).expect("signed")
    };
    let now_s = START_US / 1_000_000;
    let claims = |exp: i64, aud: Json| json!({"sub": "someone", "exp": exp, "aud": aud});
    let good = claims(now_s + 60, json!("warehouse"));
    let secret = keys()[0].secret.clone();
    let former = keys()[1].secret.clone();
    let other_algorithm = jsonwebtoken::encode(
        &jsonwebtoken::Header {
            kid: Some("current".to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS512)
        },
        &good,
        &jsonwebtoken::EncodingKey::from_secret(&secret),
    )
    .expect("signed");
    let cases = [
        (None, Some("missing-token")),
        (Some("nonsense".to_owned()), Some("malformed-token")),
        (Some(other_algorithm), Some("algorithm")),
        (Some(signed("unknown", &secret, good.clone())), Some("unknown-key")),
        (Some(signed("current", b"another secret", good.clone())), Some("bad-signature")),
        (Some(signed("current", &secret, claims(now_s, json!("warehouse")))), Some("expired")),
        (Some(signed("current", &secret, claims(now_s + 60, json!("elsewhere")))), Some("wrong-audience")),
        (Some(signed("current", &secret, json!({"sub": "someone", "exp": now_s + 60}))), Some("wrong-audience")),
        (Some(signed("current", &secret, json!({"sub": "someone", "aud": "warehouse"}))), Some("claim")),
        (Some(signed("current", &secret, json!({"exp": now_s + 60, "aud": "warehouse"}))), Some("claim")),
        (
            Some(signed(
                "current",
                &secret,
                json!({"sub": "s", "exp": now_s + 60, "nbf": now_s + 9, "aud": "warehouse"}),
            )),
            Some("not-yet-valid"),
        ),
        (Some(signed("current", &secret, good.clone())), None),
        (Some(signed("current", &secret, claims(now_s + 60, json!(["elsewhere", "warehouse"])))), None),
        (Some(signed("former", &former, good)), None),
    ];
    for (token, expect) in cases {
        let (status, body) = service.send("GET", "/conflicts", token.as_deref(), "").await;
        let wanted = if expect.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!((status, body["error"]["code"].as_str()), (wanted, expect), "{body}");
        assert_eq!(body["error"]["reason"].is_string(), expect.is_some());
    }
    let token = signed("former", &former, claims(now_s + 3600, json!("warehouse")));
    service.now_us.store(START_US + 60_000_000, Ordering::Relaxed);
    let (status, body) = service.send("GET", "/conflicts", Some(&token), "").await;
    assert_eq!((status, body["error"]["code"].as_str()), (StatusCode::UNAUTHORIZED, Some("unknown-key")));
}

#[tokio::test]
async fn bodies() {
    let service = Service::new(PolicyKind::FieldMerge, false);
    let deep = format!("{}{}", "[".repeat(400), "]".repeat(400));
    let many = Json::Array((1..5).map(|op_id| put(op_id, "b1")).collect());
    let cases = [
        (String::new(), "malformed"),
        ("{".to_owned(), "malformed"),
        ("{}".to_owned(), "malformed"),
        (r#"{"client_id":"","transactions":[]}"#.to_owned(), "malformed"),
        (r#"{"batch":[]}"#.to_owned(), "malformed"),
        (json!({"client_id": "a", "transactions": [{"tx_id": 1, "ops": [{"op_id": "one"}]}]}).to_string(), "malformed"),
        (transaction(1, json!([put(1, "b1"), put(1, "b2")])).to_string(), "malformed"),
        (deep, "malformed"),
        (transaction(1, many).to_string(), "too-large"),
        (format!("{:5000}", ""), "too-large"),
    ];
    for (body, code) in cases {
        let (status, answer) = service.send("POST", "/upload", Some(&service.token()), &body).await;
        let expect = if code == "malformed" { StatusCode::BAD_REQUEST } else { StatusCode::PAYLOAD_TOO_LARGE };
        let shown: String = body.chars().take(80).collect();
        assert_eq!((status, answer["error"]["code"].as_str()), (expect, Some(code)), "{shown}");
    }
    let (status, _) = service.send("POST", "/upload", None, "{").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the token is checked before the body");
    let (status, answer) = service.upload(&json!({"client_id": "a", "transactions": []})).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"transactions": []})));
}

#[tokio::test]
async fn answers_and_records() {
    let service = Service::new(PolicyKind::FieldMerge, false);
    let first = transaction(7, json!([put(31, "b1")]));
    let expect = json!({"transactions": [
        {"tx_id": 7, "outcome": "committed", "ops": [{"op_id": 31, "outcome": "applied"}]}
    ]});
    assert_eq!(service.upload(&first).await, (StatusCode::OK, expect.clone()));
    let other = json!({"client_id": "b", "transactions": [
        {"tx_id": 1, "ops": [{"op_id": 1, "op": "PATCH", "table": "boxes", "id": "b1", "data": {"colour": "red"}}]},
        {"tx_id": 2, "ops": [{"op_id": 2, "op": "DELETE", "table": "boxes", "id": "b1", "old": {"label": "w"}}]},
    ]});
    let (_, answer) = service.upload(&other).await;
    assert_eq!(
        answer,
        json!({"transactions": [
            {"tx_id": 1, "outcome": "refused", "ops": [{"op_id": 1, "outcome": "rejected", "reason": "unknown-column: colour"}]},
            {"tx_id": 2, "outcome": "committed", "ops": [{"op_id": 2, "outcome": "applied"}]},
        ]})
    );
    assert_eq!(service.upload(&first).await, (StatusCode::OK, expect), "a repeat gets the first answer");
    let token = service.token();
    let (_, answer) = service.send("GET", "/conflicts", Some(&token), "").await;
    let record = json!({"seq": 1, "at": "2026-01-01T00:00:00.000000Z", "table": "boxes", "id": "b1", "column": null,
        "rule": "deleted", "loser": "a/31", "winner": "b/2"});
    assert_eq!(answer, json!({"conflicts": [record], "last": 1, "has_more": false}));
    let (_, answer) = service.send("GET", "/conflicts?after=1", Some(&token), "").await;
    assert_eq!(answer, json!({"conflicts": [], "last": 1, "has_more": false}));
    let stranger = service.auth.mint("stranger", START_US, 60).expect("there is a key");
    let (_, answer) = service.send("GET", "/conflicts", Some(&stranger), "").await;
    assert_eq!(answer["conflicts"], json!([]));
    let (status, _) = service.send("GET", "/conflicts?after=x", Some(&token), "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_baseline_answers_bare() {
    let service = Service::new(PolicyKind::ArrivalOrder, false);
    let body = json!({"batch": [{"op": "PUT", "type": "boxes", "id": "b1", "data": {"label": "x"}}]});
    assert_eq!(service.upload(&body).await, (StatusCode::OK, json!({"success": true})));
    let body =
        transaction(1, json!([{"op_id": 1, "op": "PATCH", "table": "boxes", "id": "b9", "data": {"label": "y"}}]));
    let (status, answer) = service.upload(&body).await;
    assert_eq!((status, &answer["transactions"][0]["ops"][0]["outcome"]), (StatusCode::OK, &json!("applied")));
    let body =
        transaction(2, json!([{"op_id": 2, "op": "PATCH", "table": "boxes", "id": "b1", "data": {"colour": "red"}}]));
    let (status, answer) = service.upload(&body).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (StatusCode::INTERNAL_SERVER_ERROR, Some("database")));
}

#[tokio::test]
async fn probes_and_keys() {
    for is_development in [false, true] {
        let service = Service::new(PolicyKind::FieldMerge, is_development);
        for path in ["/probes/liveness", "/probes/readiness"] {
            assert_eq!(service.send("GET", path, None, "").await.0, StatusCode::OK);
        }
        // A symmetric key is a secret: only development shows it.
        let (_, answer) = service.send("GET", "/.well-known/jwks.json", None, "").await;
        let kids: Vec<&str> =
            answer["keys"].as_array().expect("keys").iter().filter_map(|key| key["kid"].as_str()).collect();
        assert_eq!(kids, if is_development { vec!["current", "former"] } else { vec![] });
        let (status, answer) = service.send("POST", "/auth/token", None, r#"{"sub":"someone","lifetime_s":60}"#).await;
        if !is_development {
            assert_eq!(status, StatusCode::NOT_FOUND);
            continue;
        }
        let token = answer["token"].as_str().expect("a token");
        assert_eq!(service.send("GET", "/conflicts", Some(token), "").await.0, StatusCode::OK);
    }
}

/// A store that is unavailable after its first transaction.
struct Failing(MemoryStore);

impl Store for Failing {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        if self.0.last_seq() >= 1 {
            return Box::pin(async { Err(StoreError::Unavailable("no connection".to_owned())) });
        }
        self.0.apply(engine, upload)
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        self.0.conflicts(subject, after, limit)
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.0.last_seq() == 0 })
    }
}

#[tokio::test]
async fn a_failing_database_is_503() {
    let store = Arc::new(Failing(MemoryStore::new(app::rules())));
    let service = Service::on(PolicyKind::FieldMerge, false, store);
    let (status, _) = service.upload(&transaction(1, json!([put(1, "b1")]))).await;
    assert_eq!(status, StatusCode::OK);
    let (status, answer) = service.upload(&transaction(2, json!([put(2, "b2")]))).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("unavailable")));
    assert_eq!(service.send("GET", "/probes/readiness", None, "").await.0, StatusCode::SERVICE_UNAVAILABLE);
}
