//! The server around the streams: tokens and keys, limits, gzip, TLS, probes, and what it confirms to PostgreSQL.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::boxes::{BOXES, RULES, ops, rows};
use crate::cluster::Cluster;
use crate::rig::{self, Device, Next, Rig, claims, lines, request_body, signed, text_of, token};

#[tokio::test]
async fn who_is_let_in_and_how_many() {
    let cluster = Cluster::start();
    let mut rig = Rig::idle(cluster, BOXES, RULES).with_arguments(&["--max-streams", "3"]);
    rig.up().await;
    let body = request_body("c1", &json!([])).to_string();
    let status =
        async |token: &str| rig.send("POST", "/sync/stream", Some(token), &body).await.expect("it answers").status();
    assert_eq!(status(&token(&claims("u1", 0, 3600))).await, 200);
    assert_eq!(status(&token(&claims("u1", -7200, -3600))).await, 401);
    assert_eq!(status(&signed(rig::KEY, "another secret", &claims("u1", 0, 3600))).await, 401);
    assert_eq!(status(&signed("unknown", rig::SECRET, &claims("u1", 0, 3600))).await, 401);
    rig.wait_for("closed streams", async || rig.metric("open_streams").await == 0).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(rig.open(&request_body("c1", &json!([]))).await.expect("three are allowed"));
    }
    let refused =
        rig.send("POST", "/sync/stream", Some(&token(&claims("u1", 0, 3600))), &body).await.expect("an answer");
    assert_eq!(refused.status(), 429);
    assert_eq!(text_of(refused).await, "");
    drop(open);
    rig.wait_for("closed streams", async || rig.metric("open_streams").await == 0).await;
    // A stream ends with its token.
    let short = rig.send("POST", "/sync/stream", Some(&token(&claims("u1", 0, 2))), &body).await.expect("an answer");
    let mut short = rig::Lines::of(short);
    let mut last = String::new();
    loop {
        match short.next_within(rig::WAIT_MAX).await {
            Next::Line(line) => last = line,
            Next::Ended => break,
            Next::Nothing => panic!("the stream did not end"),
        }
    }
    assert_eq!(last, r#"{"token_expires_in":0}"#);
}

/// A key set is fetched again when a token names an unknown key.
#[tokio::test]
async fn keys_are_fetched_when_they_are_needed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    let kids = std::sync::Arc::new(std::sync::Mutex::new(vec!["k1"]));
    let served = kids.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let kids = served.lock().expect("no test has failed").clone();
            // `c2VjcmV0` is `secret`.
            let keys: Vec<Json> =
                kids.iter().map(|kid| json!({"kty": "oct", "alg": "HS256", "kid": kid, "k": "c2VjcmV0"})).collect();
            let body = json!({"keys": keys}).to_string();
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = socket.write_all((head + &body).as_bytes()).await;
        }
    });
    let mut rig = Rig::idle(Cluster::start(), BOXES, RULES).with_arguments(&["--jwks-url", &url]);
    rig.up().await;
    let good = async |kid: &str| {
        let token = signed(kid, "secret", &claims("u1", 0, 3600));
        let answer = rig.send("GET", "/write-checkpoint2.json?client_id=c", Some(&token), "").await;
        answer.expect("it answers").status() == 200
    };
    assert!(good("k1").await);
    assert!(!good("k2").await);
    kids.lock().expect("no test has failed").push("k2");
    rig.wait_for("new key", async || good("k2").await).await;
    // The key of the settings is still good.
    assert!(rig.write_checkpoint("c").await.is_some());
}

#[tokio::test]
async fn gzip() {
    use std::io::Read as _;
    let rig = Rig::start(&format!("{BOXES}; INSERT INTO boxes VALUES ('a', 'x', 1)"), RULES).await;
    let http: hyper_util::client::legacy::Client<_, http_body_util::Full<bytes::Bytes>> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = http::Request::post(format!("http://127.0.0.1:{}/sync/stream", rig.port))
        .header("content-type", "application/json")
        .header("accept-encoding", "gzip")
        .header("authorization", token(&claims("u1", 0, 1)))
        .body(http_body_util::Full::from(request_body("c1", &json!([])).to_string()))
        .expect("a good request");
    let response = http.request(request).await.expect("it answers");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
    assert_eq!(ops(&lines(&text)), [r#"PUT a {"id":"a","label":"x","size":1}"#]);
}

#[tokio::test]
async fn over_tls() {
    let mut cluster = Cluster::start();
    cluster.with_tls();
    let url = cluster.url().replace("sslmode=disable", "sslmode=require");
    let mut rig = Rig::idle(cluster, BOXES, RULES).with_url(url);
    rig.up().await;
    let mut device = Device::default();
    rig.cluster.sql("INSERT INTO boxes VALUES ('a', 'x', 1)");
    rig.converge(&mut device, || rows(&rig)).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)";
    assert_eq!(rig.cluster.sql(encrypted), "t");
}

/// Probes and metrics answer before there is anything to serve, and the log says what is missing.
#[tokio::test]
async fn before_it_is_ready() {
    let cluster = Cluster::start();
    let mut rig = Rig::idle(cluster, BOXES, RULES);
    rig.cluster.sql("DROP PUBLICATION powersync");
    rig.spawn();
    rig.wait_for("liveness", async || matches!(rig.get("/probes/liveness").await, Some(one) if one.status() == 200))
        .await;
    rig.wait_for("word of what is missing", async || rig.log().contains("CREATE PUBLICATION")).await;
    assert_eq!(rig.get("/probes/readiness").await.expect("it answers").status(), 400);
    let body = request_body("c1", &json!([])).to_string();
    let answer = rig.send("POST", "/sync/stream", Some(&token(&claims("u1", 0, 60))), &body).await.expect("it answers");
    assert_eq!(answer.status(), 500);
    assert!(text_of(answer).await.contains("PSYNC_S2302"));
    assert_eq!(rig.metric("ready").await, 0);
    rig.cluster.sql("CREATE PUBLICATION powersync FOR ALL TABLES");
    rig.ready().await;
    assert_eq!(rig.metric("ready").await, 1);
    let mut stream = rig.open(&request_body("c1", &json!([]))).await.expect("it is ready");
    stream.checkpoint().await;
    assert!(rig.terminate(), "it stops well");
    assert!(!rig.log().contains(rig::SECRET), "a secret in the log");
    while !matches!(stream.next_within(Duration::from_secs(60)).await, Next::Ended) {}
}

/// Positions are confirmed when only others write.
#[tokio::test]
async fn an_idle_source_is_acknowledged() {
    let mut rig = Rig::idle(Cluster::start(), BOXES, RULES);
    rig.cluster.sql("CREATE DATABASE other");
    rig.cluster.sql("DROP PUBLICATION powersync; CREATE PUBLICATION powersync FOR TABLE boxes");
    rig.up().await;
    let sql = "CREATE TABLE IF NOT EXISTS apart (n integer); INSERT INTO apart SELECT generate_series(1, 1000)";
    for database in ["other", "postgres"] {
        rig.cluster.sql_in(database, sql);
        let head = rig.cluster.sql("SELECT pg_current_wal_lsn()");
        let passed = format!("SELECT confirmed_flush_lsn >= '{head}' FROM pg_replication_slots");
        rig.wait_for("acknowledgement", async || rig.cluster.sql(&passed) == "t").await;
    }
    assert_eq!(rig.metric("snapshots_total").await, 1);
}
