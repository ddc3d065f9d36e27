//! Recorded exchanges with the official service, replayed against the service on PostgreSQL, over a socket.

use serde_json::Value as Json;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::recorded::{auth_exchanges, normalise};
use crate::rig::{self, KEY, Lines, Rig, SECRET, claims, signed, text_of, token};

/// The types that columns had in the recording. Tests in memory have text instead.
const RECORDED: [(&str, &str); 7] = [
    ("price", "numeric"),
    ("meta", "jsonb"),
    ("js", "json"),
    ("local_ts", "timestamp"),
    ("d", "date"),
    ("u", "uuid"),
    ("tags", "text[]"),
];

/// `name a:text b:integer` as SQL, with the types of the recording.
fn create_table(text: &str) -> String {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a table has a name");
    let columns = words.map(|word| {
        let (name, ty) = word.split_once(':').expect("a column has a type");
        let ty = RECORDED.iter().find(|(column, _)| *column == name).map_or(ty, |(_, ty)| ty);
        // The recording also had a column of bytes.
        let before = if name == "tags" { ", bin bytea" } else { "" };
        format!("{before}, \"{name}\" {}", if ty == "double" { "double precision" } else { ty })
    });
    format!("CREATE TABLE \"{name}\" (id text PRIMARY KEY{});\n", columns.collect::<String>())
}

fn literal(value: &Json) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => format!("'{other}'"),
    }
}

/// The statement for a line of a trace.
fn statement(verb: &str, rest: &str) -> String {
    let json = |text: &str| -> Json { serde_json::from_str(text).expect("JSON in the trace") };
    let (table, rest) = rest.split_once(' ').expect("a table and more");
    match verb {
        "insert" => {
            let row = json(rest);
            let row = row.as_object().expect("a row");
            let names: Vec<String> = row.keys().map(|name| format!("\"{name}\"")).collect();
            let value = |(name, value): (&String, &Json)| {
                let text = literal(value);
                // An array of texts is JSON with other brackets.
                if name == "tags" { text.replace('[', "{").replace(']', "}") } else { text }
            };
            let values: Vec<String> = row.iter().map(value).collect();
            let insert = format!("INSERT INTO \"{table}\" ({}) VALUES ({});\n", names.join(", "), values.join(", "));
            // Only the row of the recording that has a value in every column has bytes.
            let bytes =
                if row.contains_key("price") && row["id"] == "t1" { "UPDATE tasks SET bin = 'x';\n" } else { "" };
            insert + bytes
        }
        "update" => {
            let (id, columns) = rest.split_once(' ').expect("columns");
            let columns = json(columns);
            let mut sets = vec!["id = id".to_owned()];
            let columns = columns.as_object().expect("columns");
            sets.extend(columns.iter().map(|(name, value)| format!("\"{name}\" = {}", literal(value))));
            format!("UPDATE \"{table}\" SET {} WHERE id = '{id}';\n", sets.join(", "))
        }
        _ => format!("DELETE FROM \"{table}\" WHERE id = '{rest}';\n"),
    }
}

async fn replay(trace: &str) {
    let mut tables = String::new();
    let mut rules = "bucket_definitions:\n  all_data:\n    data:\n".to_owned();
    let mut identity = "DEFAULT";
    for line in trace.lines() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("table", text) => {
                tables += &create_table(text);
                rules += &format!("      - SELECT * FROM {}\n", text.split(' ').next().expect("a name"));
            }
            ("app", name) => {
                let app = fixtures::App::builtin(name).expect("an app of ours");
                (tables, rules) = (app.schema_sql, app.sync_config);
            }
            ("identity", "full") => identity = "FULL",
            _ => {}
        }
    }
    let cluster = Cluster::start();
    cluster.sql(&tables);
    let names =
        cluster.sql("SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace");
    for name in names.lines() {
        cluster.sql(&format!("ALTER TABLE {name} REPLICA IDENTITY {identity}"));
    }
    let mut rig = Rig::idle(cluster, "SELECT 1", &rules);
    let mut stream: Option<Lines> = None;
    let (mut ours, mut theirs) = (Client::default(), Client::default());
    let (mut got, mut expected): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut open_transaction = String::new();
    // An answer was recorded between a commit and its replication. How lines are cut is then left to timing.
    let mut mixed = false;
    let mut committed = false;
    for (number, line) in trace.lines().enumerate().chain([(0, "close")]) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if verb == "<<" {
            expected.push(rest.to_owned());
            continue;
        }
        if verb == "ask" && committed {
            mixed = true;
        }
        if !(verb == "replicate" && mixed) {
            if let Some(stream) = &mut stream {
                let wanted = expected.last().and_then(|line| acknowledged(&expected, line));
                loop {
                    let done = if mixed {
                        got.last().and_then(|line| acknowledged(&got, line)) == wanted
                    } else {
                        got.len() >= expected.len()
                    };
                    if done {
                        break;
                    }
                    let line = stream.line().await;
                    if !line.starts_with("{\"token") {
                        got.push(line);
                    }
                }
            }
            let answer = |line: &String| {
                line.starts_with("{\"data\":{\"write")
                    || line.starts_with("{\"data\":{\"checkpoint_r")
                    || line.starts_with("{\"error")
            };
            for (lines, client) in [(&got, &mut ours), (&expected, &mut theirs)] {
                lines.iter().filter(|line| !answer(line)).for_each(|line| client.take(line));
            }
            assert_eq!(ours.rows(), theirs.rows(), "before line {}: {line}", number + 1);
            assert_eq!(ours.write_checkpoint, theirs.write_checkpoint, "before line {}: {line}", number + 1);
            if !mixed {
                let normalised = |lines: &[String]| lines.iter().map(|line| normalise(line)).collect::<Vec<_>>();
                assert_eq!(
                    normalised(&got),
                    normalised(&expected),
                    "before line {}: {line}\n{}",
                    number + 1,
                    rig.log()
                );
            }
            got.clear();
            expected.clear();
            mixed = verb == "ask" && committed;
        }
        match verb {
            "insert" | "update" | "delete" => open_transaction += &statement(verb, rest),
            "commit" => {
                rig.cluster.sql(&format!("BEGIN;\n{open_transaction}COMMIT"));
                open_transaction.clear();
                committed = true;
            }
            "replicate" => committed = false,
            "open" => {
                if rig.child.is_none() {
                    rig.up().await;
                }
                (ours, theirs) = (Client::default(), Client::default());
                let body = rest.splitn(3, ' ').nth(2).expect("a body");
                stream = rig.open(&serde_json::from_str(body).expect("JSON")).await;
            }
            "ask" => {
                let mut words = rest.splitn(3, ' ');
                let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
                let token = token(&claims("u1", 0, 3600));
                let answer = rig.send(method, path, Some(&token), words.next().unwrap_or("")).await;
                got.push(text_of(answer.expect("it answers")).await);
            }
            "close" => stream = None,
            _ => {}
        }
    }
}

/// The write checkpoint of the last checkpoint line, if `last` completes it.
fn acknowledged(lines: &[String], last: &str) -> Option<String> {
    if !last.starts_with("{\"checkpoint_complete") {
        return None;
    }
    let line = lines.iter().rev().find(|line| line.starts_with("{\"checkpoint_diff"))?;
    let line: Json = serde_json::from_str(line).expect("a line is JSON");
    line["checkpoint_diff"]["write_checkpoint"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn initial_sync_live_changes_and_write_checkpoints() {
    replay(include_str!("../traces/initial-and-live.trace")).await;
}

#[tokio::test]
async fn replica_identity_full() {
    replay(include_str!("../traces/replica-identity-full.trace")).await;
}

#[tokio::test]
async fn who_is_let_in() {
    let rig = Rig::start(
        "CREATE TABLE boxes (id text PRIMARY KEY)",
        "bucket_definitions: {all: {data: SELECT * FROM boxes}}",
    )
    .await;
    let now_s = claims("", 0, 0)["iat"].as_i64().expect("seconds");
    let sign = |key: &str, right: bool, claims: &Json| {
        assert_eq!(key == "dev-1", key == KEY);
        signed(key, if right { SECRET } else { "another secret" }, claims)
    };
    for exchange in auth_exchanges(include_str!("../traces/auth-errors.trace"), now_s, sign) {
        let authorization = exchange.authorization.as_deref();
        let response = rig.send(exchange.method, exchange.path, authorization, exchange.body).await;
        let response = response.expect("it answers");
        let (status, headers) = (response.status(), response.headers().clone());
        // A stream has no end: only the bodies that were recorded are read.
        let body = if exchange.answer.is_some() { text_of(response).await } else { String::new() };
        exchange.check(status, &headers, &body);
    }
    assert_eq!(rig::AUDIENCE, "powersync-dev", "the audience of the recording");
}
