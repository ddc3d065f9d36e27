//! Where the plans of one worker run, one after the other: a private PostgreSQL, a folder, and a real runtime beside
//! the plan's.

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
use tokio_postgres::Client;

use super::process::Process;
use sim_network::ServerRole;
use sim_stack::postgres::{Postgres, Settings};
use crate::system::SystemUnderTest;
use crate::child::{CLOCK_FILE, MACHINE_CLOCK, PARENT};
use crate::clock::ClockFile;
use crate::real;
use crate::real::feed::{self, Feed};
use crate::real::ground::{BEFORE_US, Blow, Cast, Common, Ground, Later, Pace, Server, publish, reset};
use crate::real::keys::{Issuer, Keys};
use crate::real::link::{self, Http};
use crate::real::site::Idle;
use crate::real::writes::identifier;
use crate::told::{self, AUDIENCE, SeedRow};

/// The application's database.
const DATABASE: &str = "app";
/// Servers see the plan's clock, so that they may be left alone for long, and need no more than their turn.
const PACE: Pace = Pace {
    leap: Duration::from_secs(5),
    moment: Duration::from_millis(4),
    patience: Duration::from_secs(1800),
    // The service lets diffs coalesce for 10 ms.
    coalescing: Duration::from_millis(13),
    lines: Duration::from_millis(3),
    is_service_apart: false,
    is_backend_apart: false,
};

/// Sites that nobody uses at the moment; made when there is none.
pub struct Pool {
    program: PathBuf,
    app: Arc<App>,
    app_source: PathBuf,
    policy: PolicyKind,
    rules: Arc<backend::Rules>,
    idle: Idle<Private>,
}

/// One worker's.
pub type Site = real::site::Site<Private>;

/// What a site has for all its plans.
pub struct Private {
    common: Common,
    /// Below the cluster's, so that it goes with it, also when a later run sweeps.
    folder: PathBuf,
    postgres: tokio::sync::Mutex<Postgres>,
    url: String,
    program: PathBuf,
    app_source: PathBuf,
    policy: PolicyKind,
}

impl Pool {
    /// Sites for plans of an application: a folder, or the name of a built-in one. `program` is this program, which is
    /// also the two servers.
    #[must_use]
    pub fn new(system: &SystemUnderTest, app_source: &str, program: PathBuf) -> Self {
        let (app, policy, rules) = (system.app.clone(), system.policy(), system.rules.clone());
        // The servers work in a folder of their own.
        let is_folder = App::builtin(app_source).is_none();
        let absolute = is_folder.then(|| std::fs::canonicalize(app_source).ok()).flatten();
        let app_source = absolute.unwrap_or_else(|| PathBuf::from(app_source));
        Self { program, app, app_source, policy, rules, idle: Idle::default() }
    }

    /// Sees to it that there is one, so that a machine without PostgreSQL is told so at once.
    ///
    /// # Errors
    /// Why there is none.
    pub fn preflight(&self) -> Result<(), String> {
        let site = self.take()?;
        self.give_back(site);
        Ok(())
    }

    pub(crate) fn take(&self) -> Result<Site, String> {
        self.idle.take(|| Private::start(self))
    }

    pub(crate) fn give_back(&self, site: Site) {
        self.idle.give_back(site);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("program", &self.program).finish_non_exhaustive()
    }
}

impl Private {
    async fn start(pool: &Pool) -> Result<Self, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let postgres = Postgres::start(Settings::default()).await.map_err(|error| words(&error))?;
        let folder = postgres.folder().join("site");
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
        client.batch_execute(&sql).await.map_err(|error| feed::said(&error))?;
        publish(&client, &pool.app).await?;
        let clock = ClockFile::create(&folder.join("clock"), BEFORE_US).map_err(|error| words(&error))?;
        Ok(Self {
            url: postgres.url(DATABASE),
            postgres: tokio::sync::Mutex::new(postgres),
            program: pool.program.clone(),
            app_source: pool.app_source.clone(),
            policy: pool.policy,
            common: Common {
                app: pool.app.clone(),
                rules: pool.rules.clone(),
                clock: Arc::new(clock),
                keys: Keys::shared(folder.join("state"), folder.join("jwks.json")),
                pace: PACE,
            },
            folder,
        })
    }

    async fn reset(&self, seed: &[SeedRow]) -> Result<(Feed, Issuer), String> {
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
        reset(self, seed, forget).await
    }

    /// Starts a server by the machine's clock, and says how long it took until it was ready.
    async fn standing_server(
        &self,
        target: ServerRole,
        http: &Http,
        further: &[&str],
    ) -> Result<(Process, Duration), String> {
        let began = Instant::now();
        let server = self.start_server(target, OsStr::new(MACHINE_CLOCK), further).await?;
        link::ready(http, server.address()).await.map_err(|problem| format!("{}: {problem}", server.name()))?;
        Ok((server, began.elapsed()))
    }

    async fn start_server(&self, target: ServerRole, clock: &OsStr, further: &[&str]) -> Result<Process, String> {
        let folder = &self.folder;
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("RUST_LOG", "info,pgwire_replication=off");
        command.env(CLOCK_FILE, clock).env(PARENT, std::process::id().to_string()).current_dir(folder);
        let name = match target {
            ServerRole::Backend => {
                command.arg("backend").env("DATABASE_URL", &self.url).arg("--state-dir").arg(folder.join("state"));
                command.arg("--app").arg(&self.app_source).args(["--policy", &self.policy.to_string()]);
                command.args(["--listen", "127.0.0.1:0", "--algorithm", "HS256", "--audience", AUDIENCE]);
                command.arg("--annotate-commits");
                "backend"
            }
            ServerRole::Service => {
                // Its client does not check the name of an address.
                let url = self.url.replace("verify-full", "verify-ca");
                command.arg("service").env("SYNCSTORM_SERVICE_DATABASE_URL", url);
                command.arg("--sync-config").arg(folder.join("sync-config.yaml"));
                command.arg("--store").arg(folder.join("service.sqlite")).args(["--store-sync", "process"]);
                command.args(["--listen", "127.0.0.1:0", "--audience", AUDIENCE, "--max-streams", "1000"]);
                command.arg("--jwks-file").arg(folder.join("jwks.json")).args(["--compact-every-seconds", "0"]);
                "service"
            }
        };
        command.args(further);
        Process::start(name, command, folder).await
    }
}

impl Ground for Private {
    fn common(&self) -> &Common {
        &self.common
    }

    fn prepare<'a>(&'a self, cast: &'a Cast) -> Later<'a, (Feed, Issuer)> {
        self.reset(&cast.seed).boxed()
    }

    fn connect(&self) -> Later<'_, Client> {
        async { self.postgres.lock().await.connect(DATABASE).await.map_err(|error| error.to_string()) }.boxed()
    }

    fn configure(&self, further: &str) -> Result<(), String> {
        let path = self.folder.join("sync-config.yaml");
        let text = format!("{}{further}", self.common.app.sync_config);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }


    fn server<'a>(&'a self, target: ServerRole, http: &'a Http, waits: bool) -> Later<'a, Box<dyn Server>> {
        async move {
            let process = self.start_server(target, self.folder.join("clock").as_os_str(), &[]).await?;
            if waits {
                let ready = link::ready(http, process.address()).await;
                ready.map_err(|problem| format!("{}: {problem}", process.name()))?;
            }
            Ok::<Box<dyn Server>, String>(Box::new(process))
        }
        .boxed()
    }

    fn strike(&self, blow: Blow) -> Later<'_, ()> {
        async move {
            let mut postgres = self.postgres.lock().await;
            let struck = match blow {
                Blow::Kill => postgres.kill_hard().await,
                Blow::Stop | Blow::Disconnect | Blow::Reconnect => {
                    return Err("there are no containers in this world".to_owned());
                }
                Blow::Restart => postgres.restart().await,
                Blow::Pause => postgres.pause(),
                Blow::Resume => postgres.resume(),
            };
            struck.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn signal(&self, pid: i32, signal: Signal) -> Later<'_, ()> {
        let sent = kill(Pid::from_raw(pid), signal).map_err(|error| format!("replication's process: {error}"));
        ready(sent).boxed()
    }

    fn replicated<'a>(&'a self, http: &'a Http, service: SocketAddr) -> BoxFuture<'a, Option<u64>> {
        link::replicated(http, service).boxed()
    }
}

/// A stack that runs until its handle goes, by the machine's clock.
pub struct Standing {
    /// The upload backend.
    pub backend_url: String,
    /// The sync service.
    pub service_url: String,
    /// The database, with its password.
    pub database_url: String,
    /// Whom the token is for.
    pub user: String,
    /// A token that both servers take.
    pub token: String,
    /// How long the backend and the service took, from the start of their processes until they were ready.
    pub ready_after: [Duration; 2],
    /// Their process ids.
    pub process_ids: [i32; 2],
    /// Ended in this order.
    servers: [Process; 2],
    site: Site,
}

/// How long its token is good for.
const TOKEN_LIFETIME_S: i64 = 86_400;

impl Standing {
    /// Brings a stack up, with an empty database.
    ///
    /// # Errors
    /// Why it did not come up.
    pub fn up(pool: &Pool) -> Result<Self, String> {
        let site = pool.take()?;
        let runtime = site.runtime();
        let ground = site.ground.clone();
        // The servers end with the thread that started them, so that must be one that stays.
        let started = runtime.spawn(async move {
            let (feed, key) = ground.reset(&[]).await?;
            let Issuer::Signer(key) = key else { return Err("no key signs tokens".to_owned()) };
            // Nobody reads it here, and it would keep the log for ever.
            feed.sql(&format!("SELECT pg_drop_replication_slot('{}')", feed::SLOT)).await?;
            let http = link::client();
            let (backend, service) = tokio::join!(
                ground.standing_server(ServerRole::Backend, &http, &["--development"]),
                ground.standing_server(ServerRole::Service, &http, &[])
            );
            Ok::<_, String>(([backend?, service?], key))
        });
        let (servers, key) = runtime.block_on(started).map_err(|error| error.to_string())??;
        let [(backend, backend_after), (service, service_after)] = servers;
        let user = "user-1".to_owned();
        let now_s = backend::server::machine_clock_us().div_euclid(1_000_000);
        let token = told::signed(&key, &user, AUDIENCE, now_s, now_s + TOKEN_LIFETIME_S);
        Ok(Self {
            backend_url: format!("http://{}", backend.address()),
            service_url: format!("http://{}", service.address()),
            database_url: site.ground.url.clone(),
            user,
            token,
            ready_after: [backend_after, service_after],
            process_ids: [backend.pid(), service.pid()],
            servers: [backend, service],
            site,
        })
    }

    /// Ends the servers; the database is for whoever asks the pool next.
    pub fn down(self, pool: &Pool) {
        drop(self.servers);
        pool.give_back(self.site);
    }
}
