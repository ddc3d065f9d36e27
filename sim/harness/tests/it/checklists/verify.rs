//! All is well; then each single thing is not.

use jsonwebtoken::{EncodingKey, Header};
use mongodb::bson::doc;
use serde_json::json;
use sim_stack::postgres::{Postgres, Settings};

use super::mongod;
use super::rig::{AUDIENCE, DATABASE, Rig, free_port};
use super::{Told, told};

/// The lines that are skipped on a rig without containers and MongoDB, where nothing may be written.
const ALWAYS_SKIPPED: [&str; 5] = [
    "containers: all run",
    "end to end: from tauri to web",
    "end to end: from web to tauri",
    "end to end: its rows are gone again",
    "stores: MongoDB replica set",
];
/// The lines that hang on a session with the database.
const OF_SESSION: [&str; 8] = [
    "database: TLS",
    "database: publication",
    "database: publication covers the tables",
    "database: replica identity",
    "database: replication slot",
    "database: replication slot is active",
    "database: tables",
    "database: wal_level",
];
const OF_SERVICE: [&str; 4] =
    ["service: readiness", "service: token is accepted", "service: a client connects", "service: CORS"];
const OF_BACKEND: [&str; 5] = [
    "backend: readiness",
    "backend: key set (JWKS)",
    "backend: token is accepted",
    "backend: CORS",
    "token: key is in the key set",
];

fn verify(rig: &Rig, others: &[(&str, String)]) -> Told {
    let mut others = others.to_vec();
    others.push(("--patience-seconds", "10".to_owned()));
    told("verify", &rig.args(&others), None)
}

fn nowhere(scheme: &str) -> String {
    format!("{scheme}://127.0.0.1:{}", free_port())
}

/// A token of the backend's own key, with claims of the test's.
fn token(rig: &Rig, lifetime_s: i64) -> String {
    let text = std::fs::read_to_string(rig.key_file()).expect("the key is there");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let pem = file["private_pem"].as_str().expect("a key pair");
    let header = Header { kid: file["kid"].as_str().map(str::to_owned), ..Header::new(jsonwebtoken::Algorithm::ES256) };
    let now_s = backend::server::machine_clock_us() / 1_000_000;
    let claims =
        json!({"sub": "local-user", "aud": AUDIENCE, "iat": now_s + lifetime_s - 600, "exp": now_s + lifetime_s});
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key")).expect("it signs")
}

/// Another key of the same kind.
fn other_key(rig: &Rig) -> String {
    let path = rig.folder.path().join("other");
    let keyring = backend::server::keys::Keyring::open(&path).expect("it can be made");
    keyring.ensure(&[jsonwebtoken::Algorithm::ES256], 0).expect("a key can be generated");
    let entry = std::fs::read_dir(path.join("keys")).expect("it is there").flatten().next().expect("one key");
    entry.path().display().to_string()
}

#[tokio::test]
async fn each_thing_that_is_broken_has_its_own_diagnosis() {
    let mut rig = Rig::start().await;
    let well = verify(&rig, &[]);
    assert_eq!((well.with("failed"), well.with("skipped")), (Vec::new(), ALWAYS_SKIPPED.to_vec()), "{}", well.raw);
    assert_eq!(well.code, Some(0));
    both_ways(&rig).await;

    // The database.
    let tables: Vec<String> = rig.app.schema.tables.iter().map(|table| table.name.clone()).collect();
    let (first, last) = (&tables[0], tables.last().expect("there are some"));
    let column = &rig.app.schema.tables[0].columns[0].name;
    let covers = format!("ALTER PUBLICATION powersync ADD TABLE {last}");
    let table: &[(&str, String, String, &str, String)] = &[
        (
            "a missing table",
            format!("CREATE SCHEMA away; ALTER TABLE {last} SET SCHEMA away"),
            format!("ALTER TABLE away.{last} SET SCHEMA public; DROP SCHEMA away"),
            "database: tables",
            format!("missing: {last}"),
        ),
        (
            "an extra table",
            "CREATE TABLE stray (id text)".to_owned(),
            "DROP TABLE stray".to_owned(),
            "database: tables",
            "not of the application: stray".to_owned(),
        ),
        (
            "a missing column",
            format!("ALTER TABLE {first} RENAME COLUMN {column} TO away"),
            format!("ALTER TABLE {first} RENAME COLUMN away TO {column}"),
            "database: tables",
            format!("missing columns: {first}.{column}"),
        ),
        (
            "a publication that lacks a table",
            format!("ALTER PUBLICATION powersync DROP TABLE {last}"),
            covers,
            "database: publication covers the tables",
            format!("lacks {last}"),
        ),
        (
            "a publication without deletions",
            "ALTER PUBLICATION powersync SET (publish = 'insert, update')".to_owned(),
            "ALTER PUBLICATION powersync SET (publish = 'insert, update, delete, truncate')".to_owned(),
            "database: publication",
            "leaves out delete, truncate".to_owned(),
        ),
        (
            "another replica identity",
            format!("ALTER TABLE {first} REPLICA IDENTITY DEFAULT"),
            format!("ALTER TABLE {first} REPLICA IDENTITY FULL"),
            "database: replica identity",
            first.clone(),
        ),
    ];
    for (what, broken, mended, line, words) in table {
        rig.sql(broken).await;
        verify(&rig, &[]).check(what, &well, &[(line, words)], &[]);
        rig.sql(mended).await;
    }
    rig.sql("ALTER PUBLICATION powersync RENAME TO away").await;
    let found = verify(&rig, &[]);
    let lines = [("database: publication", "no publication is called powersync")];
    found.check("no publication", &well, &lines, &["database: publication covers the tables"]);
    rig.sql("ALTER PUBLICATION away RENAME TO powersync").await;

    by_other_arguments(&rig, &well).await;

    // The service is down: nobody reads the slot. Then the slot is gone, too.
    rig.running = None;
    let client = rig.cluster.connect(DATABASE).await.expect("it answers");
    until_read(&client, false).await;
    let down = ("service: liveness", "nobody listens");
    let inactive = ("database: replication slot is active", "nobody reads slot powersync_replication_slot");
    verify(&rig, &[]).check("the service is down", &well, &[down, inactive], &OF_SERVICE);
    rig.sql("SELECT pg_drop_replication_slot('powersync_replication_slot')").await;
    let none = ("database: replication slot", "there is no logical replication slot");
    let skipped = [&OF_SERVICE[..], &["database: replication slot is active"]].concat();
    verify(&rig, &[]).check("no slot", &well, &[down, none], &skipped);
    rig.start_service();
    // It is ready a moment before it replicates.
    until_read(&client, true).await;
    verify(&rig, &[]).check("the service is back", &well, &[], &[]);
}

/// Waits until the slot is read by somebody, or by nobody.
async fn until_read(client: &tokio_postgres::Client, is_read: bool) {
    let asked = "SELECT coalesce(bool_or(active), false) FROM pg_replication_slots";
    let begun = std::time::Instant::now();
    while client.query_one(asked, &[]).await.expect("it answers").get::<_, bool>(0) != is_read {
        assert!(begun.elapsed().as_secs() < 60, "the slot never comes to be {}", if is_read { "read" } else { "left" });
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A row from each device to the other, and nothing left of them.
async fn both_ways(rig: &Rig) {
    let mut args = rig.args(&[("--patience-seconds", "20".to_owned())]);
    args.push("--allow-writes".to_owned());
    let found = told("verify", &args, None);
    assert_eq!(found.with("failed"), Vec::<&str>::new(), "{}", found.raw);
    assert!(!found.with("skipped").iter().any(|line| line.starts_with("end to end")), "{}", found.raw);
    let client = rig.cluster.connect(DATABASE).await.expect("it answers");
    for table in &rig.app.schema.tables {
        let count =
            client.query_one(&format!("SELECT count(*) FROM \"{}\"", table.name), &[]).await.expect("it answers");
        assert_eq!(count.get::<_, i64>(0), 0, "{} is left behind", table.name);
    }
    let written = client.query_one("SELECT count(*) FROM sync_backend.ledger", &[]).await.expect("it answers");
    assert_eq!(written.get::<_, i64>(0), 4, "two rows were written, and deleted again");
}

/// What is broken for whoever asks: other addresses, keys and claims.
async fn by_other_arguments(rig: &Rig, well: &Told) {
    let echo = |lifetime_s: i64| format!("echo {}", token(rig, lifetime_s));
    let uninitiated = mongod::start(&doc! { "isreplicaset": true, "isWritablePrimary": false }, true);
    let primary = mongod::start(&doc! { "setName": "rs0", "isWritablePrimary": true }, true);
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert.pem();
    let file = rig.folder.path().join("stranger.crt");
    std::fs::write(&file, authority).expect("a file can be written");
    let stranger = format!("?sslmode=verify-full&sslrootcert={}", file.display());
    let accepted = ["service: token is accepted", "backend: token is accepted"];
    let stream = "service: a client connects";
    /// Arguments, lines that fail with words, lines that are skipped.
    type Case<'a> = (&'a str, Vec<(&'a str, String)>, Vec<(&'a str, &'a str)>, Vec<&'a str>);
    let table: Vec<Case<'_>> = vec![
        (
            "the backend is down",
            vec![("--backend-url", nowhere("http"))],
            vec![("backend: liveness", "nobody listens")],
            OF_BACKEND.to_vec(),
        ),
        (
            "another service is there",
            vec![("--powersync-url", format!("http://127.0.0.1:{}", rig.backend))],
            vec![(stream, "it is not a PowerSync service")],
            vec![accepted[0]],
        ),
        (
            "the database is down",
            vec![("--postgres-url", nowhere("postgres").replace("://", "://user:hush@"))],
            vec![("database: reachable", "cannot be used")],
            OF_SESSION.to_vec(),
        ),
        (
            "a wrong password of the database",
            vec![("--postgres-url", rig.cluster.url(DATABASE).replace(rig.cluster.password(), "hush"))],
            vec![("database: reachable", "does not take the name and password")],
            OF_SESSION.to_vec(),
        ),
        (
            "another certificate authority",
            vec![("--postgres-url", rig.cluster.bare_url(DATABASE) + &stranger)],
            vec![("database: TLS", "is not believed")],
            [&OF_SESSION[1..], &["database: reachable"]].concat(),
        ),
        (
            "no TLS asked for",
            vec![("--postgres-url", rig.cluster.bare_url(DATABASE) + "?sslmode=disable")],
            vec![],
            vec![],
        ),
        (
            "another slot",
            vec![("--slot", "another".to_owned())],
            vec![("database: replication slot", "no logical replication slot another")],
            vec!["database: replication slot is active"],
        ),
        (
            "another key under the name of the right one",
            vec![
                ("--token-key", other_key(rig)),
                ("--kid", rig.key_file().file_stem().expect("a name").display().to_string()),
            ],
            vec![
                (accepted[0], "signature:"),
                (accepted[1], "signature:"),
                ("token: key is in the key set", "signature:"),
            ],
            vec![stream],
        ),
        (
            "an unknown key",
            vec![("--token-key", other_key(rig))],
            vec![(accepted[0], "kid:"), (accepted[1], "kid:"), ("token: key is in the key set", "kid:")],
            vec![stream],
        ),
        (
            "a shared secret that nobody knows",
            vec![("--token-secret", "a-secret-of-the-tests".to_owned())],
            vec![(accepted[0], "kid: the token names key \"local-dev-key\""), (accepted[1], "alg:")],
            vec![stream, "token: key is in the key set"],
        ),
        (
            "a wrong audience",
            vec![("--audience", "somebody-else".to_owned())],
            vec![(accepted[0], "aud: the token is for \"somebody-else\""), (accepted[1], "aud:")],
            vec![stream],
        ),
        (
            "an expired token",
            vec![("--token-command", echo(-300))],
            vec![(accepted[0], "exp: the token expired 30"), (accepted[1], "exp: the token expired 30")],
            vec![stream],
        ),
        ("a token of a command", vec![("--token-command", echo(300))], vec![], vec![]),
        (
            "CORS is closed",
            vec![("--origin", "https://other.example".to_owned())],
            vec![("backend: CORS", "allows no origin")],
            vec![],
        ),
        ("Redis is down", vec![("--redis-url", nowhere("redis"))], vec![("stores: Redis", "nobody listens")], vec![]),
        (
            "a wrong password of Redis",
            vec![("--redis-url", rig.redis_url().replace(rig.redis_password(), "hush"))],
            vec![("stores: Redis", "does not take the password")],
            vec![],
        ),
        (
            "no password for Redis",
            vec![("--redis-url", format!("redis://127.0.0.1:{}", rig.redis))],
            vec![("stores: Redis", "does not take the password")],
            vec![],
        ),
        (
            "the replica set is not initiated",
            vec![("--mongodb-url", format!("mongodb://user:hush@{uninitiated}/?replicaSet=rs0"))],
            vec![("stores: MongoDB replica set", "not initiated")],
            vec![],
        ),
        (
            "MongoDB is down",
            vec![("--mongodb-url", nowhere("mongodb"))],
            vec![("stores: MongoDB replica set", "nobody listens")],
            vec![],
        ),
        (
            "something else than MongoDB",
            vec![("--mongodb-url", format!("mongodb://127.0.0.1:{}", rig.backend))],
            vec![("stores: MongoDB replica set", "127.0.0.1")],
            vec![],
        ),
    ];
    for (what, others, failed, skipped) in table {
        let found = verify(rig, &others);
        found.check(what, well, &failed, &skipped);
        for secret in ["hush", rig.cluster.password(), rig.redis_password(), "a-secret-of-the-tests"] {
            assert!(!found.raw.contains(secret), "{what}: {}", found.raw);
        }
    }
    let found = verify(rig, &[("--mongodb-url", format!("mongodb://user:hush@{primary}/?replicaSet=rs0"))]);
    let (outcome, said) = &found.lines["stores: MongoDB replica set"];
    assert_eq!((outcome.as_str(), said.contains("primary")), ("ok", true), "{said}");
}

/// A cluster that was never prepared for replication.
#[tokio::test]
async fn a_database_without_logical_replication() {
    let parameters = vec![("wal_level".to_owned(), "replica".to_owned())];
    let cluster =
        Postgres::start(Settings { parameters, ..Settings::default() }).await.expect("PostgreSQL is installed");
    let args = ["--postgres-url".to_owned(), cluster.url("postgres")];
    let found = told("verify", &args, None);
    assert_eq!(found.code, Some(1));
    let failed = ["database: publication", "database: replication slot", "database: tables", "database: wal_level"];
    assert_eq!(found.with("failed"), failed);
    assert!(found.lines["database: wal_level"].1.contains("wal_level is replica"));
    assert_eq!(found.lines["database: TLS"].0, "ok");
}
