//! Where the plans of one worker run, one after the other: a private PostgreSQL, and a folder for the servers.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::PolicyKind;
use fixtures::App;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sim_network::ServerRole;
use sim_stack::postgres::{Postgres, Settings};
use tokio_postgres::Client;

use super::process::Process;
use crate::child::{CLOCK_FILE, MACHINE_CLOCK, PARENT};
use crate::clock::ClockFile;
use crate::real::commit_log::CommitLog;
use crate::real::database_setup::{create_publication, reset_database};
use crate::real::environment::{DatabaseAction, Environment, EnvironmentBase, PREPARATION_US, PlanData};
use crate::real::http_client::{HttpClient, replicated_lsn, wait_until_ready};
use crate::real::pool::{IdleEnvironments, WorkerEnvironment};
use crate::real::server::{BoxResult, Server};
use crate::real::sql::{error_text, identifier};
use crate::real::timing::Timing;
use crate::real::token_keys::TokenKeys;
use crate::system::SystemUnderTest;
use crate::token::{AUDIENCE, TokenIssuer};

/// The application's database.
const DATABASE: &str = "app";
/// Servers see the plan's clock, so that short moments are enough.
const TIMING: Timing = Timing {
    leap: Duration::from_secs(5),
    moment: Duration::from_millis(4),
    plan_limit: Duration::from_secs(1800),
    replication_poll: Duration::from_millis(1),
    replication_poll_max: Duration::from_millis(1),
    // The service lets diffs coalesce for 10 ms.
    lines_after_replication: Duration::from_millis(13),
    lines_after_lines: Duration::from_millis(3),
    service_uses_machine_clock: false,
    backend_uses_machine_clock: false,
};

/// The environments of all workers; made when none is idle.
pub struct EmbeddedPool {
    program: PathBuf,
    app: Arc<App>,
    app_source: PathBuf,
    policy: PolicyKind,
    rules: Arc<backend::Rules>,
    idle: IdleEnvironments<EmbeddedEnvironment>,
}

/// What one worker has for all its plans.
pub(crate) struct EmbeddedEnvironment {
    base: EnvironmentBase,
    /// Below the cluster's folder, and removed with it, also when a later run removes what this one left behind.
    folder: PathBuf,
    postgres: tokio::sync::Mutex<Postgres>,
    pub(super) url: String,
    program: PathBuf,
    app_source: PathBuf,
    policy: PolicyKind,
}

impl EmbeddedPool {
    /// Environments for plans of an application: a folder, or the name of a built-in one. `program` is this program,
    /// which is also the two servers.
    #[must_use]
    pub fn new(system: &SystemUnderTest, app_source: &str, program: PathBuf) -> Self {
        let (app, policy, rules) = (system.app.clone(), system.policy(), system.rules.clone());
        // The servers work in a folder of their own.
        let is_folder = App::builtin(app_source).is_none();
        let absolute = is_folder.then(|| std::fs::canonicalize(app_source).ok()).flatten();
        let app_source = absolute.unwrap_or_else(|| PathBuf::from(app_source));
        Self { program, app, app_source, policy, rules, idle: IdleEnvironments::default() }
    }

    /// Makes one, so that a machine without PostgreSQL is noticed at once.
    ///
    /// # Errors
    /// Why there is none.
    pub fn preflight(&self) -> Result<(), String> {
        self.give_back(self.take()?);
        Ok(())
    }

    pub(crate) fn take(&self) -> Result<WorkerEnvironment<EmbeddedEnvironment>, String> {
        self.idle.take(|| EmbeddedEnvironment::start(self))
    }

    pub(crate) fn give_back(&self, worker: WorkerEnvironment<EmbeddedEnvironment>) {
        self.idle.give_back(worker);
    }
}

impl std::fmt::Debug for EmbeddedPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedPool").field("program", &self.program).finish_non_exhaustive()
    }
}

impl EmbeddedEnvironment {
    async fn start(pool: &EmbeddedPool) -> Result<Self, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let postgres = Postgres::start(Settings::default()).await.map_err(|error| words(&error))?;
        let folder = postgres.folder().join("servers");
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        postgres.create_database(DATABASE).await.map_err(|error| words(&error))?;
        let client = postgres.connect(DATABASE).await.map_err(|error| words(&error))?;
        let tables: Vec<String> = pool.app.schema.tables.iter().map(|table| identifier(&table.name)).collect();
        let identities: String =
            tables.iter().map(|table| format!("ALTER TABLE {table} REPLICA IDENTITY FULL;")).collect();
        let sql = format!(
            "{};{identities}DROP PUBLICATION IF EXISTS powersync;CREATE PUBLICATION powersync FOR TABLE {}",
            pool.app.schema_sql,
            tables.join(", ")
        );
        client.batch_execute(&sql).await.map_err(|error| error_text(&error))?;
        create_publication(&client, &pool.app).await?;
        let clock = ClockFile::create(&folder.join("clock"), PREPARATION_US).map_err(|error| words(&error))?;
        Ok(Self {
            url: postgres.url(DATABASE),
            postgres: tokio::sync::Mutex::new(postgres),
            program: pool.program.clone(),
            app_source: pool.app_source.clone(),
            policy: pool.policy,
            base: EnvironmentBase {
                app: pool.app.clone(),
                rules: pool.rules.clone(),
                clock: Arc::new(clock),
                keys: TokenKeys::shared_secrets(folder.join("state"), folder.join("jwks.json")),
                timing: TIMING,
            },
            folder,
        })
    }

    /// Empties the database and the folder, and writes the seed rows.
    pub(super) async fn reset(&self, plan: &PlanData) -> Result<(CommitLog, TokenIssuer), String> {
        let forget = async {
            let store = self.folder.join("service.sqlite");
            for ending in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{ending}", store.display()));
            }
            for name in ["backend.log", "service.log"] {
                let _ = std::fs::remove_file(self.folder.join(name));
            }
            Ok(())
        };
        reset_database(self, plan, forget).await
    }

    /// Starts a server by the machine's clock; gives how long it took until it was ready.
    pub(super) async fn start_by_machine_clock(
        &self,
        role: ServerRole,
        http: &HttpClient,
        args: &[&str],
    ) -> Result<(Process, Duration), String> {
        let began = Instant::now();
        let server = self.start_process(role, OsStr::new(MACHINE_CLOCK), args).await?;
        wait_until_ready(http, server.address()).await.map_err(|problem| format!("{}: {problem}", server.name()))?;
        Ok((server, began.elapsed()))
    }

    async fn start_process(&self, role: ServerRole, clock: &OsStr, args: &[&str]) -> Result<Process, String> {
        let folder = &self.folder;
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("RUST_LOG", "info,pgwire_replication=off");
        command.env(CLOCK_FILE, clock).env(PARENT, std::process::id().to_string()).current_dir(folder);
        let name = match role {
            ServerRole::Backend => {
                command.arg("backend").env("DATABASE_URL", &self.url).arg("--state-dir").arg(folder.join("state"));
                command.arg("--app").arg(&self.app_source).args(["--policy", &self.policy.to_string()]);
                command.args(["--listen", "127.0.0.1:0", "--algorithm", "HS256", "--audience", AUDIENCE]);
                command.arg("--annotate-commits");
                "backend"
            }
            ServerRole::Service => {
                // Its PostgreSQL client cannot check a certificate against an IP address.
                let url = self.url.replace("verify-full", "verify-ca");
                command.arg("service").env("SYNCSTORM_SERVICE_DATABASE_URL", url);
                command.arg("--sync-config").arg(folder.join("sync-config.yaml"));
                command.arg("--store").arg(folder.join("service.sqlite")).args(["--store-sync", "process"]);
                command.args(["--listen", "127.0.0.1:0", "--audience", AUDIENCE, "--max-streams", "1000"]);
                command.arg("--jwks-file").arg(folder.join("jwks.json")).args(["--compact-every-seconds", "0"]);
                "service"
            }
        };
        command.args(args);
        Process::start(name, command, folder).await
    }
}

impl Environment for EmbeddedEnvironment {
    fn base(&self) -> &EnvironmentBase {
        &self.base
    }

    fn prepare<'a>(&'a self, plan: &'a PlanData) -> BoxResult<'a, (CommitLog, TokenIssuer)> {
        self.reset(plan).boxed()
    }

    fn connect(&self) -> BoxResult<'_, Client> {
        async { self.postgres.lock().await.connect(DATABASE).await.map_err(|error| error.to_string()) }.boxed()
    }

    fn write_sync_config(&self, appendix: &str) -> Result<(), String> {
        let path = self.folder.join("sync-config.yaml");
        let text = format!("{}{appendix}", self.base.app.sync_config);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn start_server<'a>(
        &'a self,
        role: ServerRole,
        http: &'a HttpClient,
        waits: bool,
    ) -> BoxResult<'a, Box<dyn Server>> {
        async move {
            let process = self.start_process(role, self.folder.join("clock").as_os_str(), &[]).await?;
            if waits {
                let ready = wait_until_ready(http, process.address()).await;
                ready.map_err(|problem| format!("{}: {problem}", process.name()))?;
            }
            Ok::<Box<dyn Server>, String>(Box::new(process))
        }
        .boxed()
    }

    fn control_database(&self, action: DatabaseAction) -> BoxResult<'_, ()> {
        async move {
            let mut postgres = self.postgres.lock().await;
            let done = match action {
                DatabaseAction::Kill => postgres.kill_hard().await,
                DatabaseAction::Stop | DatabaseAction::Disconnect | DatabaseAction::Reconnect => {
                    return Err("there are no containers in this world".to_owned());
                }
                DatabaseAction::Start => postgres.restart().await,
                DatabaseAction::Pause => postgres.pause(),
                DatabaseAction::Resume => postgres.resume(),
            };
            done.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn signal_database_process(&self, pid: i32, signal: Signal) -> BoxResult<'_, ()> {
        let sent = kill(Pid::from_raw(pid), signal).map_err(|error| format!("replication's process: {error}"));
        ready(sent).boxed()
    }

    fn replicated_lsn<'a>(&'a self, http: &'a HttpClient, service: SocketAddr) -> BoxFuture<'a, Option<u64>> {
        replicated_lsn(http, service).boxed()
    }
}
