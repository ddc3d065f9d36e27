//! What clients get: the snapshot, changes, values of every type, write checkpoints, rules with parameters.

use serde_json::json;

use crate::boxes::{BOXES, RULES, ops, rows};
use crate::cluster::Cluster;
use crate::rig::{self, Device, Rig, request_body};

#[tokio::test]
async fn snapshot_then_changes() {
    let cluster = Cluster::start();
    cluster.sql(&format!("{BOXES}; INSERT INTO boxes VALUES ('a', 'one', 1), ('b', NULL, 2)"));
    let mut rig = Rig::idle(cluster, "SELECT 1", RULES);
    rig.up().await;
    let mut stream = rig.open(&request_body("c1", &json!([]))).await.expect("it is ready");
    let first = stream.checkpoint().await;
    assert_eq!(
        ops(&first),
        [r#"PUT a {"id":"a","label":"one","size":1}"#, r#"PUT b {"id":"b","label":null,"size":2}"#]
    );
    let check = async |stream: &mut rig::Lines, sql: &str, expect: &[&str]| {
        rig.cluster.sql(sql);
        assert_eq!(ops(&stream.checkpoint().await), expect, "{sql}");
    };
    check(&mut stream, "INSERT INTO boxes VALUES ('c', 'new', 3)", &[r#"PUT c {"id":"c","label":"new","size":3}"#])
        .await;
    check(&mut stream, "UPDATE boxes SET size = 4 WHERE id = 'c'", &[r#"PUT c {"id":"c","label":"new","size":4}"#])
        .await;
    check(
        &mut stream,
        "UPDATE boxes SET id = 'd' WHERE id = 'c'",
        &["REMOVE c -", r#"PUT d {"id":"d","label":"new","size":4}"#],
    )
    .await;
    check(&mut stream, "DELETE FROM boxes WHERE id = 'd'", &["REMOVE d -"]).await;
    check(
        &mut stream,
        "BEGIN; UPDATE boxes SET size = 9; INSERT INTO boxes VALUES ('e', 'e', 5); DELETE FROM boxes WHERE id = 'a'; COMMIT",
        &[
            r#"PUT a {"id":"a","label":"one","size":9}"#,
            r#"PUT b {"id":"b","label":null,"size":9}"#,
            r#"PUT e {"id":"e","label":"e","size":5}"#,
            "REMOVE a -",
        ],
    )
    .await;
    // Clients never see what is rolled back. They see the next change.
    rig.cluster.sql("BEGIN; UPDATE boxes SET size = 77; ROLLBACK");
    check(&mut stream, "TRUNCATE boxes", &["REMOVE b -", "REMOVE e -"]).await;
}

#[tokio::test]
async fn replica_identity_full() {
    let cluster = Cluster::start();
    cluster.sql(&format!("{BOXES}; ALTER TABLE boxes REPLICA IDENTITY FULL; INSERT INTO boxes VALUES ('a', 'one', 1)"));
    let mut rig = Rig::idle(cluster, "SELECT 1", RULES);
    rig.up().await;
    let mut stream = rig.open(&request_body("c1", &json!([]))).await.expect("it is ready");
    stream.checkpoint().await;
    rig.cluster.sql("UPDATE boxes SET size = 2");
    assert_eq!(ops(&stream.checkpoint().await), ["REMOVE a -", r#"PUT a {"id":"a","label":"one","size":2}"#]);
    rig.cluster.sql("UPDATE boxes SET size = size");
    assert_eq!(ops(&stream.checkpoint().await), [r#"PUT a {"id":"a","label":"one","size":2}"#]);
    rig.cluster.sql("TRUNCATE boxes");
    assert_eq!(ops(&stream.checkpoint().await), ["REMOVE a -"]);
}

/// Values of every type, under sync rules and under edition 2, from a snapshot and from the log.
#[tokio::test]
async fn values_of_every_type() {
    let tables = "CREATE TYPE mood AS ENUM ('calm', 'cross'); CREATE DOMAIN age AS integer;
        CREATE TABLE kinds (id text PRIMARY KEY, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision,
            b boolean, n numeric, j json, jb jsonb, tz timestamptz, ts timestamp, d date, t time, u uuid, bin bytea,
            a text[], ia integer[], m mood, g age, iv interval, r int4range, ip inet, c char(3))";
    let insert = |id: &str| {
        format!(
            "INSERT INTO kinds VALUES ('{id}', -5, 1, 9007199254740993, 0.1, 2, true, 12.340, '{{\"b\": 1}}',
            '{{\"a\":[1,2.50,null]}}', '2026-01-02 03:04:05.678901+02', '2026-01-02 03:04:05.6', '2026-01-02',
            '03:04:05.5', '6f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0', '\\x00ff', '{{x,\"y z\"}}', '{{1,NULL}}', 'cross', 5,
            '1 day 2 hours', '[1,5)', '10.0.0.1', 'ab')"
        )
    };
    let legacy = r#""i2":-5,"i4":1,"i8":9007199254740993,"f4":0.1,"f8":2.0,"b":1,"n":"12.340","j":"{\"b\": 1}","jb":"{\"a\": [1, 2.50, null]}","tz":"2026-01-02 01:04:05.678901Z","ts":"2026-01-02 03:04:05.6","d":"2026-01-02","t":"03:04:05.5","u":"6f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0","a":"[\"x\",\"y z\"]","ia":"[1,null]","m":"cross","g":"5","iv":"1 day 02:00:00","r":"[1,5)","ip":"10.0.0.1","c":"ab "}"#;
    let iso = legacy
        .replace("01-02 01:04:05.678901Z", "01-02T01:04:05.678901Z")
        .replace("01-02 03:04:05.6\"", "01-02T03:04:05.600000\"")
        .replace("03:04:05.5\"", "03:04:05.500000\"")
        .replace("\"g\":\"5\"", "\"g\":5");
    let null = r#"{"id":"null","i2":null,"i4":null,"i8":null,"f4":null,"f8":null,"b":null,"n":null,"j":null,"jb":null,"tz":null,"ts":null,"d":null,"t":null,"u":null,"bin":null,"a":null,"ia":null,"m":null,"g":null,"iv":null,"r":null,"ip":null,"c":null}"#;
    let rules = "bucket_definitions: {all: {data: SELECT * FROM kinds}}";
    for (rules, expect) in [(rules.to_owned(), legacy.to_owned()), (format!("config: {{edition: 2}}\n{rules}"), iso)] {
        let cluster = Cluster::start();
        cluster.sql(tables);
        cluster.sql(&insert("snapshot"));
        let mut rig = Rig::idle(cluster, "SELECT 1", &rules);
        rig.up().await;
        let mut stream = rig.open(&request_body("c1", &json!([]))).await.expect("it is ready");
        assert_eq!(ops(&stream.checkpoint().await), [format!("PUT snapshot {{\"id\":\"snapshot\",{expect}")]);
        rig.cluster.sql(&insert("log"));
        assert_eq!(ops(&stream.checkpoint().await), [format!("PUT log {{\"id\":\"log\",{expect}")]);
        rig.cluster.sql("INSERT INTO kinds (id) VALUES ('null')");
        assert_eq!(ops(&stream.checkpoint().await), [format!("PUT null {null}")]);
    }
}

/// A large value that is stored outside its row is not in the log when it does not change.
#[tokio::test]
async fn large_values_that_did_not_change() {
    for identity in ["DEFAULT", "FULL"] {
        let cluster = Cluster::start();
        cluster.sql(&format!("{BOXES}; ALTER TABLE boxes ALTER label SET STORAGE EXTERNAL"));
        cluster.sql(&format!("ALTER TABLE boxes REPLICA IDENTITY {identity}"));
        let mut rig = Rig::idle(cluster, "SELECT 1", RULES);
        rig.up().await;
        let mut device = Device::default();
        rig.cluster
            .sql("INSERT INTO boxes SELECT 'a', string_agg(md5(n::text), ''), 1 FROM generate_series(1, 1000) n");
        rig.cluster.sql("UPDATE boxes SET size = 2");
        rig.converge(&mut device, || rows(&rig)).await;
        // The key changes, and the value does not.
        rig.cluster.sql("UPDATE boxes SET id = 'b'");
        rig.cluster.sql("UPDATE boxes SET size = 3");
        rig.converge(&mut device, || rows(&rig)).await;
        assert_eq!(rig.metric("snapshots_total").await, 1, "{identity}");
    }
}

#[tokio::test]
async fn keys_of_other_kinds() {
    let cluster = Cluster::start();
    cluster.sql(
        "CREATE TABLE numbered (id bigint PRIMARY KEY, label text);
         CREATE TABLE pairs (a text, b integer, label text, PRIMARY KEY (a, b));
         CREATE TABLE late (label text, id uuid PRIMARY KEY)",
    );
    let rules = "bucket_definitions:
  all:
    data:
      - SELECT * FROM numbered
      - SELECT a || '/' || b AS id, label FROM pairs
      - SELECT * FROM late
";
    let mut rig = Rig::idle(cluster, "SELECT 1", rules);
    rig.up().await;
    let mut stream = rig.open(&request_body("c1", &json!([]))).await.expect("it is ready");
    stream.checkpoint().await;
    rig.cluster.sql("INSERT INTO numbered VALUES (4, 'x')");
    assert_eq!(ops(&stream.checkpoint().await), [r#"PUT 4 {"id":4,"label":"x"}"#]);
    rig.cluster.sql("INSERT INTO pairs VALUES ('p', 1, 'x')");
    assert_eq!(ops(&stream.checkpoint().await), [r#"PUT p/1 {"id":"p/1","label":"x"}"#]);
    rig.cluster.sql("UPDATE pairs SET label = 'y'");
    assert_eq!(ops(&stream.checkpoint().await), [r#"PUT p/1 {"id":"p/1","label":"y"}"#]);
    rig.cluster.sql("INSERT INTO late VALUES ('x', '6f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0')");
    assert_eq!(
        ops(&stream.checkpoint().await),
        [r#"PUT 6f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0 {"label":"x","id":"6f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0"}"#]
    );
    rig.cluster.sql("DELETE FROM numbered; DELETE FROM pairs");
    // Two commits, which may come in one checkpoint.
    let mut gone = 0;
    while gone < 2 {
        gone += ops(&stream.checkpoint().await).len();
    }
    assert_eq!(gone, 2);
}

/// A write checkpoint covers what was committed before its request, on an idle database too.
#[tokio::test]
async fn write_checkpoints() {
    let mut rig = Rig::start(BOXES, RULES).await;
    let mut device = Device::default();
    rig.converge(&mut device, Vec::new).await;
    for round in 1..=20 {
        if round % 2 == 0 {
            rig.cluster
                .sql(&format!("SET synchronous_commit = off; INSERT INTO boxes VALUES ('r{round:02}', 'x', {round})"));
        }
        let expect = rows(&rig);
        let counter = rig.write_checkpoint("c1").await.expect("PostgreSQL is up");
        assert_eq!(counter, round.to_string());
        rig.wait_for("stream", async || true).await;
        while device.client.write_checkpoint.as_deref() != Some(&counter) || !device.complete {
            device.step(&rig).await;
        }
        assert_eq!(device.client.rows(), expect, "the acknowledged rows, {counter}");
    }
    // The counter and its position outlive the process.
    rig.kill();
    rig.up().await;
    assert_eq!(rig.write_checkpoint("c1").await.as_deref(), Some("21"));
    assert_eq!(rig.write_checkpoint("c2").await.as_deref(), Some("1"));
    // Without PostgreSQL there is none, because its position is not known.
    rig.cluster.down("fast");
    assert_eq!(rig.write_checkpoint("c1").await, None);
    rig.cluster.up();
    rig.wait_for("write checkpoint", async || rig.write_checkpoint("c1").await.is_some()).await;
}

#[tokio::test]
async fn rules_with_parameters_and_streams() {
    let tables = "CREATE TABLE boxes (id text PRIMARY KEY, owner text, label text);
        CREATE TABLE members (id text PRIMARY KEY, person text, team text)";
    let rules = "config: {edition: 2}
bucket_definitions:
  team:
    parameters: SELECT team FROM members WHERE person = request.user_id()
    data: SELECT id, label FROM boxes WHERE owner = bucket.team
streams:
  labelled:
    query: SELECT id, owner FROM boxes WHERE label = subscription.parameter('label')
";
    let mut rig = Rig::start(tables, rules).await;
    rig.cluster.sql("INSERT INTO boxes VALUES ('a', 'red', 'x'), ('b', 'blue', 'y')");
    let mut device = Device::default();
    rig.converge(&mut device, Vec::new).await;
    rig.cluster.sql("INSERT INTO members VALUES ('m', 'u1', 'red')");
    rig.converge(&mut device, || vec![r#"boxes/a {"id":"a","label":"x"}"#.to_owned()]).await;
    rig.kill();
    rig.up().await;
    rig.cluster.sql("UPDATE members SET team = 'blue'");
    rig.converge(&mut device, || vec![r#"boxes/b {"id":"b","label":"y"}"#.to_owned()]).await;
    let mut body = request_body("c2", &json!([]));
    body["streams"] = json!({"include_defaults": false, "subscriptions": [
        {"stream": "labelled", "parameters": {"label": "x"}, "override_priority": null}]});
    let mut stream = rig.open(&body).await.expect("it is ready");
    assert_eq!(ops(&stream.checkpoint().await), [r#"PUT a {"id":"a","owner":"red"}"#]);
}
