//! A stack that somebody else runs: a PostgreSQL, a sync service that takes one shared secret, and an upload endpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fixtures::App;
use sim_stack::postgres::{Postgres, Settings};
use tempfile::TempDir;
use tokio_postgres::error::SqlState;

use super::baseline::Manner;
use super::sql::SECRET;
use super::{baseline, postgrest, relay};
use crate::checklists::rig::{Server, free_port, serve};

pub(super) const AUDIENCE: &str = "external";
const DATABASE: &str = "app";
/// An endpoint like the first handler, whose client gives up after 400 and which promises no policy.
const REFUSES: &str = r#"
unit = "transaction"
[request]
path = "/upload"
list = "batch"
[request.fields]
op_id = "op_id"
op = "op"
table = "type"
id = "id"
data = "data"
[answer]
refused = [400]
"#;

/// Which endpoint takes uploads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The first handler, or one that differs from it.
    Handler(Manner),
    /// PostgREST, as far as connectors use it.
    Postgrest,
    /// Our own, which says in the log what it commits, or does not.
    Own { annotates: bool },
}

pub(super) struct Rig {
    pub(super) cluster: Postgres,
    pub(super) folder: TempDir,
    pub(super) backend: u16,
    pub(super) service: u16,
    _servers: Vec<Server>,
    endpoint: Endpoint,
}

impl Rig {
    /// With a `slot_delay` the service confirms its slot so much later.
    pub(super) async fn start(endpoint: Endpoint, slot_delay: Option<Duration>) -> Self {
        let app = App::builtin("flowstate").expect("it is built in");
        let cluster = Postgres::start(Settings::default()).await.expect("PostgreSQL is installed");
        cluster.create_database(DATABASE).await.expect("it is empty");
        let folder = tempfile::tempdir().expect("a temporary folder");
        cluster.connect(DATABASE).await.expect("it answers").batch_execute(&app.schema_sql).await.expect("lawful");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file can be written");
        write("sync-config.yaml", &app.sync_config);
        let key = URL_SAFE_NO_PAD.encode(SECRET);
        write("jwks.json", &format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","kid":"local-dev-key","k":"{key}"}}]}}"#));
        let (backend, service) = (free_port(), free_port());
        let service_database = match slot_delay {
            None => cluster.url(DATABASE).replace("verify-full", "verify-ca"),
            Some(delay) => {
                let relay = relay::of_confirmations(cluster.port(), delay).await;
                let url = cluster.url(DATABASE).replace(&format!(":{}/", cluster.port()), &format!(":{relay}/"));
                let bare = url.split('?').next().expect("a first part").to_owned();
                format!("{bare}?sslmode=disable")
            }
        };
        let mut servers = Vec::new();
        let backend = match endpoint {
            Endpoint::Handler(manner) => baseline::start(&cluster.url(DATABASE), manner).await.port(),
            Endpoint::Postgrest => postgrest::start(&cluster.url(DATABASE)).await.port(),
            Endpoint::Own { annotates } => {
                servers.push(serve(folder.path(), backend, |command| {
                    command.args(["backend", "--app", "flowstate", "--state-dir", "state", "--audience", AUDIENCE]);
                    command.env("DATABASE_URL", cluster.url(DATABASE));
                    if annotates {
                        command.arg("--annotate-commits");
                    }
                }));
                backend
            }
        };
        servers.push(serve(folder.path(), service, |command| {
            command.args(["service", "--sync-config", "sync-config.yaml", "--audience", AUDIENCE]);
            command.args(["--store", "store.sqlite", "--store-sync", "process"]);
            match endpoint {
                Endpoint::Handler(_) | Endpoint::Postgrest => command.args(["--jwks-file", "jwks.json"]),
                Endpoint::Own { .. } => {
                    command.args(["--jwks-url", &format!("http://127.0.0.1:{backend}/.well-known/jwks.json")])
                }
            };
            command.env("SYNCSTORM_SERVICE_DATABASE_URL", &service_database);
        }));
        Self { cluster, folder, backend, service, _servers: servers, endpoint }
    }

    /// The program, against this stack.
    pub(super) fn command(&self, out: &Path, further: &[&str]) -> Command {
        self.command_at(self.service, out, further)
    }

    /// The same, with the service at another port.
    pub(super) fn command_at(&self, service: u16, out: &Path, further: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncstorm"));
        command.args(["run", "--world", "external", "--allow-writes", "--no-shrink", "--json", "--out"]).arg(out);
        command.arg("--powersync-url").arg(format!("http://127.0.0.1:{service}"));
        command.arg("--backend-url").arg(format!("http://127.0.0.1:{}", self.backend));
        command.args(["--audience", AUDIENCE]).env("SYNCSTORM_POSTGRES_URL", self.cluster.url(DATABASE));
        match self.endpoint {
            Endpoint::Handler(Manner::Refuses) => {
                let mapping = self.folder.path().join("refuses.toml");
                fs::write(&mapping, REFUSES).expect("a file can be written");
                command.arg("--mapping").arg(mapping).env("SYNCSTORM_TOKEN_SECRET", SECRET);
            }
            Endpoint::Handler(_) => {
                command.args(["--mapping", "baseline"]).env("SYNCSTORM_TOKEN_SECRET", SECRET);
            }
            Endpoint::Postgrest => {
                command
                    .args(["--mapping", "supabase"])
                    .env("SYNCSTORM_TOKEN_SECRET", SECRET)
                    .env("SUPABASE_ANON_KEY", "any");
            }
            Endpoint::Own { .. } => {
                command.arg("--token-key").arg(self.key_file());
            }
        }
        command.args(further).stdin(Stdio::null());
        command
    }

    pub(super) fn run(&self, out: &Path, further: &[&str]) -> Output {
        self.command(out, further).output().expect("the program starts")
    }

    fn key_file(&self) -> PathBuf {
        let keys = fs::read_dir(self.folder.path().join("state/keys")).expect("the backend made its keys");
        keys.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some()).expect("there is one")
    }

    /// As any writer beside a busy backend does: again after a deadlock.
    pub(super) async fn sql(&self, statements: &str) {
        let client = self.cluster.connect(DATABASE).await.expect("the cluster answers");
        while let Err(error) = client.batch_execute(statements).await {
            assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{error}");
        }
    }

    /// How many rows all tables have.
    pub(super) async fn rows(&self) -> i64 {
        let client = self.cluster.connect(DATABASE).await.expect("the cluster answers");
        let app = App::builtin("flowstate").expect("it is built in");
        let counts: Vec<String> =
            app.schema.tables.iter().map(|table| format!("(SELECT count(*) FROM \"{}\")", table.name)).collect();
        client.query_one(&format!("SELECT {}", counts.join(" + ")), &[]).await.expect("lawful").get(0)
    }
}
