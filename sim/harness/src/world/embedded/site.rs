//! Where the plans of one worker run, one after the other: a private PostgreSQL, a folder, and a real runtime beside
//! the plan's.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backend::{Key, PolicyKind};
use fixtures::App;
use sim_core::plan::EPOCH_US;

use super::feed::{self, Feed};
use super::keys::Keys;
use super::link::{self, Http};
use super::process::Process;
use super::writes::{identifier, insert};
use crate::network::Target;
use crate::postgres::{Postgres, Settings};
use crate::trial::Setup;
use crate::world::child::{CLOCK_FILE, MACHINE_CLOCK, PARENT};
use crate::world::clock::ClockFile;
use crate::world::told::{AUDIENCE, SeedRow};

/// The application's database.
const DATABASE: &str = "app";
/// How long ago servers believe it is while a plan is prepared.
const BEFORE_US: i64 = EPOCH_US - 60_000_000;

/// Sites that nobody uses at the moment; made when there is none.
pub struct Pool {
    program: PathBuf,
    app: Arc<App>,
    app_source: PathBuf,
    policy: PolicyKind,
    rules: Arc<backend::Rules>,
    idle: Mutex<Vec<Site>>,
}

/// One worker's.
pub(crate) struct Site {
    pub(super) ground: Arc<Ground>,
    /// Taken when the site goes.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Site {
    fn drop(&mut self) {
        // This may happen on the plan's runtime, which must not wait; the ground ends its own processes.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a site has for all its plans.
pub(super) struct Ground {
    /// Below the cluster's, so that it goes with it, also when a later run sweeps.
    folder: PathBuf,
    pub(super) postgres: tokio::sync::Mutex<Postgres>,
    url: String,
    program: PathBuf,
    pub(super) app: Arc<App>,
    app_source: PathBuf,
    rules: Arc<backend::Rules>,
    policy: PolicyKind,
    pub(super) clock: Arc<ClockFile>,
    pub(super) keys: Keys,
}

impl Pool {
    /// Sites for plans of an application: a folder, or the name of a built-in one. `program` is this program, which is
    /// also the two servers.
    #[must_use]
    pub fn new(setup: &Setup, app_source: &str, program: PathBuf) -> Self {
        let (app, policy, rules) = (setup.app.clone(), setup.policy, setup.rules.clone());
        // The servers work in a folder of their own.
        let is_folder = App::builtin(app_source).is_none();
        let absolute = is_folder.then(|| std::fs::canonicalize(app_source).ok()).flatten();
        let app_source = absolute.unwrap_or_else(|| PathBuf::from(app_source));
        Self { program, app, app_source, policy, rules, idle: Mutex::default() }
    }

    /// Sees to it that there is one, so that a machine without PostgreSQL is told so at once.
    ///
    /// # Errors
    /// Why there is none.
    pub fn warm(&self) -> Result<(), String> {
        let site = self.take()?;
        self.give_back(site);
        Ok(())
    }

    pub(crate) fn take(&self) -> Result<Site, String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(site) = idle {
            return Ok(site);
        }
        // A thread of its own: who asks may be within the plan's runtime, which cannot wait for another.
        std::thread::scope(|scope| scope.spawn(|| Site::start(self)).join())
            .unwrap_or_else(|_| Err("starting the private servers panicked".to_owned()))
    }

    pub(crate) fn give_back(&self, site: Site) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(site);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("program", &self.program).finish_non_exhaustive()
    }
}

impl Site {
    fn start(pool: &Pool) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let ground = runtime.block_on(Ground::start(pool))?;
        Ok(Self { ground: Arc::new(ground), runtime: Some(runtime) })
    }

    pub(super) fn real(&self) -> tokio::runtime::Handle {
        self.runtime.as_ref().expect("it goes with the site").handle().clone()
    }
}

impl Ground {
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
            "{};{identities}DROP PUBLICATION IF EXISTS powersync;CREATE PUBLICATION powersync FOR TABLE {tables};\
             CREATE PUBLICATION {} FOR TABLE {tables}",
            pool.app.schema_sql,
            feed::PUBLICATION,
            tables = tables.join(", ")
        );
        client.batch_execute(&sql).await.map_err(|error| feed::said(&error))?;
        let clock = ClockFile::create(&folder.join("clock"), BEFORE_US).map_err(|error| words(&error))?;
        Ok(Self {
            url: postgres.url(DATABASE),
            postgres: tokio::sync::Mutex::new(postgres),
            program: pool.program.clone(),
            app: pool.app.clone(),
            app_source: pool.app_source.clone(),
            rules: pool.rules.clone(),
            policy: pool.policy,
            clock: Arc::new(clock),
            keys: Keys::below(&folder),
            folder,
        })
    }

    /// A connection to the application's database.
    pub(super) async fn connect(&self) -> Result<tokio_postgres::Client, String> {
        self.postgres.lock().await.connect(DATABASE).await.map_err(|error| error.to_string())
    }

    /// Writes the service's sync configuration, as it is or with something after it.
    pub(super) fn configure(&self, further: &str) -> Result<(), String> {
        let path = self.folder.join("sync-config.yaml");
        let text = format!("{}{further}", self.app.sync_config);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Forgets the plan before, and writes the seed rows. Gives the commits from then on, and the key of tokens.
    pub(super) async fn reset(&self, seed: &[SeedRow]) -> Result<(Feed, Key), String> {
        self.clock.show(BEFORE_US);
        self.configure("")?;
        let key = self.keys.begin(BEFORE_US)?;
        let client = self.connect().await?;
        let tables: Vec<String> = self.app.schema.tables.iter().map(|table| identifier(&table.name)).collect();
        client
            .batch_execute(&format!(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL;
                 SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid();
                 SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
                 DROP SCHEMA IF EXISTS sync_backend CASCADE;
                 TRUNCATE {}",
                tables.join(", ")
            ))
            .await
            .map_err(|error| feed::said(&error))?;
        let store = self.folder.join("service.sqlite");
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{ending}", store.display()));
        }
        for name in ["backend.log", "service.log"] {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        let feed = Feed::start(self.app.clone(), self.rules.clone(), client).await?;
        let mut sql = String::from("BEGIN;");
        for (table, id, values) in seed {
            sql.push_str(&insert(&self.app.schema.tables[*table], id, values, EPOCH_US));
            sql.push(';');
        }
        sql.push_str("COMMIT");
        feed.sql(&sql).await?;
        feed.drain(EPOCH_US).await?;
        Ok((feed, key))
    }

    /// Starts a server by the plan's clock; `waits` until it is ready, or only until it listens.
    pub(super) async fn server(&self, target: Target, http: &Http, waits: bool) -> Result<Process, String> {
        let process = self.start_server(target, self.folder.join("clock").as_os_str(), &[]).await?;
        if waits {
            link::ready(http, process.address()).await.map_err(|problem| format!("{}: {problem}", process.name()))?;
        }
        Ok(process)
    }

    /// Starts a server by the machine's clock; and how long it took until it was ready.
    async fn standing_server(
        &self,
        target: Target,
        http: &Http,
        further: &[&str],
    ) -> Result<(Process, Duration), String> {
        let began = Instant::now();
        let server = self.start_server(target, OsStr::new(MACHINE_CLOCK), further).await?;
        link::ready(http, server.address()).await.map_err(|problem| format!("{}: {problem}", server.name()))?;
        Ok((server, began.elapsed()))
    }

    async fn start_server(&self, target: Target, clock: &OsStr, further: &[&str]) -> Result<Process, String> {
        let folder = &self.folder;
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("RUST_LOG", "info,pgwire_replication=off");
        command.env(CLOCK_FILE, clock).env(PARENT, std::process::id().to_string()).current_dir(folder);
        let name = match target {
            Target::Backend => {
                command.arg("backend").env("DATABASE_URL", &self.url).arg("--state-dir").arg(folder.join("state"));
                command.arg("--app").arg(&self.app_source).args(["--policy", &self.policy.to_string()]);
                command.args(["--listen", "127.0.0.1:0", "--algorithm", "HS256", "--audience", AUDIENCE]);
                command.arg("--annotate-commits");
                "backend"
            }
            Target::Service => {
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
        let runtime = site.runtime.as_ref().expect("it goes with the site");
        let ground = site.ground.clone();
        // The servers end with the thread that started them, so that must be one that stays.
        let started = runtime.spawn(async move {
            let (feed, key) = ground.reset(&[]).await?;
            // Nobody reads it here, and it would keep the log for ever.
            feed.sql(&format!("SELECT pg_drop_replication_slot('{}')", feed::SLOT)).await?;
            let http = link::client();
            let (backend, service) = tokio::join!(
                ground.standing_server(Target::Backend, &http, &["--development"]),
                ground.standing_server(Target::Service, &http, &[])
            );
            Ok::<_, String>(([backend?, service?], key))
        });
        let (servers, key) = runtime.block_on(started).map_err(|error| error.to_string())??;
        let [(backend, backend_after), (service, service_after)] = servers;
        let auth = backend::Auth::hs256(vec![key], vec![AUDIENCE.to_owned()]);
        let user = "user-1".to_owned();
        let now_us = backend::server::machine_clock_us();
        let token = auth.mint(&user, now_us, TOKEN_LIFETIME_S).ok_or("no key signs tokens")?;
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
