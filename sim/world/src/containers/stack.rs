//! A deployment in containers, as a worker keeps it from plan to plan: the stores stay, the two servers are made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backend::PolicyKind;
use fixtures::{App, deployment};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use nix::sys::signal::Signal;
use sim_core::plan::{ContainerFault, StackPart};
use tokio_postgres::Client;
use tokio_postgres::config::SslMode;

use super::compose::{Compose, Service};
use super::docker::{self, COMPACTS, Engine, Order, State};
use super::server::{self, Container};
use super::store::Ailments;
use sim_stack::deploy::{self, Storage};
use sim_network::ServerRole;
use sim_stack::postgres::{random_word, trusting};
use crate::system::SystemUnderTest;
use crate::clock::ClockFile;
use crate::real;
use crate::real::feed::{self, Feed};
use crate::real::ground::{Asking, BEFORE_US, Blow, Cast, Common, Ground, Later, Pace, Server, publish, reset};
use crate::real::keys::{Issuer, Keys};
use crate::real::link::{self, Http};
use crate::real::site::Idle;
use crate::told::{self, AUDIENCE};

/// The services of the compose file that are made anew for each plan.
const BACKEND: &str = "sync-backend";
const SERVICE: &str = "powersync";
const POSTGRES: &str = "postgres";
/// Where the plan's clock is in the backend's container.
const CLOCK_TARGET: &str = "/clock";
/// How long a container may take until it is healthy.
const HEALTHY_MAX: Duration = Duration::from_secs(180);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The service goes by the machine's clock, and says less of what it does.
const PACE: Pace = Pace {
    leap: Duration::from_secs(30),
    moment: Duration::from_millis(100),
    patience: Duration::from_secs(1200),
    coalescing: Duration::from_millis(40),
    lines: Duration::from_millis(10),
    is_service_apart: true,
    is_backend_apart: false,
};

/// The networks of this process's stacks.
static OWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Which images, and which bucket storage.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Where the sync service keeps its buckets.
    pub storage: Storage,
    /// Whether images are the locally built stand-ins.
    pub stand_ins: bool,
    /// Images in the place of those of `images.toml`, by part.
    pub images: BTreeMap<String, String>,
}

/// Stacks that nobody uses at the moment; made when there is none.
pub struct Pool {
    app: Arc<App>,
    policy: PolicyKind,
    rules: Arc<backend::Rules>,
    choice: Choice,
    idle: Idle<Stack>,
}

/// One worker's.
pub type Site = real::site::Site<Stack>;

/// The containers, and what they were made from.
pub struct Stack {
    common: Common,
    pub(super) engine: Engine,
    /// The network's name, with which the names of all containers begin.
    pub(super) network: String,
    pub(super) compose: Compose,
    /// The deployment's folder.
    deployment: PathBuf,
    /// What holds it, and the clock beside it.
    folder: tempfile::TempDir,
    policy: PolicyKind,
    password: String,
    authority: String,
    /// Which of the two servers have a container, and of which plan.
    made: Mutex<BTreeSet<&'static str>>,
    plans: AtomicU64,
    compacts: bool,
    /// Whether nobody reaches the database.
    is_cut_off: AtomicBool,
    pub(super) ailments: Ailments,
    /// Asks how far the service has come.
    asking: Asking,
}

impl Pool {
    /// Stacks for plans of an application.
    #[must_use]
    pub fn new(system: &SystemUnderTest, choice: Choice) -> Self {
        let (app, policy, rules) = (system.app.clone(), system.policy(), system.rules.clone());
        Self { app, policy, rules, choice, idle: Idle::default() }
    }

    /// Whether its stacks have a container.
    #[must_use]
    pub fn has(&self, part: StackPart) -> bool {
        part != StackPart::Mongodb || (self.choice.storage == Storage::Mongodb && !self.choice.stand_ins)
    }

    /// Sees to it that there is one, so that a machine without Docker or images is told so at once.
    ///
    /// # Errors
    /// Why there is none.
    pub fn preflight(&self) -> Result<(), String> {
        let site = self.take()?;
        self.give_back(site);
        Ok(())
    }

    pub(crate) fn take(&self) -> Result<Site, String> {
        self.idle.take(|| Stack::start(self))
    }

    pub(crate) fn give_back(&self, site: Site) {
        self.idle.give_back(site);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("choice", &self.choice).finish_non_exhaustive()
    }
}

impl Stack {
    async fn start(pool: &Pool) -> Result<Self, String> {
        let engine = Engine::connect().await?;
        engine.sweep().await;
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let folder = tempfile::Builder::new().prefix("syncstorm-stack-").tempdir().map_err(|error| words(&error))?;
        let deployment = folder.path().join("deployment");
        let choice = deploy::Choice {
            storage: pool.choice.storage,
            audience: AUDIENCE.to_owned(),
            origin: "http://localhost:5173".to_owned(),
            stand_ins: pool.choice.stand_ins,
            images: pool.choice.images.clone(),
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
        let clock = ClockFile::create(&clock_folder.join("now"), BEFORE_US).map_err(|error| words(&error))?;
        let network = format!("syncstorm-{}", &random_word().map_err(|error| words(&error))?[..12]);
        OWN.lock().unwrap_or_else(PoisonError::into_inner).insert(network.clone());
        let compacts = match compose.services.get(SERVICE) {
            Some(service) => engine.has_label(&service.image, COMPACTS).await,
            None => return Err(format!("the compose file has no service {SERVICE}")),
        };
        let stack = Self {
            common: Common {
                app: pool.app.clone(),
                rules: pool.rules.clone(),
                clock: Arc::new(clock),
                keys: Keys::pairs(deployment.join("backend"), deploy::give_to_backend),
                pace: PACE,
            },
            engine,
            network,
            compose,
            deployment,
            folder,
            policy: pool.policy,
            password,
            authority,
            made: Mutex::default(),
            plans: AtomicU64::new(0),
            compacts,
            is_cut_off: AtomicBool::new(false),
            ailments: Ailments::default(),
            asking: Asking::default(),
        };
        stack.engine.make_network(&stack.network).await?;
        stack.bring_up().await?;
        publish(&stack.client().await?, &stack.common.app).await?;
        Ok(stack)
    }

    /// Starts what the two servers stand on, in the order of its dependencies, side by side where there is none.
    async fn bring_up(&self) -> Result<(), String> {
        let is_later = |name: &str| name == BACKEND || name == SERVICE;
        let mut waiting: BTreeMap<&str, &Service> = self.compose.services.iter().map(|(name, service)| (name.as_str(), service)).collect();
        waiting.retain(|name, _| !is_later(name));
        while !waiting.is_empty() {
            let can_start = |service: &Service| service.depends_on.keys().all(|name| !waiting.contains_key(name.as_str()));
            let next: Vec<&str> = waiting.iter().filter(|(_, service)| can_start(service)).map(|(name, _)| *name).collect();
            if next.is_empty() {
                return Err("the compose file's containers wait for each other".to_owned());
            }
            try_join_all(next.iter().map(|name| self.start_and_wait(name))).await?;
            waiting.retain(|name, _| !next.contains(name));
        }
        Ok(())
    }

    async fn start_and_wait(&self, name: &str) -> Result<(), String> {
        self.engine.run(&self.order(name, Vec::new(), BTreeMap::new())).await?;
        self.wait_until_well(name).await
    }

    /// Waits until a container is healthy, or has ended well if it does one thing only.
    pub(super) async fn wait_until_well(&self, name: &str) -> Result<(), String> {
        let is_one_shot = self.compose.services[name].restart.as_deref() == Some("no");
        let deadline = Instant::now() + HEALTHY_MAX;
        let container = self.container(name);
        loop {
            match self.engine.state(&container).await? {
                State::Well if !is_one_shot => return Ok(()),
                State::Ended(0) if is_one_shot => return Ok(()),
                State::Ended(code) => {
                    let tail = self.engine.log_tail(&container).await;
                    return Err(format!("the container {name} ended with {code}; its last lines:\n{tail}"));
                }
                _ if Instant::now() > deadline => {
                    let tail = self.engine.log_tail(&container).await;
                    let limit = HEALTHY_MAX.as_secs();
                    return Err(format!("the container {name} is not healthy after {limit} s; its last lines:\n{tail}"));
                }
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    pub(super) fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.network)
    }

    pub(super) fn aliases(&self, name: &str) -> Vec<String> {
        let own = self.compose.services[name].container_name.clone();
        std::iter::once(name.to_owned()).chain(own).collect()
    }

    fn order<'a>(
        &'a self,
        name: &str,
        mounts: Vec<(String, &'a str)>,
        environment: BTreeMap<&'a str, String>,
    ) -> Order<'a> {
        Order {
            name: self.container(name),
            network: &self.network,
            aliases: self.aliases(name),
            service: &self.compose.services[name],
            folder: &self.deployment,
            mounts,
            environment,
        }
    }

    /// Where a service is published on this machine.
    fn address(&self, name: &str) -> Result<SocketAddr, String> {
        let ports = self.compose.services[name].published()?;
        let port = ports.first().ok_or_else(|| format!("the compose file publishes no port of {name}"))?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port.host)))
    }

    async fn client(&self) -> Result<Client, String> {
        let mut config = tokio_postgres::Config::new();
        let address = self.address(POSTGRES)?;
        config.host("127.0.0.1").port(address.port()).user("user").dbname("flowstate").password(&self.password);
        config.ssl_mode(SslMode::Require).connect_timeout(Duration::from_secs(20));
        let tls = trusting(&self.authority).map_err(|error| error.to_string())?;
        let (client, connection) = config.connect(tls).await.map_err(|error| feed::said(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the stack's database ended");
            }
        });
        Ok(client)
    }

    /// Waits until the database answers.
    async fn answers(&self) -> Result<(), String> {
        let deadline = Instant::now() + HEALTHY_MAX;
        loop {
            let tried = match tokio::time::timeout(Duration::from_secs(20), self.client()).await {
                Ok(Ok(client)) => client.batch_execute("SELECT 1").await.map_err(|error| feed::said(&error)),
                Ok(Err(problem)) => Err(problem),
                Err(_) => Err("it does not answer".to_owned()),
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(problem) if Instant::now() > deadline => return Err(format!("the database: {problem}")),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Makes the container of a server, or starts the one that this plan has.
    async fn start_server(&self, target: ServerRole) -> Result<Container, String> {
        let (name, title) = match target {
            ServerRole::Backend => (BACKEND, "the backend"),
            ServerRole::Service => (SERVICE, "the sync service"),
        };
        let is_new = self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        if is_new {
            let mut environment = BTreeMap::new();
            let mut mounts = Vec::new();
            match target {
                ServerRole::Backend => {
                    environment.insert("SYNC_BACKEND_POLICY", self.policy.to_string());
                    environment.insert("SYNC_BACKEND_ANNOTATE_COMMITS", "true".to_owned());
                    environment.insert("SYNC_BACKEND_CLOCK_FILE", format!("{CLOCK_TARGET}/now"));
                    mounts.push((self.folder.path().join("clock").display().to_string(), CLOCK_TARGET));
                }
                ServerRole::Service => {
                    // Buckets of another plan are in another storage.
                    let plan = self.plans.load(Ordering::Acquire);
                    let storage = self.compose.services[name].environment.get("PS_STORAGE_URI");
                    if let Some(storage) = storage.filter(|uri| uri.starts_with("mongodb")) {
                        environment.insert("PS_STORAGE_URI", storage.replace("/powersync?", &format!("/powersync_{plan}?")));
                    }
                }
            }
            self.engine.run(&self.order(name, mounts, environment)).await?;
        } else {
            let container = self.container(name);
            // One that was cut off runs.
            if matches!(self.engine.state(&container).await?, State::Ended(_)) {
                self.engine.start(&container).await?;
            }
            self.engine.reconnect(&self.network, &container, self.aliases(name)).await?;
        }
        Ok(Container {
            engine: self.engine.clone(),
            title,
            name: self.container(name),
            address: self.address(name)?,
            network: self.network.clone(),
            compacts: self.compacts,
        })
    }

    /// Waits until a server does what it is for.
    async fn wait_for(&self, server: &Container, target: ServerRole, http: &Http) -> Result<(), String> {
        let waited = async {
            if target == ServerRole::Service {
                // It fetches the keys of tokens there.
                link::ready(http, self.address(BACKEND)?).await?;
            }
            link::ready(http, server.address).await?;
            if target == ServerRole::Service {
                let signer = self.common.keys.any_signer().ok_or("no key signs tokens")?;
                let now_s = backend::server::machine_clock_us().div_euclid(1_000_000);
                let token = told::signed(&signer, "readiness", AUDIENCE, now_s, now_s + 600);
                server::streams(http, server.address, &token).await?;
            }
            Ok::<_, String>(())
        };
        let waited = tokio::select! {
            biased;
            waited = waited => waited,
            ended = server.ended() => Err(ended),
        };
        match waited {
            Ok(()) => Ok(()),
            Err(problem) => {
                let tail = self.engine.log_tail(&server.name).await;
                Err(format!("{}: {problem}; its last lines:\n{tail}", server.title))
            }
        }
    }
}

impl Ground for Stack {
    fn common(&self) -> &Common {
        &self.common
    }

    fn prepare<'a>(&'a self, cast: &'a Cast) -> Later<'a, (Feed, Issuer)> {
        let forget = async {
            self.plans.fetch_add(1, Ordering::AcqRel);
            for name in [BACKEND, SERVICE] {
                self.engine.remove(&self.container(name)).await?;
                self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
            }
            // Where the service keeps its buckets in the database.
            let client = self.client().await?;
            let sql = "DROP SCHEMA IF EXISTS powersync CASCADE";
            client.batch_execute(sql).await.map_err(|error| feed::said(&error))
        };
        reset(self, &cast.seed, forget).boxed()
    }

    fn connect(&self) -> Later<'_, Client> {
        self.client().boxed()
    }

    fn configure(&self, further: &str) -> Result<(), String> {
        let path = self.deployment.join("powersync/sync-config.yaml");
        let text = format!("{}{further}", self.common.app.sync_config);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }


    fn server<'a>(&'a self, target: ServerRole, http: &'a Http, waits: bool) -> Later<'a, Box<dyn Server>> {
        async move {
            let server = self.start_server(target).await?;
            if waits {
                self.wait_for(&server, target, http).await?;
            }
            Ok::<Box<dyn Server>, String>(Box::new(server))
        }
        .boxed()
    }

    fn strike(&self, blow: Blow) -> Later<'_, ()> {
        async move {
            let name = self.container(POSTGRES);
            match blow {
                Blow::Kill => {
                    // A frozen one does not even die.
                    let _ = self.engine.unpause(&name).await;
                    self.engine.signal(&name, "SIGKILL").await?;
                    server::ended(&self.engine, "the database", &name).await
                }
                Blow::Restart => {
                    self.engine.start(&name).await?;
                    if self.is_cut_off.load(Ordering::Acquire) { Ok(()) } else { self.answers().await }
                }
                // Whoever sends replication may be frozen, so that it does not end by itself.
                Blow::Stop => {
                    let _ = self.engine.unpause(&name).await;
                    self.engine.stop(&name, 2).await
                }
                Blow::Pause => self.engine.pause(&name).await,
                Blow::Resume => self.engine.unpause(&name).await,
                Blow::Disconnect => {
                    self.is_cut_off.store(true, Ordering::Release);
                    self.engine.disconnect(&self.network, &name).await
                }
                Blow::Reconnect => {
                    self.engine.reconnect(&self.network, &name, self.aliases(POSTGRES)).await?;
                    self.is_cut_off.store(false, Ordering::Release);
                    // One that another fault has ended or frozen answers later.
                    match self.engine.state(&name).await? {
                        State::Well | State::Starting => self.answers().await,
                        State::Frozen | State::Ended(_) => Ok(()),
                    }
                }
            }
        }
        .boxed()
    }

    fn befall(&self, part: StackPart, how: ContainerFault) -> Later<'_, ()> {
        self.befall_store(part, how).boxed()
    }

    fn undo(&self, part: StackPart, how: ContainerFault) -> Later<'_, ()> {
        self.undo_store(part, how).boxed()
    }

    fn flush_cache(&self) -> Later<'_, ()> {
        self.forget_cache().boxed()
    }

    fn signal(&self, pid: i32, signal: Signal) -> Later<'_, ()> {
        async move {
            let command = format!("kill -s {} {pid}", signal.as_str().trim_start_matches("SIG"));
            self.engine.exec(&self.container(POSTGRES), &["bash", "-c", &command]).await
        }
        .boxed()
    }

    fn replicated<'a>(&'a self, _http: &'a Http, _service: SocketAddr) -> BoxFuture<'a, Option<u64>> {
        self.asking.confirmed(self.client(), "powersync%").boxed()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        remove(vec![self.network.clone()]);
    }
}

/// Removes every container and network of this process: for a process that ends without dropping them.
pub fn end_all() {
    docker::make_no_more();
    let own = OWN.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    remove(own);
}

fn remove(networks: Vec<String>) {
    if networks.is_empty() {
        return;
    }
    docker::at_once(async move {
        let engine = match Engine::connect().await {
            Ok(engine) => engine,
            Err(problem) => return tracing::warn!(problem, "containers are left behind; the next run removes them"),
        };
        for network in networks {
            engine.remove_all(&network).await;
            OWN.lock().unwrap_or_else(PoisonError::into_inner).remove(&network);
        }
    });
}

/// The variables of a deployment's `.env`; images of the environment win, and ports are free ones.
fn variables(deployment: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = read(&deployment.join(".env"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut variables: BTreeMap<String, String> =
        lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for part in deployment::images().keys() {
        let name = deployment::image_variable(part);
        if let Some(image) = std::env::var(&name).ok().filter(|image| !image.is_empty()) {
            variables.insert(name, image);
        }
    }
    let ports = ["POSTGRES_PORT", "MONGODB_PORT", "REDIS_PORT", "BACKEND_PORT", "POWERSYNC_PORT"];
    // All are held until all are known, so that none is given twice.
    let held: Vec<TcpListener> = ports
        .iter()
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no free port: {error}"))?;
    for (name, listener) in ports.iter().zip(&held) {
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        variables.insert((*name).to_owned(), address.port().to_string());
    }
    Ok(variables)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
