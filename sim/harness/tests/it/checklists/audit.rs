//! A stack as it should be; then everything that anybody could guess, reach or read.

use super::mongod;
use super::rig::{AUDIENCE, DATABASE, Rig, free_port, serve};
use super::{Told, told};

const TLS: &str = "network: PostgreSQL wants TLS";
/// Whether this machine has an address that others can reach is not for us to say.
const PORTS: &str = "network: no other port is reachable";

fn audit(rig: &Rig, others: &[(&str, String)]) -> Told {
    let mut others = others.to_vec();
    others.push(("--patience-seconds", "10".to_owned()));
    let mut found = told("audit", &rig.args(&others), None);
    found.lines.remove(PORTS);
    found
}

#[tokio::test]
async fn what_anybody_could_guess_reach_or_read() {
    let rig = Rig::start().await;
    let before = audit(&rig, &[]);
    assert_eq!(before.with("failed"), [TLS], "{}", before.raw);
    assert!(before.lines[TLS].1.contains("sessions without TLS"));
    let skipped = [
        "network: compose file publishes nothing else",
        "network: containers publish nothing else",
        "passwords: MongoDB password",
    ];
    assert_eq!(before.with("skipped"), skipped, "{}", before.raw);
    assert!(before.lines["passwords: PostgreSQL password"].1.contains("were refused"));

    // Sessions in the clear are refused.
    let rules = rig.cluster.folder().join("data/pg_hba.conf");
    let text = std::fs::read_to_string(&rules).expect("it is ours");
    std::fs::write(&rules, text.replace("host ", "hostssl ")).expect("it is ours");
    rig.sql("SELECT pg_reload_conf()").await;
    super::rig::wait_for("the rules are read again", || audit(&rig, &[]).with("failed").is_empty());
    let well = audit(&rig, &[]);
    assert_eq!(well.code, Some(0));

    // Passwords.
    rig.sql("CREATE ROLE demo LOGIN PASSWORD 'changeme'").await;
    let own = rig.cluster.url(DATABASE);
    let at = own.find('@').expect("it names a role");
    let demo = format!("postgres://demo:changeme{}", &own[at..]);
    let found = audit(&rig, &[("--postgres-url", demo)]);
    found.check("a usual password", &well, &[("passwords: PostgreSQL password", "lets role \"demo\" in")], &[]);
    assert!(!found.raw.contains("changeme"), "{}", found.raw);
    let own_password = rig.redis_password();
    let redis = "passwords: Redis password";
    rig.redis(own_password, "CONFIG SET requirepass secret");
    audit(&rig, &[]).check("a usual password of Redis", &well, &[(redis, "anybody would try first")], &[]);
    rig.redis("secret", "CONFIG SET requirepass \"\"");
    audit(&rig, &[]).check("no password of Redis", &well, &[(redis, "without a password")], &[]);
    rig.redis("", &format!("CONFIG SET requirepass {own_password}"));
    for (wants_password, failed) in
        [(false, vec![("passwords: MongoDB password", "without a password")]), (true, Vec::new())]
    {
        let address = mongod::start(&mongodb::bson::Document::new(), wants_password);
        let found = audit(&rig, &[("--mongodb-url", format!("mongodb://user:hush-4711-2024@{address}"))]);
        let mut well = audit(&rig, &[]);
        let outcome = if wants_password { "ok" } else { "failed" };
        well.lines.insert("passwords: MongoDB password".to_owned(), (outcome.to_owned(), String::new()));
        found.check("MongoDB", &well, &failed, &[]);
    }

    // A service with a secret out of a guide.
    let port = free_port();
    let _service = rig.service_at(port, &["--hs256-secret", "dev-secret", "--slot", "another"]);
    let found = audit(&rig, &[("--powersync-url", format!("http://127.0.0.1:{port}"))]);
    let line = ("tokens: service takes no usual token", "kid \"local-dev-key\"");
    found.check("a usual secret", &well, &[line], &[]);

    // A service with the secret that the application's own README shows, passed in or not.
    let app = rig.folder.path().join("published/flowstate");
    std::fs::create_dir_all(&app).expect("a folder can be made");
    let built_in = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/flowstate");
    for name in ["schema.sql", "sync-config.yaml", "policy.toml", "activities.toml"] {
        std::fs::copy(built_in.join(name), app.join(name)).expect("a file can be copied");
    }
    let published = "pub1ished-w1th-the-app-4711-and-l0ng-enough";
    std::fs::write(app.join("README.md"), format!("Set `TOKEN_SECRET={published}`.")).expect("it can be written");
    let port = free_port();
    let _published = rig.service_at(port, &["--hs256-secret", published, "--slot", "published"]);
    let service = ("--powersync-url", format!("http://127.0.0.1:{port}"));
    let folder = ("--app", app.display().to_string());
    let found = audit(&rig, &[service.clone(), folder.clone()]);
    let line = ("tokens: service takes no usual token", "a text of README.md");
    found.check("a published secret", &well, &[line], &[]);
    let args = ["--powersync-url".to_owned(), service.1, "--app".to_owned(), folder.1];
    let secret = ["--token-secret", published, "--audience", AUDIENCE].map(str::to_owned);
    let args = [&args[..], &secret].concat();
    let found = told("audit", &args, None);
    let failed = ["tokens: service takes no usual token", "tokens: token secret cannot be found"];
    assert_eq!(found.with("failed"), failed, "{}", found.raw);
    assert!(!found.raw.contains(published), "{}", found.raw);

    // A backend in development mode, which shows its secrets and hands out tokens.
    let port = free_port();
    let _backend = serve(rig.folder.path(), port, |command| {
        command.args(["backend", "--app", "flowstate", "--state-dir", "development", "--audience", AUDIENCE]);
        command.args(["--development", "--algorithm", "HS256"]).env("DATABASE_URL", rig.cluster.url(DATABASE));
    });
    let found = audit(&rig, &[("--backend-url", format!("http://127.0.0.1:{port}"))]);
    let lines = [
        ("tokens: key set shows no secret", "sign as anybody"),
        ("tokens: nobody is handed a token", "development mode"),
    ];
    found.check("development mode", &well, &lines, &[]);

    // An address that is not loopback, and is this machine all the same.
    let found = audit(&rig, &[("--backend-url", format!("http://0.0.0.0:{}", rig.backend))]);
    let clear = [("network: nothing crosses a network in the clear", "the backend at 0.0.0.0")];
    found.check("plain HTTP", &well, &clear, &[]);
}

/// Something that answers everybody, takes everything and shows everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_without_any_care() {
    let port = free_port();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    let everything = axum::Router::new()
        .route(
            "/.well-known/jwks.json",
            axum::routing::get(|| async {
                axum::Json(serde_json::json!({"keys": [{"kty": "EC", "kid": "a", "d": "x"}]}))
            }),
        )
        .fallback(|| async { ([("access-control-allow-origin", "*")], "{}") });
    let serving = tokio::spawn(async move { axum::serve(listener, everything).await });
    let args = ["--backend-url".to_owned(), format!("http://127.0.0.1:{port}")];
    let found = told("audit", &args, None);
    let failed = [
        "pages: backend lets no strange page in",
        "tokens: backend takes no usual token",
        "tokens: key set shows no secret",
        "tokens: nobody is handed a token",
        "tokens: upload wants a token",
    ];
    assert_eq!(found.with("failed"), failed, "{}", found.raw);
    serving.abort();
}
