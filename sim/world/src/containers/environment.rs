//! A deployment in containers, as a worker keeps it from plan to plan: the stores stay, the two servers are made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backend::PolicyKind;
use fixtures::{App, deployment};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use sim_core::plan::{ContainerFault, StackPart};
use sim_network::ServerRole;
use sim_stack::deploy::{self, Storage};
use tokio_postgres::Client;

use super::compose::Compose;
use super::database::{DatabaseContainer, POSTGRES};
use super::docker::{COMPACTS, Engine, State};
use super::group::ContainerGroup;
use super::server::{self, Container};
use super::store_faults::StoreFaults;
use super::variables::{read, variables};
use crate::clock::ClockFile;
use crate::real::commit_log::CommitLog;
use crate::real::confirmed_position::ConfirmedPosition;
use crate::real::database_setup::{create_publication, reset_database};
use crate::real::environment::{DatabaseAction, Environment, EnvironmentBase, PREPARATION_US, PlanData};
use crate::real::http_client::{HttpClient, wait_until_ready};
use crate::real::pool::{IdleEnvironments, WorkerEnvironment};
use crate::real::server::{BoxResult, Server};
use crate::real::sql::error_text;
use crate::real::timing::Timing;
use crate::real::token_keys::TokenKeys;
use crate::system::SystemUnderTest;
use crate::token::{AUDIENCE, TokenIssuer, sign};

/// The services of the compose file that are made anew for each plan.
const BACKEND: &str = "sync-backend";
const SERVICE: &str = "powersync";
/// Where the plan's clock is in the backend's container.
const CLOCK_TARGET: &str = "/clock";
/// The service goes by the machine's clock, and says less of what it does.
const TIMING: Timing = Timing {
    leap: Duration::from_secs(30),
    moment: Duration::from_millis(100),
    plan_limit: Duration::from_secs(1200),
    replication_poll: Duration::from_millis(50),
    replication_poll_max: Duration::from_millis(500),
    lines_after_replication: Duration::from_millis(40),
    lines_after_lines: Duration::from_millis(10),
    service_uses_machine_clock: true,
    backend_uses_machine_clock: false,
};

/// Which images, and which bucket storage.
#[derive(Clone, Debug)]
pub struct ContainersConfig {
    /// Where the sync service keeps its buckets.
    pub storage: Storage,
    /// Whether images are the locally built stand-ins.
    pub stand_ins: bool,
    /// Images in the place of those of `images.toml`, by part.
    pub images: BTreeMap<String, String>,
}

/// The deployments of all workers; made when none is idle.
pub struct ContainersPool {
    app: Arc<App>,
    policy: PolicyKind,
    rules: Arc<backend::Rules>,
    config: ContainersConfig,
    idle: IdleEnvironments<ContainersEnvironment>,
}

/// The deployment of one worker.
pub(crate) struct ContainersEnvironment {
    base: EnvironmentBase,
    group: Arc<ContainerGroup>,
    /// The deployment's folder.
    deployment: PathBuf,
    /// Holds it, and the clock beside it.
    folder: tempfile::TempDir,
    policy: PolicyKind,
    /// Which of the two servers have a container in this plan.
    made: Mutex<BTreeSet<&'static str>>,
    /// The number of the plan.
    plan: AtomicU64,
    /// Whether the service's image takes SIGUSR1 for "compact".
    compacts: bool,
    database: DatabaseContainer,
    store_faults: StoreFaults,
    /// How far the service has replicated.
    position: ConfirmedPosition,
}

impl ContainersPool {
    /// Deployments for plans of an application.
    #[must_use]
    pub fn new(system: &SystemUnderTest, config: ContainersConfig) -> Self {
        let (app, policy, rules) = (system.app.clone(), system.policy(), system.rules.clone());
        Self { app, policy, rules, config, idle: IdleEnvironments::default() }
    }

    /// Whether its deployments have this container.
    #[must_use]
    pub fn has(&self, part: StackPart) -> bool {
        part != StackPart::Mongodb || (self.config.storage == Storage::Mongodb && !self.config.stand_ins)
    }

    /// Makes one, so that a machine without Docker or images is noticed at once.
    ///
    /// # Errors
    /// Why there is none.
    pub fn preflight(&self) -> Result<(), String> {
        self.give_back(self.take()?);
        Ok(())
    }

    pub(crate) fn take(&self) -> Result<WorkerEnvironment<ContainersEnvironment>, String> {
        self.idle.take(|| ContainersEnvironment::start(self))
    }

    pub(crate) fn give_back(&self, worker: WorkerEnvironment<ContainersEnvironment>) {
        self.idle.give_back(worker);
    }
}

impl std::fmt::Debug for ContainersPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainersPool").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ContainersEnvironment {
    async fn start(pool: &ContainersPool) -> Result<Self, String> {
        let engine = Engine::connect().await?;
        engine.sweep().await;
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let folder = tempfile::Builder::new().prefix("syncstorm-stack-").tempdir().map_err(|error| words(&error))?;
        let deployment = folder.path().join("deployment");
        let choice = deploy::Choice {
            storage: pool.config.storage,
            audience: AUDIENCE.to_owned(),
            origin: "http://localhost:5173".to_owned(),
            stand_ins: pool.config.stand_ins,
            images: pool.config.images.clone(),
        };
        deploy::init(&deployment, &pool.app, &choice)?;
        let variables = variables(&deployment)?;
        let password = variables.get("POSTGRES_PASSWORD").cloned().unwrap_or_default();
        let mut compose = Compose::read(deployment::COMPOSE, &variables)?;
        let profiles = variables.get("COMPOSE_PROFILES").map(String::as_str).unwrap_or_default();
        let is_on = |profile: &String| profiles.split(',').any(|on| on == profile);
        compose.services.retain(|_, service| service.profiles.is_empty() || service.profiles.iter().any(is_on));
        for (part, service) in &compose.services {
            engine.have_image(part, &service.image).await?;
        }
        let authority = read(&deployment.join("postgres/ca.crt"))?;
        let clock_folder = folder.path().join("clock");
        std::fs::create_dir(&clock_folder).map_err(|error| format!("{}: {error}", clock_folder.display()))?;
        let clock = ClockFile::create(&clock_folder.join("now"), PREPARATION_US).map_err(|error| words(&error))?;
        let compacts = match compose.services.get(SERVICE) {
            Some(service) => engine.has_label(&service.image, COMPACTS).await,
            None => return Err(format!("the compose file has no service {SERVICE}")),
        };
        let group = Arc::new(ContainerGroup::create(engine, compose, deployment.clone()).await?);
        let environment = Self {
            base: EnvironmentBase {
                app: pool.app.clone(),
                rules: pool.rules.clone(),
                clock: Arc::new(clock),
                keys: TokenKeys::key_pairs(deployment.join("backend"), deploy::give_to_backend),
                timing: TIMING,
            },
            database: DatabaseContainer::new(group.clone(), password, authority),
            store_faults: StoreFaults::new(group.clone()),
            group,
            deployment,
            folder,
            policy: pool.policy,
            made: Mutex::default(),
            plan: AtomicU64::new(0),
            compacts,
            position: ConfirmedPosition::default(),
        };
        environment.group.start_all_but(&[BACKEND, SERVICE]).await?;
        create_publication(&environment.database.connect().await?, &environment.base.app).await?;
        Ok(environment)
    }

    /// Makes the container of a server, or starts the one that this plan has.
    async fn start_container(&self, role: ServerRole) -> Result<Container, String> {
        let (name, title) = match role {
            ServerRole::Backend => (BACKEND, "the backend"),
            ServerRole::Service => (SERVICE, "the sync service"),
        };
        let is_new = self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        if is_new {
            let mut environment = BTreeMap::new();
            let mut mounts = Vec::new();
            match role {
                ServerRole::Backend => {
                    environment.insert("SYNC_BACKEND_POLICY", self.policy.to_string());
                    environment.insert("SYNC_BACKEND_ANNOTATE_COMMITS", "true".to_owned());
                    environment.insert("SYNC_BACKEND_CLOCK_FILE", format!("{CLOCK_TARGET}/now"));
                    mounts.push((self.folder.path().join("clock").display().to_string(), CLOCK_TARGET));
                }
                ServerRole::Service => {
                    // Each plan has a bucket storage of its own.
                    let plan = self.plan.load(Ordering::Acquire);
                    let storage = self.group.compose.services[name].environment.get("PS_STORAGE_URI");
                    if let Some(storage) = storage.filter(|uri| uri.starts_with("mongodb")) {
                        environment
                            .insert("PS_STORAGE_URI", storage.replace("/powersync?", &format!("/powersync_{plan}?")));
                    }
                }
            }
            self.group.engine.run(&self.group.new_container(name, mounts, environment)).await?;
        } else {
            let container = self.group.container(name);
            // One that was disconnected still runs.
            if matches!(self.group.engine.state(&container).await?, State::Ended(_)) {
                self.group.engine.start(&container).await?;
            }
            self.group.engine.reconnect(&self.group.network, &container).await?;
        }
        Ok(Container {
            engine: self.group.engine.clone(),
            title,
            name: self.group.container(name),
            address: self.group.address(name)?,
            network: self.group.network.clone(),
            compacts: self.compacts,
        })
    }

    /// Waits until a server is ready.
    async fn wait_until_server_is_ready(
        &self,
        server: &Container,
        role: ServerRole,
        http: &HttpClient,
    ) -> Result<(), String> {
        let waited = async {
            if role == ServerRole::Service {
                // The service fetches its keys there.
                wait_until_ready(http, self.group.address(BACKEND)?).await?;
            }
            wait_until_ready(http, server.address).await?;
            if role == ServerRole::Service {
                let signer = self.base.keys.any_signer().ok_or("no key signs tokens")?;
                let now_s = backend::server::machine_clock_us().div_euclid(1_000_000);
                let token = sign(&signer, "readiness", AUDIENCE, now_s, now_s + 600);
                server::wait_until_streaming(http, server.address, &token).await?;
            }
            Ok::<_, String>(())
        };
        let waited = tokio::select! {
            biased;
            waited = waited => waited,
            ended = server.wait_until_ended() => Err(ended),
        };
        match waited {
            Ok(()) => Ok(()),
            Err(problem) => {
                let tail = self.group.engine.log_tail(&server.name).await;
                Err(format!("{}: {problem}; its last lines:\n{tail}", server.title))
            }
        }
    }
}

impl Environment for ContainersEnvironment {
    fn base(&self) -> &EnvironmentBase {
        &self.base
    }

    fn prepare<'a>(&'a self, plan: &'a PlanData) -> BoxResult<'a, (CommitLog, TokenIssuer)> {
        let forget = async {
            self.plan.fetch_add(1, Ordering::AcqRel);
            for name in [BACKEND, SERVICE] {
                self.group.engine.remove(&self.group.container(name)).await?;
                self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
            }
            // Where the service keeps its buckets in the database.
            let client = self.database.connect().await?;
            let sql = "DROP SCHEMA IF EXISTS powersync CASCADE";
            client.batch_execute(sql).await.map_err(|error| error_text(&error))
        };
        reset_database(self, plan, forget).boxed()
    }

    fn connect(&self) -> BoxResult<'_, Client> {
        self.database.connect().boxed()
    }

    fn write_sync_config(&self, appendix: &str) -> Result<(), String> {
        let path = self.deployment.join("powersync/sync-config.yaml");
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
            let server = self.start_container(role).await?;
            if waits {
                self.wait_until_server_is_ready(&server, role, http).await?;
            }
            Ok::<Box<dyn Server>, String>(Box::new(server))
        }
        .boxed()
    }

    fn control_database(&self, action: DatabaseAction) -> BoxResult<'_, ()> {
        self.database.control(action).boxed()
    }

    fn inject_container_fault(&self, part: StackPart, fault: ContainerFault) -> BoxResult<'_, ()> {
        self.store_faults.inject(part, fault).boxed()
    }

    fn heal_container_fault(&self, part: StackPart, fault: ContainerFault) -> BoxResult<'_, ()> {
        self.store_faults.heal(part, fault).boxed()
    }

    fn flush_cache(&self) -> BoxResult<'_, ()> {
        self.store_faults.flush_cache().boxed()
    }

    fn signal_database_process(&self, pid: i32, signal: Signal) -> BoxResult<'_, ()> {
        async move {
            let command = format!("kill -s {} {pid}", signal.as_str().trim_start_matches("SIG"));
            self.group.engine.exec(&self.group.container(POSTGRES), &["bash", "-c", &command]).await
        }
        .boxed()
    }

    fn replicated_lsn<'a>(&'a self, _http: &'a HttpClient, _service: SocketAddr) -> BoxFuture<'a, Option<u64>> {
        self.position.of_slot(self.database.connect(), "powersync%").boxed()
    }
}
