//! Replays recorded exchanges with the official service, and compares line by line.
//!
//! Bucket generations, subkeys and the checksums of subkeys differ between deployments. They are blanked, and a client
//! adds up the checksums instead.

use std::time::Duration;

use fixtures::App;
use serde_json::Value as Json;
use sim_service::ReplicaIdentity;

use crate::client::Client;
use crate::recorded::{auth_exchanges, normalise};
use crate::rig::{self, Lines, Rig, SECRET, claims, identities, request, text_of, token};

const ALL_DATA: &str = "bucket_definitions:\n  all_data:\n    data:\n";

async fn replay(trace: &str) {
    let mut tables = Vec::new();
    let mut app = None;
    let mut identity = ReplicaIdentity::Full;
    for line in trace.lines() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("table", text) => tables.push(text),
            ("app", name) => app = App::builtin(name),
            ("identity", "primary-key") => identity = ReplicaIdentity::PrimaryKey,
            _ => {}
        }
    }
    let (schema, sync_config) = match app {
        Some(app) => (app.schema, app.sync_config),
        None => {
            let schema = rig::schema(&tables);
            let queries = schema.tables.iter().map(|table| format!("      - SELECT * FROM {}\n", table.name));
            let text = ALL_DATA.to_owned() + &queries.collect::<String>();
            (schema, text)
        }
    };
    let identities = identities(&schema, identity);
    let mut rig = Rig::with(schema, &sync_config, |config| config.replica_identity = identities);
    let mut stream: Option<Lines> = None;
    let (mut ours, mut theirs) = (Client::default(), Client::default());
    let mut got: Vec<String> = Vec::new();
    let mut expected: Vec<String> = Vec::new();
    for (number, line) in trace.lines().enumerate().chain([(0, "close")]) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if verb == "<<" {
            expected.push(rest.to_owned());
            continue;
        }
        // What the service has sent by now must be what was recorded.
        if let Some(stream) = &mut stream {
            got.append(&mut stream.settle().await);
        }
        for (lines, client) in [(&got, &mut ours), (&expected, &mut theirs)] {
            let answers =
                |line: &String| line.starts_with("{\"data\":{\"write") || line.starts_with("{\"data\":{\"checkpoint_r");
            for line in lines.iter().filter(|line| !answers(line) && !line.starts_with("{\"error")) {
                client.take(line);
            }
        }
        let without_bytes = |line: &String| line.replace(",\\\"bin\\\":null", "");
        let normalised =
            |lines: &[String]| lines.iter().map(|line| normalise(&without_bytes(line))).collect::<Vec<_>>();
        assert_eq!(normalised(&got), normalised(&expected), "before line {}: {line}", number + 1);
        got.clear();
        expected.clear();
        let word = |index: usize| rest.splitn(3, ' ').nth(index).unwrap_or("");
        let json = |text: &str| -> Json { serde_json::from_str(text).expect("JSON in the trace") };
        match verb {
            "insert" => {
                let row = json(rest.split_once(' ').expect("a row").1);
                rig.put(word(0), row["id"].as_str().expect("an id"), &row);
            }
            "update" => {
                rig.put(word(0), word(1), &json(word(2)));
            }
            "delete" => {
                rig.delete(word(0), word(1));
            }
            "commit" => {
                rig.commit();
            }
            "replicate" => {
                rig.replicate();
            }
            "open" => {
                ours = Client::default();
                theirs = Client::default();
                stream = Some(rig.open(json(word(2))).await);
            }
            "ask" => {
                let authorization = format!("Token {}", token("dev-1", SECRET, &claims("u1", 0, 3600)));
                let response = rig.send(request(word(0), word(1), Some(&authorization), word(2))).await;
                got.push(text_of(response).await);
            }
            "close" => stream = None,
            "#" | "##" | "identity" | "table" | "app" => {}
            other => panic!("unknown verb {other}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn initial_sync_live_changes_and_write_checkpoints() {
    // Recorded checksums include a column that is left out here, so the recording itself must not be changed.
    replay(include_str!("../traces/initial-and-live.trace")).await;
}

#[tokio::test(start_paused = true)]
async fn replica_identity_full() {
    replay(include_str!("../traces/replica-identity-full.trace")).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_let_in() {
    let rig = Rig::new(rig::shared_schema(), "bucket_definitions: {all: {data: SELECT * FROM boxes}}");
    let sign = |key: &str, right: bool, claims: &Json| {
        format!("Token {}", token(key, if right { SECRET } else { b"another secret" }, claims))
    };
    for exchange in auth_exchanges(include_str!("../traces/auth-errors.trace"), rig::START_S, sign) {
        let authorization = exchange.authorization.as_deref();
        let response = rig.send(request(exchange.method, exchange.path, authorization, exchange.body)).await;
        let (status, headers) = (response.status(), response.headers().clone());
        // A stream has no end: only the bodies that were recorded are read.
        let body = if exchange.answer.is_some() { text_of(response).await } else { String::new() };
        exchange.check(status, &headers, &body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token() {
    check_expiry(12, &[(12, 0)]).await;
    check_expiry(28, &[(8, 20), (28, 0)]).await;
    check_expiry(70, &[(20, 50), (40, 30), (50, 20), (70, 0)]).await;
    check_expiry(-30, &[(0, 0)]).await;
}

async fn check_expiry(expires: i64, expect: &[(u64, i64)]) {
    let rig = Rig::new(rig::shared_schema(), "bucket_definitions: {all: {data: SELECT * FROM boxes}}");
    let authorization = format!("Bearer {}", token("dev-1", SECRET, &claims("u1", -100, expires)));
    let started = tokio::time::Instant::now();
    let response = rig.send(request("POST", "/sync/stream", Some(&authorization), "{}")).await;
    let mut lines = Lines::of(response);
    let mut sent = Vec::new();
    while let Some(line) = lines.next_within(Duration::from_secs(100)).await {
        let line: Json = serde_json::from_str(&line).expect("JSON");
        if let Some(seconds) = line["token_expires_in"].as_i64() {
            sent.push((started.elapsed().as_secs(), seconds));
        }
    }
    assert!(lines.ended());
    assert_eq!(sent, expect, "a token of {expires} s");
    assert_eq!(rig.service.open_streams(), 0);
}
