//! The program on a socket: keys, origins, bounds, what it tells and when it ends; and bodies that mean harm.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use backend::server::config::RotateKeys;
use backend::server::{Config, Server, ServerError, rotate_keys};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::embedded_backend::rig::Rig;

const PATIENCE: Duration = Duration::from_secs(60);

/// The program's flags, as its command line has them.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

#[derive(Parser)]
struct RotateCli {
    #[command(flatten)]
    rotate: RotateKeys,
}

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<Result<(), ServerError>>,
    state: tempfile::TempDir,
}

fn config(url: &str, state: &std::path::Path, flags: &[&str]) -> Config {
    let app = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/embedded_backend/warehouse");
    let (app, state) = (app.display().to_string(), state.display().to_string());
    let mut words = vec!["backend", "--listen", "127.0.0.1:0", "--database-url", url, "--app", &app];
    words.extend(["--state-dir", &state, "--audience", "warehouse"]);
    words.extend(flags);
    Cli::parse_from(words).config
}

impl Running {
    async fn start(rig: &Rig, flags: &[&str]) -> Self {
        Self::at(&rig.cluster.url("warehouse"), flags).await
    }

    async fn at(url: &str, flags: &[&str]) -> Self {
        let state = tempfile::tempdir().expect("a temporary folder");
        let server = Server::bind(config(url, state.path(), flags)).await.expect("its settings are sound");
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self { address, stop: Some(stop), ended, state }
    }

    async fn send(&self, request: &str) -> (u16, String, String) {
        exchange(self.address, request.as_bytes()).await.expect("the server answers")
    }

    async fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n{headers}\r\n")).await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let length = body.len();
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        ))
        .await
    }

    async fn token(&self) -> String {
        let (status, _, body) = self.post("/auth/token", "", r#"{"sub":"someone","lifetime_s":3600}"#).await;
        assert_eq!(status, 200, "{body}");
        let answer: Json = serde_json::from_str(&body).expect("JSON");
        answer["token"].as_str().expect("a token").to_owned()
    }

    async fn stop(mut self) -> Result<(), ServerError> {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, self.ended).await.expect("it ends").expect("it does not panic")
    }
}

/// Sends bytes and reads status, head and body until the server closes the connection.
async fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok((status, head.to_ascii_lowercase(), body.to_owned()))
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

fn put(op_id: i64, id: &str) -> Json {
    json!({"client_id": "a", "transactions": [{"tx_id": op_id, "ops": [
        {"op_id": op_id, "op": "PUT", "table": "boxes", "id": id, "data": {"label": "x"}}
    ]}]})
}

#[tokio::test]
async fn tokens_verify_against_the_key_set_and_outlive_a_rotation() {
    let rig = Rig::new().await;
    for algorithm in ["ES256", "EdDSA", "RS256", "HS256"] {
        let server = Running::start(&rig, &["--development", "--algorithm", algorithm]).await;
        let old = server.token().await;
        let (status, _, body) = server.get("/conflicts", &bearer(&old)).await;
        assert_eq!(status, 200, "{algorithm}: {body}");
        // The key set verifies it, as the sync service would.
        let key_set = || async {
            let (status, _, body) = server.get("/.well-known/jwks.json", "").await;
            assert_eq!(status, 200);
            serde_json::from_str::<jsonwebtoken::jwk::JwkSet>(&body).expect("a key set")
        };
        let verify = |keys: &jsonwebtoken::jwk::JwkSet, token: &str| {
            let header = jsonwebtoken::decode_header(token).expect("a token");
            let jwk = keys.find(header.kid.as_deref().expect("it names its key")).expect("its key is shown");
            let mut validation = Validation::new(header.alg);
            validation.set_audience(&["warehouse"]);
            let key = DecodingKey::from_jwk(jwk).expect("a key");
            jsonwebtoken::decode::<Json>(token, &key, &validation).expect("the signature is good").claims
        };
        let before = key_set().await;
        assert_eq!((before.keys.len(), verify(&before, &old)["sub"].as_str()), (1, Some("someone")));

        let state = server.state.path().display().to_string();
        let rotate = RotateCli::parse_from(["rotate", "--state-dir", &state, "--algorithm", algorithm]).rotate;
        let names = rotate_keys(&rotate).expect("keys can be rotated");
        let deadline = Instant::now() + PATIENCE;
        while key_set().await.find(&names[0]).is_none() {
            assert!(Instant::now() < deadline, "{algorithm}: the server never took the new key up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let after = key_set().await;
        assert_eq!(after.keys.len(), 2, "both are shown, for both verify");
        let new = server.token().await;
        let kid = |token: &str| jsonwebtoken::decode_header(token).expect("a token").kid.expect("a key's name");
        assert_eq!((kid(&new), kid(&old) != kid(&new)), (names[0].clone(), true));
        for token in [&old, &new] {
            verify(&after, token);
            assert_eq!(server.get("/conflicts", &bearer(token)).await.0, 200, "{algorithm}");
        }
        // Changed in any part, it is not believed.
        let (signed, signature) = new.rsplit_once('.').expect("three parts");
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        bytes[0] ^= 1;
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes));
        let none =
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), signed.split_once('.').expect("two").1);
        for token in [forged, none] {
            assert_eq!(server.get("/conflicts", &bearer(&token)).await.0, 401);
        }
        server.stop().await.expect("it ends well");
    }
}

#[tokio::test]
async fn origins_bounds_probes_and_metrics() {
    let rig = Rig::new().await;
    let flags = [
        "--development",
        "--algorithm",
        "ES256",
        "--cors-origin",
        "https://app.example",
        "--body-bytes-max",
        "2000",
        "--ops-max",
        "2",
    ];
    let server = Running::start(&rig, &flags).await;
    let token = server.token().await;
    let asked = "access-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type\r\n";
    for (origin, is_allowed) in [("https://app.example", true), ("https://app.example.evil", false), ("null", false)] {
        let allowed = format!("access-control-allow-origin: {origin}\r\n");
        let (_, head, _) = server
            .send(&format!(
                "OPTIONS /upload HTTP/1.1\r\nhost: here\r\nconnection: close\r\norigin: {origin}\r\n{asked}\r\n"
            ))
            .await;
        assert_eq!(format!("{head}\r\n").contains(&allowed), is_allowed, "{origin}: {head}");
        let body = put(1, "b1").to_string();
        let (status, head, _) = server.post("/upload", &format!("origin: {origin}\r\n{}", bearer(&token)), &body).await;
        assert_eq!(status, 200, "an origin is the browser's business");
        assert_eq!(format!("{head}\r\n").contains(&allowed), is_allowed, "{origin}: {head}");
    }
    let many = json!({"client_id": "a", "transactions": [{"tx_id": 1, "ops": [
        {"op_id": 11, "op": "DELETE", "table": "boxes", "id": "1"}, {"op_id": 12, "op": "DELETE", "table": "boxes", "id": "2"},
        {"op_id": 13, "op": "DELETE", "table": "boxes", "id": "3"},
    ]}]});
    let nul = json!({"client_id": "a\0b", "transactions": []});
    let long = json!({"client_id": "a".repeat(1_001), "transactions": []});
    for (body, status) in [
        (many.to_string(), 413),
        (format!("{:3000}", ""), 413),
        (nul.to_string(), 400),
        (long.to_string(), 400),
        ("[".repeat(1_900), 400),
        (String::new(), 400),
    ] {
        let (found, _, answer) = server.post("/upload", &bearer(&token), &body).await;
        assert_eq!(found, status, "{answer}");
    }
    for path in ["/probes/liveness", "/probes/readiness"] {
        assert_eq!(server.get(path, "").await.0, 200, "{path}");
    }
    assert_eq!(server.get("/nothing", "").await.0, 404);
    let (status, head, page) = server.get("/metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    for line in [
        r#"sync_backend_requests_total{route="/upload",status="413"} 2"#,
        r#"sync_backend_requests_total{route="other",status="404"} 1"#,
        r#"sync_backend_operations_total{outcome="applied"} 3"#,
        r#"sync_backend_transactions_total{outcome="committed"} 3"#,
        "sync_backend_connections ",
        "sync_backend_request_seconds_count ",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(!page.contains(&token) && !page.contains(rig.cluster.password()));
    server.stop().await.expect("it ends well");

    // Without development mode nobody is given a token or a secret.
    let server = Running::start(&rig, &["--algorithm", "HS256"]).await;
    assert_eq!(server.post("/auth/token", "", r#"{"sub":"someone"}"#).await.0, 404);
    assert_eq!(server.get("/.well-known/jwks.json", "").await.2, r#"{"keys":[]}"#);
    let (_, head, _) = server.get("/probes/liveness", "origin: https://app.example\r\n").await;
    assert!(!head.contains("access-control"), "{head}");
    server.stop().await.expect("it ends well");
}

/// A body that never comes is given up, with an answer that a device takes for "again".
#[tokio::test]
async fn a_request_has_its_time() {
    let rig = Rig::new().await;
    let server = Running::start(&rig, &["--development", "--request-timeout-ms", "300"]).await;
    let mut token = None;
    while token.is_none() {
        let (_, _, body) = server.post("/auth/token", "", r#"{"sub":"someone"}"#).await;
        token = serde_json::from_str::<Json>(&body).ok().and_then(|answer| answer["token"].as_str().map(str::to_owned));
    }
    let head = "POST /upload HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: 100\r\n";
    let slow = format!("{head}{}\r\n{{", bearer(&token.expect("it was just asked for")));
    assert_eq!(server.send(&slow).await.0, 408);
    server.stop().await.expect("it ends well");
}

#[tokio::test]
async fn settings_that_are_wrong_are_told() {
    let rig = Rig::new().await;
    let state = tempfile::tempdir().expect("a temporary folder");
    let url = rig.cluster.url("warehouse");
    let check = async |url: &str, flags: &[&str], expect: &str| {
        let Err(error) = Server::bind(config(url, state.path(), flags)).await else { panic!("{flags:?} is taken") };
        assert!(error.to_string().contains(expect), "{flags:?}: {error}");
        assert!(!error.to_string().contains(rig.cluster.password()), "{error}");
    };
    check(&url, &["--algorithm", "none"], "no algorithm is called").await;
    check(&url, &["--cors-origin", "*"], "is no origin").await;
    check(&url, &["--redis-url", "nonsense"], "Redis").await;
    check(&format!("{url}&sslmode=always"), &[], "sslmode=always").await;
    check(&url.replace("ca.crt", "none.crt"), &[], "none.crt").await;
    check(&rig.cluster.url("postgres"), &[], "has no table").await;
    rig.sql("ALTER TABLE boxes ALTER COLUMN weight TYPE bigint").await;
    check(&url, &[], "boxes.weight is not of type integer").await;
}

/// The certificate and the mode: what is verified, what is not, and what is refused.
#[tokio::test]
async fn sslmode() {
    let rig = Rig::new().await;
    let (own, bare) = (rig.cluster.url("warehouse"), rig.cluster.bare_url("warehouse"));
    let stranger = Rig::new().await;
    let other = stranger.cluster.authority_file();
    rig.sql(
        "CREATE TABLE seen (encrypted boolean);
         CREATE FUNCTION encrypted() RETURNS boolean LANGUAGE sql
             AS 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'",
    )
    .await;
    let by_name = own.replace("127.0.0.1", "localhost");
    for (url, expect) in [
        (own.clone(), Some(true)),
        (by_name, Some(true)),
        (format!("{bare}?sslmode=require"), Some(true)),
        (format!("{bare}?sslmode=prefer"), Some(true)),
        (format!("{bare}?sslmode=disable"), Some(false)),
        (own.replace("verify-full", "verify-ca"), Some(true)),
        (format!("{bare}?sslmode=verify-full&sslrootcert={}", other.display()), None),
        (format!("{bare}?sslmode=verify-ca&sslrootcert={}", other.display()), None),
        (format!("{bare}?sslmode=verify-full"), None),
    ] {
        let config = backend::PostgresConfig::new(&url);
        let store = backend::PostgresStore::new(rig.rules.clone(), config).expect("the URL is sound");
        let prepared = store.prepare().await;
        assert_eq!(prepared.is_ok(), expect.is_some(), "{url}: {prepared:?}");
        if let Some(is_encrypted) = expect {
            let seen = rig.client().await;
            let row = seen
                .query_one(
                    "SELECT bool_and(s.ssl), count(*) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
                     WHERE application_name = 'sync_backend'",
                    &[],
                )
                .await
                .expect("a superuser may look");
            assert_eq!((row.get::<_, Option<bool>>(0), row.get::<_, i64>(1)), (Some(is_encrypted), 1), "{url}");
        }
        drop(store);
        let deadline = Instant::now() + PATIENCE;
        let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sync_backend'";
        while rig.client().await.query_one(gone, &[]).await.expect("it answers").get::<_, i64>(0) > 0 {
            assert!(Instant::now() < deadline, "the connections stay");
        }
    }
}

/// The database goes away and comes back: 503 while it is gone, and readiness says so; liveness does not change.
#[tokio::test]
async fn the_database_may_go_and_come_back() {
    let mut rig = Rig::new().await;
    let server = Running::start(&rig, &["--development"]).await;
    let token = server.token().await;
    let upload = |op_id: i64| put(op_id, &format!("b{op_id}")).to_string();
    assert_eq!(server.post("/upload", &bearer(&token), &upload(1)).await.0, 200);
    rig.cluster.kill_hard().await.expect("it can be killed");
    for _ in 0..3 {
        let (status, _, body) = server.post("/upload", &bearer(&token), &upload(2)).await;
        assert_eq!(status, 503, "{body}");
    }
    assert_eq!(server.get("/probes/readiness", "").await.0, 503);
    assert_eq!(server.get("/probes/liveness", "").await.0, 200);
    rig.cluster.restart().await.expect("it comes back");
    let deadline = Instant::now() + PATIENCE;
    while server.get("/probes/readiness", "").await.0 != 200 {
        assert!(Instant::now() < deadline, "it is never ready again");
    }
    let (status, _, body) = server.post("/upload", &bearer(&token), &upload(2)).await;
    assert_eq!(status, 200, "{body}");
    server.stop().await.expect("it ends well");

    // A server may also come up before its database.
    rig.cluster.kill_hard().await.expect("it can be killed");
    let server = Running::start(&rig, &["--development"]).await;
    let token = server.token().await;
    assert_eq!(server.post("/upload", &bearer(&token), &upload(3)).await.0, 503);
    rig.cluster.restart().await.expect("it comes back");
    let (status, _, body) = server.post("/upload", &bearer(&token), &upload(3)).await;
    assert_eq!(status, 200, "{body}");
    server.stop().await.expect("it ends well");
}

/// A stop finishes what is under way, and takes nothing new.
#[tokio::test]
async fn a_stop_finishes_what_is_under_way() {
    let rig = Rig::new().await;
    let mut server = Running::start(&rig, &["--development"]).await;
    let token = server.token().await;
    assert_eq!(server.post("/upload", &bearer(&token), &put(1, "b1").to_string()).await.0, 200);
    let mut holder = rig.client().await;
    let held = holder.transaction().await.expect("it answers");
    held.execute("SELECT FROM boxes WHERE id = 'b1' FOR UPDATE", &[]).await.expect("the row is free");
    let edit = json!({"client_id": "a", "transactions": [{"tx_id": 2, "ops": [
        {"op_id": 2, "op": "PATCH", "table": "boxes", "id": "b1", "data": {"weight": 5}, "old": {"weight": 0}}
    ]}]})
    .to_string();
    let request = format!(
        "POST /upload HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: {}\r\n{}\r\n{edit}",
        edit.len(),
        bearer(&token)
    );
    let address = server.address;
    let under_way = tokio::spawn(async move { exchange(address, request.as_bytes()).await });
    let admin = rig.client().await;
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sync_backend' AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + PATIENCE;
    while admin.query_one(waiting, &[]).await.expect("it answers").get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "the upload never came to wait");
    }
    drop(server.stop.take());
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "it goes on taking connections");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!under_way.is_finished() && !server.ended.is_finished());
    held.rollback().await.expect("it answers");
    let (status, _, body) = under_way.await.expect("no panic").expect("it is answered");
    assert_eq!(status, 200, "{body}");
    server.stop().await.expect("it ends well");
}

/// Redis, if this machine has one: a repeat is answered from the ledger; a lying, flushed or dead Redis changes no
/// answer. A Redis that was never there changes none either.
#[tokio::test]
async fn redis_never_matters() {
    let rig = Rig::new().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it has one").port();
    let url = format!("redis://127.0.0.1:{port}");
    let server = Running::start(&rig, &["--development", "--redis-url", &url]).await;
    let token = server.token().await;
    let answers = async |body: &Json| {
        let (status, _, answer) = server.post("/upload", &bearer(&token), &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let first = answers(&put(1, "b1")).await;
    assert_eq!(answers(&put(1, "b1")).await, first, "no Redis");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spawned = std::process::Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut redis = spawned.expect("redis-server is installed; ./x test sees to it");
    let ask = async |command: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        std::io::Result::Ok(said)
    };
    let deadline = Instant::now() + PATIENCE;
    let mut op_id = 1;
    // Noted after the commit, as soon as Redis is no longer left alone.
    loop {
        assert!(Instant::now() < deadline, "an upload was never noted");
        op_id += 1;
        answers(&put(op_id, &format!("b{op_id}"))).await;
        if ask("DBSIZE").await.is_ok_and(|said| !said.starts_with(":0")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let noted = put(op_id, &format!("b{op_id}"));
    let again = answers(&noted).await;
    assert_eq!(again, answers(&noted).await);
    // Redis remembers it and the ledger does not: the ledger is right.
    rig.sql(&format!("DELETE FROM sync_backend.ledger WHERE op_id = {op_id}; DELETE FROM boxes WHERE id = 'b{op_id}'"))
        .await;
    rig.sql(&format!("DELETE FROM sync_backend.stamps WHERE id = 'b{op_id}'")).await;
    answers(&noted).await;
    let client = rig.client().await;
    let there =
        client.query_one(&format!("SELECT count(*) FROM boxes WHERE id = 'b{op_id}'"), &[]).await.expect("it answers");
    assert_eq!(there.get::<_, i64>(0), 1, "a hit that the ledger does not confirm is no hit");
    ask("FLUSHALL").await.expect("Redis answers");
    assert_eq!(answers(&noted).await, again);
    redis.kill().expect("it is ours");
    redis.wait().expect("it ends");
    assert_eq!(answers(&noted).await, again);
    assert_eq!(answers(&put(1, "b1")).await, first);
    server.stop().await.expect("it ends well");
}
