//! A stack that somebody else runs, as the plans of a run use it: checked, written to, and left as it was.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use fixtures::App;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nix::sys::signal::Signal;
use sim_network::ServerRole;
use sim_stack::existing_stack::database;
use sim_stack::existing_stack::token::Source;
use sim_stack::postgres::random_word;
use tokio_postgres::Client;

use super::cleanup::Cleanup;
use super::config::ExternalConfig;
use super::gateway::{self, Gateway};
use super::remote_server::{NOT_OURS, RemoteServer, refuse};
use super::row_list::{RowList, RowLists};
use crate::clock::ClockFile;
use crate::real::commit_log::{CommitLog, LogSource};
use crate::real::confirmed_position::ConfirmedPosition;
use crate::real::database_setup::write_seed_rows;
use crate::real::environment::{DatabaseAction, Environment, EnvironmentBase, PREPARATION_US, PlanData};
use crate::real::http_client::HttpClient;
use crate::real::pool::{IdleEnvironments, WorkerEnvironment};
use crate::real::server::{BoxResult, Server};
use crate::real::shared_database::{CommitLabels, SharedDatabase};
use crate::real::sql::{error_text, identifier};
use crate::real::timing::Timing;
use crate::real::token_keys::TokenKeys;
use crate::system::SystemUnderTest;
use crate::token::TokenIssuer;

/// Both servers go by the machine's clock, on a network of unknown speed.
const TIMING: Timing = Timing {
    leap: Duration::from_secs(30),
    moment: Duration::from_millis(100),
    plan_limit: Duration::from_secs(1200),
    replication_poll: Duration::from_millis(200),
    replication_poll_max: Duration::from_secs(1),
    lines_after_replication: Duration::from_millis(60),
    lines_after_lines: Duration::from_millis(15),
    service_uses_machine_clock: true,
    backend_uses_machine_clock: true,
};
/// How long the backend may take to delete a plan's rows.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(120);
/// The same, when the program has to end at once.
const CLEAN_UP_AT_ONCE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a request without an answer may take to have its effect.
const LATE_EFFECTS: Duration = Duration::from_secs(2);

/// The stacks of this process that may have rows to delete.
static LIVE: Mutex<Vec<Weak<ExternalStack>>> = Mutex::new(Vec::new());

/// The stack, for one worker: the plans of several would meet in it.
pub struct ExternalPool {
    app: Arc<App>,
    rules: Arc<backend::Rules>,
    config: Arc<ExternalConfig>,
    source: Source,
    idle: IdleEnvironments<ExternalEnvironment>,
}

/// What a worker has: the stack, which [`end_all`] sees, too.
pub(crate) struct ExternalEnvironment(Arc<ExternalStack>);

struct ExternalStack {
    base: EnvironmentBase,
    config: Arc<ExternalConfig>,
    gateway: Arc<Gateway>,
    /// Where devices reach the service and the backend.
    addresses: [SocketAddr; 2],
    lists: RowLists,
    cleanup: Cleanup,
    /// What the plan has or may have written.
    plan_rows: Mutex<Option<Arc<RowList>>>,
    /// Holds the plan's clock.
    folder: tempfile::TempDir,
    /// How far the service has replicated.
    position: ConfirmedPosition,
}

impl ExternalPool {
    /// The stack of a configuration.
    ///
    /// # Errors
    /// What is missing or wrong, by flag.
    pub fn new(system: &SystemUnderTest, config: ExternalConfig) -> Result<Self, String> {
        let target = &config.target;
        let needed = [
            ("--powersync-url", &target.service),
            ("--backend-url", &target.backend),
            ("--postgres-url", &target.postgres),
        ];
        if let Some((flag, _)) = needed.into_iter().find(|(_, url)| url.is_none()) {
            return Err(format!("{flag}: is needed, or --deployment"));
        }
        let source = target.source.clone();
        let source = source.ok_or("no token: name --token-secret, --token-key or --token-command")?;
        let (app, rules) = (system.app.clone(), system.rules.clone());
        Ok(Self { app, rules, config: Arc::new(config), source, idle: IdleEnvironments::default() })
    }

    /// Checks that the stack can be used, and deletes what an earlier run has left in it, by its lists.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn preflight(&self) -> Result<(), String> {
        self.give_back(self.take()?);
        Ok(())
    }

    /// Whether tokens can be made that the servers must refuse.
    pub fn signs(&self) -> bool {
        matches!(self.source, Source::Signer(_))
    }

    /// The one user of all devices: the one that was asked for, or whose token a command prints.
    pub fn only_user(&self) -> Option<String> {
        let target = &self.config.target;
        let token = || target.token.as_ref().filter(|_| !self.signs()).map(|token| token.subject());
        target.subject.clone().or_else(token)
    }

    pub(crate) fn take(&self) -> Result<WorkerEnvironment<ExternalEnvironment>, String> {
        self.idle.take(|| ExternalStack::start(self))
    }

    pub(crate) fn give_back(&self, worker: WorkerEnvironment<ExternalEnvironment>) {
        self.idle.give_back(worker);
    }
}

impl std::fmt::Debug for ExternalPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalPool").field("stack", &self.config.target.places()).finish_non_exhaustive()
    }
}

impl ExternalStack {
    async fn start(pool: &ExternalPool) -> Result<ExternalEnvironment, String> {
        let target = &pool.config.target;
        let url = |url: &Option<String>| url.clone().unwrap_or_default();
        let folder =
            tempfile::Builder::new().prefix("syncstorm-clock-").tempdir().map_err(|error| error.to_string())?;
        let clock =
            ClockFile::create(&folder.path().join("clock"), PREPARATION_US).map_err(|error| error.to_string())?;
        let gateway = Arc::new(Gateway {
            http: target.http.clone(),
            service: url(&target.service),
            backend: url(&target.backend),
            mapping: pool.config.mapping.clone(),
            schema: Arc::new(pool.app.schema.clone()),
            writable: Mutex::default(),
        });
        let addresses = [gateway.for_service().await?, gateway.for_backend().await?];
        let stack = Arc::new(Self {
            base: EnvironmentBase {
                app: pool.app.clone(),
                rules: pool.rules.clone(),
                clock: Arc::new(clock),
                keys: TokenKeys::of_operator(pool.source.clone(), &target.audience),
                timing: TIMING,
            },
            config: pool.config.clone(),
            gateway,
            addresses,
            lists: RowLists::new(pool.app.clone(), &pool.config.folder, target.places()),
            cleanup: Cleanup { app: pool.app.clone(), config: pool.config.clone(), source: pool.source.clone() },
            plan_rows: Mutex::default(),
            folder,
            position: ConfirmedPosition::default(),
        });
        stack.check_database().await?;
        for list in stack.lists.left_behind()? {
            let deleted = stack.cleanup.delete_rows(&list, CLEAN_UP_TIMEOUT).await;
            deleted.map_err(|left| format!("an earlier run has left rows behind: {left}"))?;
        }
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&stack));
        Ok(ExternalEnvironment(stack))
    }

    /// Checks that the commits of the database can be read.
    async fn check_database(&self) -> Result<(), String> {
        let client = self.config.connect().await?;
        let words = |error: tokio_postgres::Error| format!("--postgres-url: {}", error_text(&error));
        let level: String = client.query_one("SHOW wal_level", &[]).await.map_err(words)?.get(0);
        if level != "logical" {
            return Err(format!("--postgres-url: wal_level is {level}; commits are read where it is logical"));
        }
        let publication = &self.config.target.publication;
        let covered = database::published(&client, publication).await.map_err(words)?;
        for table in &self.base.app.schema.tables {
            if !covered.contains(&table.name) {
                return Err(format!(
                    "--publication {publication}: it does not cover the table {}, whose commits could not be read",
                    table.name
                ));
            }
        }
        Ok(())
    }

    /// Checks that no row of somebody else holds an exclusive invariant: it could end the plan's rows, or they could
    /// end it.
    async fn check_exclusive_rows(&self, client: &Client, plan: &PlanData) -> Result<(), String> {
        let app = &self.base.app;
        let is_written = |table: usize| plan.rows.iter().any(|(of, _)| *of == table);
        // Other backends do not have such rules.
        let is_ours = self.config.mapping.commit_labels() == CommitLabels::Annotations;
        for rule in app.policy.exclusives.iter().filter(|rule| is_ours && is_written(rule.table)) {
            let table = &app.schema.tables[rule.table];
            let (name, running) = (identifier(&table.name), identifier(&table.columns[rule.running].name));
            let sql = format!("SELECT id::text FROM {name} WHERE {running} = 1 LIMIT 1");
            if let Some(row) = client.query_opt(&sql, &[]).await.map_err(|error| error_text(&error))? {
                let id: String = row.get(0);
                return Err(format!(
                    "{} {id} runs, and one row may at a time ({}): plans would end it; run them when it has stopped",
                    table.name, rule.name
                ));
            }
        }
        Ok(())
    }

    async fn prepare(&self, plan: &PlanData) -> Result<(CommitLog, TokenIssuer), String> {
        let EnvironmentBase { app, rules, clock, keys, .. } = &self.base;
        clock.show(PREPARATION_US);
        let issuer = keys.reset(PREPARATION_US)?;
        let client = self.config.connect().await?;
        self.check_exclusive_rows(&client, plan).await?;
        let list = self.lists.create(plan)?;
        self.gateway.set_writable(&list.rows);
        *self.plan_rows.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(list));
        let shared = SharedDatabase::new(
            app.clone(),
            plan.rows.iter().cloned(),
            plan.clients.iter().cloned(),
            self.config.mapping.commit_labels(),
        );
        let slot = format!("syncstorm_{}", &random_word().map_err(|error| error.to_string())?[..16]);
        let publication = &self.config.target.publication;
        let source = LogSource { slot: &slot, publication, shared: Some(shared), has_copies: plan.has_copies };
        let log = CommitLog::open(app.clone(), rules.clone(), client, source).await;
        let log = log.map_err(|said| format!("commits cannot be read, which a role with REPLICATION may: {said}"))?;
        write_seed_rows(&log, app, &plan.seed_rows).await.map_err(|said| format!("the seed rows: {said}"))?;
        Ok((log, issuer))
    }

    /// Deletes what the plan has written.
    async fn clean_up(&self, log: &CommitLog) -> Result<(), String> {
        if log.has_unanswered() {
            tokio::time::sleep(LATE_EFFECTS).await;
        }
        // It stays in hand until the rows are gone: the program may have to end meanwhile.
        let list = self.plan_rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(list) = list else { return Ok(()) };
        let refused_uploads = self.gateway.set_writable(&[]);
        let deleted = self.cleanup.delete_rows(&list, CLEAN_UP_TIMEOUT).await;
        deleted.map_err(|left| format!("left behind: {left}"))?;
        *self.plan_rows.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match refused_uploads {
            0 => Ok(()),
            times => Err(format!("{times} uploads were not sent on: they named rows that are not the plan's")),
        }
    }
}

impl Environment for ExternalEnvironment {
    fn base(&self) -> &EnvironmentBase {
        &self.0.base
    }

    fn prepare<'a>(&'a self, plan: &'a PlanData) -> BoxResult<'a, (CommitLog, TokenIssuer)> {
        self.0.prepare(plan).boxed()
    }

    fn clean_up<'a>(&'a self, log: &'a CommitLog) -> BoxResult<'a, ()> {
        self.0.clean_up(log).boxed()
    }

    fn connect(&self) -> BoxResult<'_, Client> {
        self.0.config.connect().boxed()
    }

    fn write_sync_config(&self, _appendix: &str) -> Result<(), String> {
        Err(NOT_OURS.to_owned())
    }

    fn start_server<'a>(
        &'a self,
        role: ServerRole,
        _http: &'a HttpClient,
        _waits: bool,
    ) -> BoxResult<'a, Box<dyn Server>> {
        let [service, backend] = self.0.addresses;
        let (name, address) = match role {
            ServerRole::Service => ("the sync service", service),
            ServerRole::Backend => ("the backend", backend),
        };
        ready(Ok::<Box<dyn Server>, String>(Box::new(RemoteServer { name, address }))).boxed()
    }

    fn control_database(&self, _action: DatabaseAction) -> BoxResult<'_, ()> {
        refuse()
    }

    fn signal_database_process(&self, _pid: i32, _signal: Signal) -> BoxResult<'_, ()> {
        refuse()
    }

    fn replicated_lsn<'a>(&'a self, _http: &'a HttpClient, _service: SocketAddr) -> BoxFuture<'a, Option<u64>> {
        let slot = self.0.config.target.slot.as_deref().unwrap_or("powersync%");
        self.0.position.of_slot(self.0.config.connect(), slot).boxed()
    }
}

/// Deletes what plans of this process have written, as it ends at once. Gives what is left, a line a plan.
#[must_use]
pub fn end_all() -> Vec<String> {
    gateway::close_all();
    let live: Vec<Arc<ExternalStack>> =
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
    let mut left = Vec::new();
    for stack in live {
        // The process ends without dropping the stack.
        let _ = std::fs::remove_dir_all(stack.folder.path());
        let list = stack.plan_rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(list) = list else { continue };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let deleted = match runtime {
            Ok(runtime) => runtime.block_on(async {
                // Uploads that are under way have their effect first.
                tokio::time::sleep(LATE_EFFECTS).await;
                stack.cleanup.delete_rows(&list, CLEAN_UP_AT_ONCE_TIMEOUT).await
            }),
            Err(error) => Err(format!("{error}; listed in {}", list.path.display())),
        };
        left.extend(deleted.err().map(|said| format!("left behind: {said}")));
    }
    left
}
