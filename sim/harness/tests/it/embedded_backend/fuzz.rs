//! Hostile uploads: whatever the body and whatever the token, no answer is a server error, nothing changes that the
//! token may not touch, and memory stays within its bound.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use backend::{Auth, Key, Limits, PolicyKind, RETENTION_US, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fixtures::App;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value as Json, json};
use sim_world::TrialConfig;
use sim_world::embedded::{EmbeddedPool, RunningStack};
use tower::ServiceExt;

use crate::embedded_backend::rig::{Rig, START_US, TestClock};
use crate::embedded_backend::values::{hostile_json, runner};

/// Beyond the largest body that is taken.
const TOO_LARGE: usize = 17 * 1_024 * 1_024;
/// How much more memory the server may hold in the end than after the first tenth of the bodies.
const GROWTH_MAX_MB: u64 = 48;
/// What it may hold at its most: two bodies of the largest kind beside what it needs.
const PEAK_MAX_MB: u64 = 256;

/// How many bodies; `SYNCSTORM_FUZZ_BODIES=100000` for the long run.
fn bodies(otherwise: u32) -> u32 {
    std::env::var("SYNCSTORM_FUZZ_BODIES").ok().and_then(|count| count.parse().ok()).unwrap_or(otherwise)
}

/// A body that may be anything: nonsense, JSON of another shape, or a sound request with harm in it.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let json = hostile_json().prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    });
    let name =
        || prop_oneof![30 => "[a-d][0-3]", 1 => "\\PC{0,20}", 1 => Just("x".repeat(1_200)), 1 => Just("\0".to_owned())];
    let columns = prop::sample::select(vec![
        "label", "weight", "tags", "x", "y", "shelf", "inside", "touched", "opened", "tiny", "big", "coarse", "sealed",
        "order", "key", "name", "box", "words", "running", "beat", "code", "knob", "id", "ctid", "\"",
    ]);
    let members =
        || {
            prop::option::of(prop::collection::btree_map(columns.clone(), json.clone(), 0..5).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Json>()
            }))
        };
    let op = prop::sample::select(vec!["PUT", "PATCH", "DELETE", "PUT", "PATCH", "TRUNCATE"]);
    let table = prop::sample::select(vec!["boxes", "shelves", "stickers", "knobs", "belts", "memos", "pg_class", ""]);
    let op = (any::<prop::sample::Index>(), op, table, name(), members(), members()).prop_map(
        |(op_id, op, table, id, data, old)| {
            json!({"op_id": op_id.index(100_000), "op": op, "table": table, "id": id, "data": data, "old": old})
        },
    );
    let sound = (any::<prop::sample::Index>(), "b[0-9]", 0..90i64, any::<f64>(), any::<bool>()).prop_map(
        |(op_id, id, weight, x, is_put)| {
            let data = json!({"label": "l", "weight": weight, "x": x, "tags": "[\"a\"]"});
            json!({"op_id": op_id.index(1_000_000), "op": if is_put { "PUT" } else { "PATCH" }, "table": "boxes", "id": id,
                "data": data, "old": {"weight": weight}})
        },
    );
    let op = prop_oneof![30 => op, 50 => sound, 1 => json.clone()];
    let transaction =
        (any::<i64>(), prop::collection::vec(op, 0..4)).prop_map(|(tx_id, ops)| json!({"tx_id": tx_id, "ops": ops}));
    let request = (name(), prop::collection::vec(transaction, 0..3))
        .prop_map(|(client, transactions)| json!({"client_id": client, "transactions": transactions}));
    let text = prop_oneof![
        8 => request.clone().prop_map(|json| json.to_string().into_bytes()),
        1 => json.clone().prop_map(|json| json.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0..3_000usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ];
    // Some of them cut, or with a byte changed.
    (
        text,
        prop::option::weighted(0.06, any::<prop::sample::Index>()),
        prop::option::weighted(0.06, (any::<prop::sample::Index>(), any::<u8>())),
    )
        .prop_map(|(mut bytes, cut, change)| {
            if let (Some((at, byte)), false) = (change, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let (Some(cut), false) = (cut, bytes.is_empty()) {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        })
}

async fn posted(router: &Router, token: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
    let request =
        Request::post("/upload").header(header::AUTHORIZATION, format!("Bearer {token}")).body(Body::from(body));
    let response = router.clone().oneshot(request.expect("a request")).await.expect("the router always answers");
    let status = response.status();
    (status, response.into_body().collect().await.expect("a body in memory").to_bytes().to_vec())
}

#[tokio::test]
async fn no_body_is_answered_with_a_server_error() {
    let count = bodies(3_000);
    let rig = Rig::new().await;
    let key = || Key { kid: "k".to_owned(), secret: b"a secret of the tests".to_vec(), retires_us: None };
    let auth = Auth::hs256(vec![key()], vec!["warehouse".to_owned()]);
    let token = auth.mint("someone", START_US, 3600).expect("there is a key");
    let remembering = PolicyKind::ALL.into_iter().filter(|kind| *kind != PolicyKind::ArrivalOrder);
    let routers: Vec<Router> = remembering
        .map(|kind| {
            backend::router(State::new(backend::Config {
                rules: rig.rules.clone(),
                policy: kind.policy(),
                store: std::sync::Arc::new(rig.store()),
                clock: TestClock::new().clock(),
                auth: auth.clone(),
                limits: Limits::default(),
                retention_us: RETENTION_US,
                is_development: false,
            }))
        })
        .collect();
    let mut runner = runner("SYNCSTORM_FUZZ_BODIES", 1);
    let strategy = body();
    let (mut taken, mut refused, mut applied) = (0u32, 0u32, 0u32);
    for case in 0..count {
        let bytes = strategy.new_tree(&mut runner).expect("there are bodies").current();
        let (status, answer) = posted(&routers[case as usize % routers.len()], &token, bytes.clone()).await;
        let shown = || format!("{}\nanswered {}", String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&answer));
        match status.as_u16() {
            200 => {
                taken += 1;
                let answer: backend::wire::UploadAnswer = serde_json::from_slice(&answer).expect("an answer");
                let ops = answer.transactions.iter().flat_map(|transaction| &transaction.ops);
                applied += ops.filter(|op| op.outcome == backend::wire::Outcome::Applied).count() as u32;
                assert!(
                    answer.transactions.iter().all(|t| t.outcome != backend::wire::TransactionOutcome::NotAttempted),
                    "case {case}: {}",
                    shown()
                );
            }
            400 | 413 => refused += 1,
            other => panic!("case {case}: {other} to {}", shown()),
        }
    }
    assert!(
        taken > count / 5 && refused > count / 20 && applied > count / 20,
        "{taken} {refused} {applied}: the bodies are all alike"
    );
}

/// Tokens that are not to be taken, made from one that is.
fn wrong_tokens(sound: &str) -> Vec<Option<String>> {
    let parts: Vec<&str> = sound.split('.').collect();
    let encode = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).expect("a signature is base64");
    signature[0] ^= 1;
    let payload: Json =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("claims are base64")).expect("claims are JSON");
    let with = |name: &str, value: Json| {
        let mut payload = payload.clone();
        payload[name] = value;
        format!("{}.{}.{}", parts[0], encode(&payload), parts[2])
    };
    vec![
        None,
        Some(String::new()),
        Some("not-a-token".to_owned()),
        Some("'; DROP TABLE boxes; --".to_owned()),
        Some(format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(signature))),
        Some(format!("{}.{}.", encode(&json!({"alg": "none", "typ": "JWT"})), parts[1])),
        Some(with("sub", json!("somebody-else"))),
        Some(with("exp", json!(4_102_444_800_i64))),
        Some("x".repeat(7_000)),
    ]
}

/// What a process holds, in MB: now, and at its most.
fn memory_mb(process: i32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the server runs");
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux tells it");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number of kB") / 1_024
    };
    (value("VmRSS:"), value("VmHWM:"))
}

/// All that is in the database beside what the token may write: relations, and a table that is not the application's.
async fn surroundings(database: &tokio_postgres::Client) -> String {
    let sql =
        "SELECT (SELECT string_agg(n.nspname || '.' || c.relname || c.relkind::text, ',' ORDER BY n.nspname, c.relname)
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_(toast|temp)')
             || (SELECT string_agg(k::text, ',' ORDER BY id) FROM keepsakes k)
             || (SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles)";
    database.query_one(sql, &[]).await.expect("the database answers").get(0)
}

#[test]
fn a_server_stands_hostile_bodies() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/embedded_backend/warehouse");
    let app = Arc::new(App::load(&folder).expect("the test application is sound"));
    let config = TrialConfig::deterministic(app, PolicyKind::FieldMerge).expect("its sync configuration is known");
    let source = folder.to_str().expect("a path of this repository");
    let pool = EmbeddedPool::new(&config.system, source, env!("CARGO_BIN_EXE_syncstorm").into());
    let stack = RunningStack::start(&pool).expect("the servers come up");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(assail(&stack, bodies(1_500)));
}

async fn assail(stack: &RunningStack, count: u32) {
    let url = stack.database_url.split('?').next().expect("a URL");
    let (database, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the database is there");
    tokio::spawn(connection);
    let keepsakes = "CREATE TABLE keepsakes (id text PRIMARY KEY, words text); INSERT INTO keepsakes VALUES ('a', 'b')";
    database.batch_execute(keepsakes).await.expect("a table of somebody else's");
    let before = surroundings(&database).await;
    let client = || -> Client<_, Full<Bytes>> { Client::builder(TokioExecutor::new()).build_http() };
    let mut http = client();
    let wrong = wrong_tokens(&stack.token);
    let (mut runner, strategy) = (runner("SYNCSTORM_FUZZ_BODIES", 1), body());
    let (mut early_mb, mut taken, mut kept_out, mut late) = (0, 0, 0, 0);
    for case in 0..count {
        let mut bytes = strategy.new_tree(&mut runner).expect("there are bodies").current();
        if case % 2_000 == 7 {
            bytes = vec![b'['; TOO_LARGE];
        }
        let stranger = (case % 9 == 4).then(|| &wrong[case as usize / 9 % wrong.len()]);
        let token = stranger.map_or(Some(&stack.token), Option::as_ref);
        let mut request = Request::post(format!("{}/upload", stack.backend_url));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(bytes.clone()))).expect("a request");
        let answer =
            tokio::time::timeout(Duration::from_secs(60), http.request(request)).await.expect("an answer in time");
        let status = match answer {
            Ok(answer) => answer.status(),
            // The server answers, and closes, before it has read a body that it does not take.
            Err(_) if bytes.len() >= TOO_LARGE => {
                http = client();
                continue;
            }
            Err(error) => panic!("case {case}: {error}"),
        };
        if bytes.len() >= TOO_LARGE {
            http = client();
        }
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]);
        match (stranger, status) {
            (Some(_), StatusCode::UNAUTHORIZED) => kept_out += 1,
            (None, StatusCode::OK) => taken += 1,
            (None, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE) => {}
            // A machine that stands still for a while is no fault of the body.
            (None, StatusCode::REQUEST_TIMEOUT) if late < 3 => late += 1,
            (stranger, status) => panic!("case {case}, token {stranger:?}: {status} to {shown}"),
        }
        if case == count / 10 {
            early_mb = memory_mb(stack.process_ids[0]).0;
        }
    }
    assert!(taken > count / 5 && kept_out > count / 10, "{taken} {kept_out}: the bodies are all alike");
    assert_eq!(surroundings(&database).await, before, "something changed that the token may not touch");
    let others = "SELECT count(*) FROM sync_backend.ledger WHERE subject <> $1";
    let others: i64 = database.query_one(others, &[&stack.user]).await.expect("the ledger is there").get(0);
    assert_eq!(others, 0, "somebody else's operations are in the ledger");
    let (now_mb, peak_mb) = memory_mb(stack.process_ids[0]);
    assert!(now_mb <= early_mb + GROWTH_MAX_MB && peak_mb <= PEAK_MAX_MB, "{early_mb}, {now_mb}, {peak_mb} MB");
}
