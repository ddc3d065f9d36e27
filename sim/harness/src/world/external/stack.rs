//! A stack that somebody else runs, as the plans of a run meet it: what they may write, how that is taken away again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use backend::store::postgres::tls::Address;
use backend::wire::{UploadRequest, WireOp, WireTransaction};
use fixtures::{App, Row};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::gateway::{self, Gateway};
use super::mapping::Mapping;
use crate::artifacts;
use crate::network::Target as Server;
use crate::postgres::random_word;
use crate::target::token::Source;
use crate::target::{Target, database};
use crate::trial::Setup;
use crate::world::clock::ClockFile;
use crate::world::real;
use crate::world::real::feed::{self, Feed, Spring};
use crate::world::real::ground::{self, BEFORE_US, Blow, Cast, Common, Ground, Killer, Later, Pace, sow};
use crate::world::real::keys::{Issuer, Keys};
use crate::world::real::link::Http;
use crate::world::real::share::{OwnRow, Share};
use crate::world::real::site::Idle;
use crate::world::real::writes::identifier;

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
/// How often rows are deleted that are still there, at most: what names others may go after them alone.
const ROUNDS_MAX: usize = 6;
/// How long the backend may take to delete a plan's rows.
const CLEAN_MAX: Duration = Duration::from_secs(120);
/// The same, when the program is told to end at once.
const CLEAN_AT_ONCE_MAX: Duration = Duration::from_secs(20);
/// How long what was sent without an answer may take to have its effect.
const AFTERMATH: Duration = Duration::from_secs(2);
/// The folder of lists of rows, in that of the report.
const LISTS: &str = "owned-rows";

/// The stacks of this process that may have rows to take away.
static LIVE: Mutex<Vec<Weak<Stack>>> = Mutex::new(Vec::new());

/// Which stack, and how it is written to.
pub(crate) struct Choice {
    pub(crate) target: Target,
    pub(crate) mapping: Arc<Mapping>,
    /// Where the lists of owned rows go.
    pub(crate) folder: PathBuf,
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

struct Stack {
    common: Common,
    choice: Arc<Choice>,
    source: Source,
    gateway: Arc<Gateway>,
    /// Where devices reach the service and the backend.
    addresses: [SocketAddr; 2],
    /// What the plan has or may have written, and the list of it.
    plan: Mutex<Option<List>>,
    /// Holds the plan's clock.
    _folder: tempfile::TempDir,
    /// Asks how far the service has come.
    asking: tokio::sync::Mutex<Option<Client>>,
}

/// A list of rows on disk, while they may be there.
#[derive(Clone)]
struct List {
    path: PathBuf,
    rows: Vec<OwnRow>,
    users: Vec<String>,
}

/// The same, as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    version: u32,
    app: String,
    users: Vec<String>,
    /// Table and id.
    rows: Vec<(String, String)>,
}

impl Pool {
    /// The stack of a choice. Whatever an earlier run has left in it, by its lists, is taken away.
    ///
    /// # Errors
    /// What is missing or wrong, by flag.
    pub(crate) fn new(setup: &Setup, choice: Choice) -> Result<Self, String> {
        let target = &choice.target;
        let needed = [("--powersync-url", &target.service), ("--backend-url", &target.backend), ("--postgres-url", &target.postgres)];
        if let Some((flag, _)) = needed.into_iter().find(|(_, url)| url.is_none()) {
            return Err(format!("{flag}: is needed, or --deployment"));
        }
        let source = target.source.clone();
        let source = source.ok_or("no token: name --token-secret, --token-key or --token-command")?;
        let (app, rules) = (setup.app.clone(), setup.rules.clone());
        Ok(Self { app, rules, choice: Arc::new(choice), source, idle: Idle::default() })
    }

    /// Sees to it that the stack can be used.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn warm(&self) -> Result<(), String> {
        let site = self.take()?;
        self.give_back(site);
        Ok(())
    }

    /// Whether tokens can be made that are not what the servers expect.
    pub(crate) fn signs(&self) -> bool {
        matches!(self.source, Source::Signer(_))
    }

    /// The user that every device is: the one that was asked for, or whose token a command prints.
    pub(crate) fn only_user(&self) -> Option<String> {
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
            rows: Mutex::default(),
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
            _folder: folder,
            asking: tokio::sync::Mutex::default(),
        });
        stack.fits().await?;
        for path in artifacts::files_in(&stack.lists()) {
            let list = stack.read_list(&path)?;
            stack.take_away(&list, CLEAN_MAX).await.map_err(|left| format!("an earlier run has left rows behind: {left}"))?;
        }
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&stack));
        Ok(Shared(stack))
    }

    fn lists(&self) -> PathBuf {
        self.choice.folder.join(LISTS)
    }

    async fn client(&self) -> Result<Client, String> {
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
        let sql = "SELECT tablename::text FROM pg_publication_tables WHERE pubname = $1 AND schemaname = 'public'";
        let covered = client.query(sql, &[publication]).await.map_err(words)?;
        let covered: BTreeSet<String> = covered.iter().map(|row| row.get(0)).collect();
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
    async fn nobody_runs(&self, client: &Client) -> Result<(), String> {
        let app = &self.common.app;
        for rule in &app.policy.exclusives {
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

    /// Writes the list of what may be written, before anything is.
    fn own(&self, cast: &Cast) -> Result<List, String> {
        let word = random_word().map_err(|error| error.to_string())?;
        let path = self.lists().join(format!("{word}.json"));
        let tables = &self.common.app.schema.tables;
        let named = cast.rows.iter().map(|(table, id)| (tables[*table].name.clone(), id.to_string()));
        let file = ListFile {
            version: 1,
            app: self.common.app.name.clone(),
            users: cast.users.clone(),
            rows: named.collect(),
        };
        let text = serde_json::to_string_pretty(&file).map_err(|error| error.to_string())?;
        artifacts::write_durably(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
        let list = List { path, rows: cast.rows.clone(), users: cast.users.clone() };
        *self.gateway.rows.lock().unwrap_or_else(PoisonError::into_inner) = list.rows.iter().cloned().collect();
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(list.clone());
        Ok(list)
    }

    fn read_list(&self, path: &Path) -> Result<List, String> {
        let wrong = |said: String| format!("{}: {said}; it lists rows that a run has left; delete it when they are gone", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file: ListFile = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let app = &self.common.app;
        if file.app != app.name {
            return Err(wrong(format!("app: is {}, and this run is of {}", file.app, app.name)));
        }
        let row = |(table, id): &(String, String)| {
            let index = app.schema.table_index(table).ok_or_else(|| wrong(format!("rows: there is no table {table}")))?;
            Ok::<_, String>((index, Arc::from(id.as_str())))
        };
        let rows = file.rows.iter().map(row).collect::<Result<_, _>>()?;
        Ok(List { path: path.to_owned(), rows, users: file.users })
    }

    /// The rows of a list that are there, with what they hold; those that others name come last.
    async fn there(&self, client: &Client, list: &List) -> Result<Vec<(OwnRow, Row)>, String> {
        let app = &self.common.app;
        let mut found = Vec::new();
        let mut tables: Vec<usize> = (0..app.schema.tables.len()).collect();
        let is_named = |table: &usize| app.policy.references.iter().any(|one| one.parent == *table && one.table != *table);
        tables.sort_by_key(is_named);
        for table in tables {
            let ids: Vec<&str> = list.rows.iter().filter(|(of, _)| *of == table).map(|(_, id)| &**id).collect();
            let rows = feed::table_rows(client, &app.schema.tables[table], Some(&ids)).await?;
            found.extend(rows.into_iter().map(|(id, row)| ((table, Arc::from(id)), row)));
        }
        Ok(found)
    }

    /// Deletes what is there of a list, through the backend, and the list when nothing is.
    ///
    /// # Errors
    /// What is left, by table and id.
    async fn take_away(&self, list: &List, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        let mut last = String::from("it was not tried");
        let client = self.client().await?;
        let mut left = self.there(&client, list).await?;
        let mut number = 0;
        for round in 0..ROUNDS_MAX {
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            // Rows may be one user's own.
            let user = list.users.get(round % list.users.len().max(1)).cloned().unwrap_or_default();
            let token = self.source.token(&user, &self.choice.target.audience)?;
            let client_id = random_word().map_err(|error| error.to_string())?;
            for (row, seen) in &left {
                number += 1;
                let told = self.delete(row, seen, &client_id, number, &token.text).await;
                if !told.is_success() {
                    last = format!("the backend answers {told}");
                }
                if Instant::now() > deadline {
                    break;
                }
            }
            left = self.there(&client, list).await?;
        }
        if left.is_empty() {
            return artifacts::remove_file(&list.path).map_err(|error| format!("{}: {error}", list.path.display()));
        }
        let tables = &self.common.app.schema.tables;
        let names: Vec<String> = left.iter().map(|((table, id), _)| format!("{} {id}", tables[*table].name)).collect();
        Err(format!("{} ({last}; listed in {})", names.join(", "), list.path.display()))
    }

    /// Deletes one row as a device does that has seen all of it, so that no edit of it is younger.
    async fn delete(&self, row: &OwnRow, seen: &Row, client: &str, number: i64, token: &str) -> http::StatusCode {
        let declared = &self.common.app.schema.tables[row.0];
        let old = declared.columns.iter().zip(seen.iter()).map(|(column, value)| (column.name.clone(), value.to_json()));
        let op = WireOp {
            op_id: number,
            op: "DELETE".to_owned(),
            table: declared.name.clone(),
            id: row.1.to_string(),
            data: None,
            old: Some(old.collect()),
        };
        let transactions = vec![WireTransaction { tx_id: number, ops: vec![op] }];
        let upload = UploadRequest { client_id: client.to_owned(), transactions };
        let body = serde_json::to_vec(&upload).unwrap_or_default().into();
        self.choice.mapping.send(&self.choice.target.http, &self.gateway.backend, token, &body).await.status
    }

    async fn prepare(&self, cast: &Cast) -> Result<(Feed, Issuer), String> {
        let Common { app, rules, clock, keys, .. } = &self.common;
        clock.show(BEFORE_US);
        let issuer = keys.begin(BEFORE_US)?;
        let client = self.client().await?;
        self.nobody_runs(&client).await?;
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
        self.gateway.rows.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.take_away(&list, CLEAN_MAX).await.map_err(|left| format!("left behind: {left}"))
    }

    async fn confirmed(&self) -> Result<Option<u64>, String> {
        let mut asking = self.asking.lock().await;
        let client = match asking.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.client().await?,
        };
        let slot = self.choice.target.slot.as_deref().unwrap_or("powersync%");
        let confirmed = ground::confirmed(&client, slot).await?;
        *asking = Some(client);
        Ok(confirmed)
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

    fn server<'a>(&'a self, target: Server, _http: &'a Http, _waits: bool) -> Later<'a, Box<dyn ground::Server>> {
        let [service, backend] = self.0.addresses;
        let (name, address) = match target {
            Server::Service => ("the sync service", service),
            Server::Backend => ("the backend", backend),
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
        self.0.confirmed().map(|confirmed| confirmed.ok().flatten()).boxed()
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
