//! A stack that somebody else runs, as the plans of a run meet it: what they may write, how that is taken away again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use backend::store::postgres::tls::Address;
use fixtures::App;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nix::sys::signal::Signal;
use tokio_postgres::Client;

use super::gateway::{self, Gateway};
use super::mapping::Mapping;
use super::owned::List;
use sim_network::ServerRole;
use sim_stack::postgres::random_word;
use sim_stack::target::token::Source;
use sim_stack::target::{Target, database};
use crate::system::SystemUnderTest;
use crate::clock::ClockFile;
use crate::real;
use crate::real::feed::{self, Feed, Spring};
use crate::real::ground::{self, Asking, BEFORE_US, Blow, Cast, Common, Ground, Killer, Later, Pace, sow};
use crate::real::keys::{Issuer, Keys};
use crate::real::link::Http;
use crate::real::share::{Endpoint, Share};
use crate::real::site::Idle;
use crate::real::writes::identifier;

/// Both servers go by the machine's clock, on a network that is nobody's here.
const PACE: Pace = Pace {
    leap: Duration::from_secs(30),
    moment: Duration::from_millis(100),
    patience: Duration::from_secs(1200),
    coalescing: Duration::from_millis(60),
    lines: Duration::from_millis(15),
    is_service_apart: true,
    is_backend_apart: true,
};
/// How long the backend may take to delete a plan's rows.
const CLEAN_MAX: Duration = Duration::from_secs(120);
/// The same, when the program is told to end at once.
const CLEAN_AT_ONCE_MAX: Duration = Duration::from_secs(20);
/// How long what was sent without an answer may take to have its effect.
const AFTERMATH: Duration = Duration::from_secs(2);

/// The stacks of this process that may have rows to take away.
static LIVE: Mutex<Vec<Weak<Stack>>> = Mutex::new(Vec::new());

/// Which stack, and how it is written to.
pub struct Choice {
    /// The stack.
    pub target: Target,
    /// How its upload endpoint is spoken to.
    pub mapping: Arc<Mapping>,
    /// Where the lists of owned rows go.
    pub folder: PathBuf,
}

/// The stack, for one worker: several would meet in it.
pub struct Pool {
    app: Arc<App>,
    rules: Arc<backend::Rules>,
    choice: Arc<Choice>,
    source: Source,
    idle: Idle<Shared>,
}

/// One worker's.
pub type Site = real::site::Site<Shared>;

/// What a site has: the stack, also for those who end the process.
pub struct Shared(Arc<Stack>);

pub(super) struct Stack {
    pub(super) common: Common,
    pub(super) choice: Arc<Choice>,
    pub(super) source: Source,
    pub(super) gateway: Arc<Gateway>,
    /// Where devices reach the service and the backend.
    addresses: [SocketAddr; 2],
    /// What the plan has or may have written, and the list of it.
    pub(super) plan: Mutex<Option<List>>,
    /// Holds the plan's clock.
    folder: tempfile::TempDir,
    /// Asks how far the service has come.
    asking: Asking,
}

impl Pool {
    /// The stack of a choice. Whatever an earlier run has left in it, by its lists, is taken away.
    ///
    /// # Errors
    /// What is missing or wrong, by flag.
    pub fn new(system: &SystemUnderTest, choice: Choice) -> Result<Self, String> {
        let target = &choice.target;
        let needed = [("--powersync-url", &target.service), ("--backend-url", &target.backend), ("--postgres-url", &target.postgres)];
        if let Some((flag, _)) = needed.into_iter().find(|(_, url)| url.is_none()) {
            return Err(format!("{flag}: is needed, or --deployment"));
        }
        let source = target.source.clone();
        let source = source.ok_or("no token: name --token-secret, --token-key or --token-command")?;
        let (app, rules) = (system.app.clone(), system.rules.clone());
        Ok(Self { app, rules, choice: Arc::new(choice), source, idle: Idle::default() })
    }

    /// Sees to it that the stack can be used.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn preflight(&self) -> Result<(), String> {
        let site = self.take()?;
        self.give_back(site);
        Ok(())
    }

    /// Whether tokens can be made that are not what the servers expect.
    pub fn signs(&self) -> bool {
        matches!(self.source, Source::Signer(_))
    }

    /// The user that every device is: the one that was asked for, or whose token a command prints.
    pub fn only_user(&self) -> Option<String> {
        let target = &self.choice.target;
        let token = || target.token.as_ref().filter(|_| !self.signs()).map(|token| token.subject());
        target.subject.clone().or_else(token)
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
        f.debug_struct("Pool").field("stack", &self.choice.target.places()).finish_non_exhaustive()
    }
}

impl Stack {
    async fn start(pool: &Pool) -> Result<Shared, String> {
        let target = &pool.choice.target;
        let url = |url: &Option<String>| url.clone().unwrap_or_default();
        let folder = tempfile::Builder::new().prefix("syncstorm-clock-").tempdir().map_err(|error| error.to_string())?;
        let clock = ClockFile::create(&folder.path().join("clock"), BEFORE_US).map_err(|error| error.to_string())?;
        let gateway = Arc::new(Gateway {
            http: target.http.clone(),
            service: url(&target.service),
            backend: url(&target.backend),
            mapping: pool.choice.mapping.clone(),
            schema: Arc::new(pool.app.schema.clone()),
            guarded: Mutex::default(),
        });
        let addresses = [gateway.for_service().await?, gateway.for_backend().await?];
        let stack = Arc::new(Self {
            common: Common {
                app: pool.app.clone(),
                rules: pool.rules.clone(),
                clock: Arc::new(clock),
                keys: Keys::of_others(pool.source.clone(), &target.audience),
                pace: PACE,
            },
            choice: pool.choice.clone(),
            source: pool.source.clone(),
            gateway,
            addresses,
            plan: Mutex::default(),
            folder,
            asking: Asking::default(),
        });
        stack.fits().await?;
        for list in stack.left_behind()? {
            stack.take_away(&list, CLEAN_MAX).await.map_err(|left| format!("an earlier run has left rows behind: {left}"))?;
        }
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&stack));
        Ok(Shared(stack))
    }

    pub(super) async fn client(&self) -> Result<Client, String> {
        let url = self.choice.target.postgres.as_deref().unwrap_or_default();
        let address = Address::parse(url)?;
        let patience = self.choice.target.patience();
        database::connect(&address, patience).await.map_err(|none| format!("--postgres-url: {none}"))
    }

    /// Whether the database is one whose commits can be read.
    async fn fits(&self) -> Result<(), String> {
        let client = self.client().await?;
        let words = |error: tokio_postgres::Error| format!("--postgres-url: {}", feed::said(&error));
        let level: String = client.query_one("SHOW wal_level", &[]).await.map_err(words)?.get(0);
        if level != "logical" {
            return Err(format!("--postgres-url: wal_level is {level}; commits are read where it is logical"));
        }
        let publication = &self.choice.target.publication;
        let covered = database::published(&client, publication).await.map_err(words)?;
        for table in &self.common.app.schema.tables {
            if !covered.contains(&table.name) {
                return Err(format!(
                    "--publication {publication}: it does not cover the table {}, whose commits could not be read",
                    table.name
                ));
            }
        }
        Ok(())
    }

    /// Whether an exclusive row of somebody else's runs, which the plan's could end, or which could end the plan's.
    async fn nobody_runs(&self, client: &Client, cast: &Cast) -> Result<(), String> {
        let app = &self.common.app;
        let is_at_stake = |table: usize| cast.rows.iter().any(|(of, _)| *of == table);
        // Other endpoints know nothing of such a rule.
        let ours = self.choice.mapping.endpoint() == Endpoint::Notes;
        for rule in app.policy.exclusives.iter().filter(|rule| ours && is_at_stake(rule.table)) {
            let table = &app.schema.tables[rule.table];
            let (name, running) = (identifier(&table.name), identifier(&table.columns[rule.running].name));
            let sql = format!("SELECT id::text FROM {name} WHERE {running} = 1 LIMIT 1");
            if let Some(row) = client.query_opt(&sql, &[]).await.map_err(|error| feed::said(&error))? {
                let id: String = row.get(0);
                return Err(format!(
                    "{} {id} runs, and one row may at a time ({}): plans would end it; run them when it has stopped",
                    table.name, rule.name
                ));
            }
        }
        Ok(())
    }

    async fn prepare(&self, cast: &Cast) -> Result<(Feed, Issuer), String> {
        let Common { app, rules, clock, keys, .. } = &self.common;
        clock.show(BEFORE_US);
        let issuer = keys.begin(BEFORE_US)?;
        let client = self.client().await?;
        self.nobody_runs(&client, cast).await?;
        self.own(cast)?;
        let share = Share::new(
            self.gateway.schema.clone(),
            cast.rows.iter().cloned(),
            cast.clients.iter().cloned(),
            self.choice.mapping.endpoint(),
        );
        let slot = format!("syncstorm_{}", &random_word().map_err(|error| error.to_string())?[..16]);
        let spring = Spring { slot: &slot, publication: &self.choice.target.publication, share: Some(share) };
        let feed = Feed::start(app.clone(), rules.clone(), client, spring).await;
        let feed = feed.map_err(|said| format!("commits cannot be read, which a role with REPLICATION may: {said}"))?;
        sow(&feed, app, &cast.seed).await.map_err(|said| format!("the seed rows: {said}"))?;
        Ok((feed, issuer))
    }

    async fn clean(&self, feed: &Feed) -> Result<(), String> {
        if feed.was_unsure() {
            tokio::time::sleep(AFTERMATH).await;
        }
        let list = self.plan.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(list) = list else { return Ok(()) };
        let kept_out = self.gateway.guard(&[]);
        self.take_away(&list, CLEAN_MAX).await.map_err(|left| format!("left behind: {left}"))?;
        match kept_out {
            0 => Ok(()),
            times => Err(format!("{times} uploads were not sent on: they named rows that are not the plan's")),
        }
    }
}

impl Ground for Shared {
    fn common(&self) -> &Common {
        &self.0.common
    }

    fn prepare<'a>(&'a self, cast: &'a Cast) -> Later<'a, (Feed, Issuer)> {
        self.0.prepare(cast).boxed()
    }

    fn clean<'a>(&'a self, feed: &'a Feed) -> Later<'a, ()> {
        self.0.clean(feed).boxed()
    }

    fn connect(&self) -> Later<'_, Client> {
        self.0.client().boxed()
    }

    fn configure(&self, _further: &str) -> Result<(), String> {
        Err(not_ours())
    }

    fn server<'a>(&'a self, target: ServerRole, _http: &'a Http, _waits: bool) -> Later<'a, Box<dyn ground::Server>> {
        let [service, backend] = self.0.addresses;
        let (name, address) = match target {
            ServerRole::Service => ("the sync service", service),
            ServerRole::Backend => ("the backend", backend),
        };
        ready(Ok::<Box<dyn ground::Server>, String>(Box::new(Theirs { name, address }))).boxed()
    }

    fn strike(&self, _blow: Blow) -> Later<'_, ()> {
        ready(Err(not_ours())).boxed()
    }

    fn signal(&self, _pid: i32, _signal: Signal) -> Later<'_, ()> {
        ready(Err(not_ours())).boxed()
    }

    fn replicated<'a>(&'a self, _http: &'a Http, _service: SocketAddr) -> BoxFuture<'a, Option<u64>> {
        self.0.asking.confirmed(self.0.client(), self.0.choice.target.slot.as_deref().unwrap_or("powersync%")).boxed()
    }
}

/// A server that somebody else runs: it can be reached, and nothing else.
struct Theirs {
    name: &'static str,
    address: SocketAddr,
}

fn not_ours() -> String {
    "the servers are somebody else's".to_owned()
}

impl ground::Server for Theirs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn killer(&self) -> Killer {
        Arc::new(|| ready(Err(not_ours())).boxed())
    }

    fn kill(self: Box<Self>) -> Later<'static, ()> {
        ready(Err(not_ours())).boxed()
    }

    fn stop(self: Box<Self>) -> Later<'static, ()> {
        ready(Err(not_ours())).boxed()
    }

    fn pause(&self) -> Later<'_, ()> {
        ready(Err(not_ours())).boxed()
    }

    fn resume(&self) -> Later<'_, ()> {
        ready(Err(not_ours())).boxed()
    }

    fn compact(&self) -> Later<'_, ()> {
        ready(Err(not_ours())).boxed()
    }

    fn learn_keys<'a>(&'a self, _http: &'a Http, _count: u64, _waits: bool) -> Later<'a, ()> {
        ready(Err(not_ours())).boxed()
    }

    fn ended(&mut self) -> BoxFuture<'_, Option<String>> {
        ready(None).boxed()
    }
}

/// Takes away what plans of this process have written, as it ends at once; says what is left, a line a plan.
#[must_use]
pub fn end_all() -> Vec<String> {
    gateway::close();
    let live: Vec<Arc<Stack>> =
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
    let mut left = Vec::new();
    for stack in live {
        // The process ends without dropping it.
        let _ = std::fs::remove_dir_all(stack.folder.path());
        let Some(list) = stack.plan.lock().unwrap_or_else(PoisonError::into_inner).take() else { continue };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let taken = match runtime {
            Ok(runtime) => runtime.block_on(async {
                // What is at the backend has its effect first.
                tokio::time::sleep(AFTERMATH).await;
                stack.take_away(&list, CLEAN_AT_ONCE_MAX).await
            }),
            Err(error) => Err(format!("{error}; listed in {}", list.path.display())),
        };
        left.extend(taken.err().map(|said| format!("left behind: {said}")));
    }
    left
}
