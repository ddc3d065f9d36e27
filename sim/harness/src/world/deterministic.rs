//! The deterministic world: store, backend and service in this process, in virtual time.
//!
//! Devices meet the servers as HTTP alone. The one thing joined by hand is what PostgreSQL's replication would
//! join: the store's change feed to the service.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use backend::record::Author;
use backend::store::memory::{MemoryStore, ServerOp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rand::RngCore as _;
use sim_core::Plan;
use sim_core::history::{self, ConflictRecord, OpAnswer, Outcome, Scope, What, Who, Writer};
use sim_core::plan::{EPOCH_US, Expr, Fault};
use sim_service::auth::Keys;
use sim_service::replication::{RowChange, SourceTransaction};
use sim_service::service::{Config, Service};
use sim_service::storage::Storage;

use crate::interpreter::clock_text;
use crate::network::sim::{Routers, SimNetwork};
use crate::network::{Answer, Ask, Network, Purpose, Target};
use crate::mutants::{self, Mutant};
use crate::recorder::Recorder;
use crate::trial::Setup;

const AUDIENCE: &str = "syncstorm";
const KEY_ID: &str = "local-dev-key";
/// How long the next part of a transaction takes that a planted defect delivers in parts.
const BETWEEN_PARTS: Duration = Duration::from_millis(20);

/// One deterministic world.
pub struct World {
    plan: Rc<Plan>,
    recorder: Recorder,
    network: SimNetwork,
    feed: Rc<Feed>,
    setup: Setup,
    keys: Keys,
    secret: [u8; 32],
}

/// From the store's change feed to the history and to the service.
struct Feed {
    clients: Vec<String>,
    plan: Rc<Plan>,
    recorder: Recorder,
    store: MemoryStore,
    rules: Arc<backend::Rules>,
    mutant: Option<Mutant>,
    storage: Storage,
    service: RefCell<Option<Service>>,
    /// The last commit that was read.
    read: Cell<u64>,
    waiting: RefCell<VecDeque<SourceTransaction>>,
    /// Parts of one transaction that replication has not delivered yet; none, but for a planted defect.
    parts: RefCell<VecDeque<SourceTransaction>>,
    /// How many faults hold replication up.
    stalls: Cell<u32>,
}

impl World {
    /// Brings the world up, with the seed rows in its database.
    #[must_use]
    pub fn up(setup: &Setup, plan: Rc<Plan>, recorder: Recorder) -> Self {
        let mut secret = [0u8; 32];
        plan.seed.fork("secret", &[]).fill_bytes(&mut secret);
        let rules = mutants::backend::rules(&setup.app, &setup.rules, setup.mutant);
        let store = MemoryStore::new(rules.clone());
        let keys = Keys::hs256(KEY_ID, &secret);
        let feed = Rc::new(Feed {
            clients: (0u32..).take(plan.devices.len()).map(|device| plan.client_id(device)).collect(),
            plan: plan.clone(),
            recorder: recorder.clone(),
            store: store.clone(),
            rules,
            mutant: setup.mutant,
            storage: Storage::new(),
            service: RefCell::new(None),
            read: Cell::new(0),
            waiting: RefCell::default(),
            parts: RefCell::default(),
            stalls: Cell::new(0),
        });
        let network = SimNetwork::new(
            plan.clone(),
            Routers::default(),
            Box::new(minter(plan.clone(), recorder.clone(), EncodingKey::from_secret(&secret))),
            Box::new({
                let feed = feed.clone();
                move |target| {
                    if target == Target::Backend {
                        feed.pump();
                    }
                }
            }),
            Box::new({
                let recorder = recorder.clone();
                move |device, ask, status| recorder.add(Who::Client(device), repeated(ask, status))
            }),
        );
        let world = Self { plan, recorder, network, feed, setup: setup.clone(), keys, secret };
        world.network.set_router(Target::Backend, Some(world.backend()));
        world.start_service();
        world.seed();
        world
    }

    /// How devices reach the servers.
    #[must_use]
    pub fn network(&self) -> &SimNetwork {
        &self.network
    }

    /// A fault begins.
    pub fn strike(&self, key: u32, fault: &Fault) {
        self.network.strike(key, fault);
        match fault {
            Fault::BackendDown { .. } => self.network.set_router(Target::Backend, None),
            Fault::ServiceDown { .. } => {
                self.network.set_router(Target::Service, None);
                *self.feed.service.borrow_mut() = None;
            }
            Fault::ReplicationStalled { .. } => self.feed.stalls.set(self.feed.stalls.get() + 1),
            _ => {}
        }
    }

    /// A fault ends.
    pub fn heal(&self, key: u32, fault: &Fault) {
        self.network.heal(key);
        match fault {
            Fault::BackendDown { .. } => self.network.set_router(Target::Backend, Some(self.backend())),
            Fault::ServiceDown { .. } => self.start_service(),
            Fault::ReplicationStalled { .. } => {
                self.feed.stalls.set(self.feed.stalls.get().saturating_sub(1));
                self.feed.pump();
            }
            _ => {}
        }
    }

    /// What `GET /conflicts` gives the device's user, page by page; `None` where the backend has no such route.
    ///
    /// # Errors
    /// In words, when the answer is none.
    pub async fn conflicts(&self, device: u32) -> Result<Option<Vec<ConflictRecord>>, String> {
        let mut records = Vec::new();
        let mut after = 0;
        loop {
            let ask = Ask {
                target: Target::Backend,
                purpose: Purpose::Conflicts,
                about: after,
                attempt: 1,
                body: None,
                path: format!("/conflicts?after={after}"),
                token: self.network.token(device),
                timeout: Duration::from_secs(30),
            };
            let answer = self.network.ask(device, ask).await.map_err(|error| error.to_string())?;
            if answer.status == 404 {
                return Ok(None);
            }
            let (page, last, has_more) = self.read_conflicts(&answer)?;
            records.extend(page);
            if !has_more {
                return Ok(Some(records));
            }
            after = last;
        }
    }

    /// Reads every row of the server into the history.
    pub fn final_read(&self) {
        self.feed.pump();
        let mut rows = Vec::new();
        for table in 0..self.setup.app.schema.tables.len() {
            for (id, row) in self.feed.store.rows(table) {
                rows.push((self.recorder.row(table, &id), Some(row)));
            }
        }
        rows.sort_by_key(|(row, _)| *row);
        self.recorder.add(Who::Server, What::Read { scope: Scope::Final, rows });
    }
}

impl World {
    fn backend(&self) -> axum::Router {
        let key = backend::Key { kid: KEY_ID.to_owned(), secret: self.secret.to_vec(), retires_us: None };
        let config = backend::Config {
            rules: self.feed.rules.clone(),
            policy: mutants::backend::policy(self.setup.policy, self.setup.mutant),
            store: mutants::backend::store(Arc::new(self.feed.store.clone()), self.setup.mutant),
            clock: clock(&self.recorder),
            auth: backend::Auth::hs256(vec![key], vec![AUDIENCE.to_owned()]),
            limits: backend::Limits::default(),
            retention_us: backend::RETENTION_US,
            is_development: false,
        };
        backend::router(backend::State::new(config))
    }

    fn start_service(&self) {
        let (store, mutant) = (self.feed.store.clone(), self.setup.mutant);
        let mut config = Config::new(
            self.setup.schema.clone(),
            self.setup.sync_config.clone(),
            self.keys.clone(),
            vec![AUDIENCE.to_owned()],
            clock(&self.recorder),
            Arc::new(move || mutants::service::head(store.last_seq(), mutant)),
        );
        config.max_streams = 1000;
        let service = Service::new(config, self.feed.storage.clone());
        self.network.set_router(Target::Service, Some(sim_service::routes::router(service.clone())));
        *self.feed.service.borrow_mut() = Some(service);
        self.feed.pump();
    }

    /// Writes the seed rows as one transaction of the server's own.
    fn seed(&self) {
        let schema = &self.setup.app.schema;
        let mut ops = Vec::new();
        for seed in &self.plan.seed_rows {
            let table = schema
                .table_index(&self.plan.rows[seed.row as usize])
                .expect("plans are checked against the schema");
            let mut values = Vec::new();
            for (name, expr) in &seed.set {
                let Some(column) = schema.tables[table].column_index(name) else { continue };
                let json = match expr {
                    Expr::Value(json) => json.clone(),
                    Expr::Id(row) => self.plan.row_id(*row).into(),
                    Expr::Now => clock_text(EPOCH_US).into(),
                    Expr::Device => "server".into(),
                };
                match fixtures::Value::from_json(schema.tables[table].columns[column].ty, &json) {
                    Ok(value) => values.push((column, value)),
                    Err(error) => self.recorder.harness_failed(format!("seed row #{}: {name}: {error}", seed.row)),
                }
            }
            ops.push(ServerOp::Upsert { table, id: Arc::from(self.plan.row_id(seed.row)), values });
        }
        if !ops.is_empty()
            && let Err(error) = self.feed.store.server_transaction(EPOCH_US, &ops)
        {
            self.recorder.harness_failed(format!("the seed rows: {error}"));
        }
        self.feed.pump();
    }

    fn read_conflicts(&self, answer: &Answer) -> Result<(Vec<ConflictRecord>, u64, bool), String> {
        #[derive(serde::Deserialize)]
        struct Reply {
            conflicts: Vec<Record>,
            #[serde(default)]
            last: u64,
            #[serde(default)]
            has_more: bool,
        }
        #[derive(serde::Deserialize)]
        struct Record {
            table: String,
            id: String,
            #[serde(default)]
            column: Option<String>,
            rule: String,
            loser: String,
            winner: String,
        }
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        let reply: Reply = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        let mut records = Vec::with_capacity(reply.conflicts.len());
        for record in reply.conflicts {
            let table = self
                .setup
                .app
                .schema
                .table_index(&record.table)
                .ok_or_else(|| format!("unknown table {}", record.table))?;
            records.push(ConflictRecord {
                row: self.recorder.row(table, &record.id),
                column: record.column,
                rule: record.rule,
                loser: crate::device::actor::writer(&self.plan, &record.loser),
                winner: crate::device::actor::writer(&self.plan, &record.winner),
            });
        }
        Ok((records, reply.last, reply.has_more))
    }
}

impl Feed {
    /// Reads new commits into the history, and hands on what replication may deliver now.
    fn pump(self: &Rc<Self>) {
        for commit in self.store.commits_from(self.read.get() + 1) {
            self.read.set(commit.seq);
            self.recorder.add(Who::Server, What::Commit(self.told(&commit)));
            let changes = commit
                .changes
                .iter()
                .map(|change| RowChange {
                    table: change.table,
                    id: change.id.clone(),
                    before: change.before.clone(),
                    after: change.after.clone(),
                })
                .collect();
            self.waiting.borrow_mut().push_back(SourceTransaction { lsn: commit.seq, changes });
        }
        if self.stalls.get() > 0 {
            return;
        }
        while self.service.borrow().is_some() {
            if self.parts.borrow().is_empty() {
                let Some(transaction) = self.waiting.borrow_mut().pop_front() else { return };
                self.parts.borrow_mut().extend(mutants::service::replicated(transaction, self.mutant));
            }
            let Some(part) = self.parts.borrow_mut().pop_front() else { continue };
            if let Some(service) = &*self.service.borrow() {
                service.replicate(&part);
            }
            if !self.parts.borrow().is_empty() {
                let feed = self.clone();
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(BETWEEN_PARTS).await;
                    feed.pump();
                });
                return;
            }
        }
    }

    /// A commit in the history's words.
    fn told(&self, commit: &backend::record::Commit) -> history::Commit {
        let row = |table: usize, id: &str| self.recorder.row(table, id);
        let table_of = |op_id: i64| {
            commit.changes.iter().find(|change| change.by == Some(op_id)).map(|change| change.table)
        };
        history::Commit {
            seq: commit.seq,
            received_us: commit.received_us,
            origin: commit.origin.as_ref().and_then(|origin| {
                Some(history::Origin { device: self.device(&origin.client_id)?, tx_id: origin.tx_id })
            }),
            changes: commit
                .changes
                .iter()
                .map(|change| history::Change {
                    row: row(change.table, &change.id),
                    before: change.before.clone(),
                    after: change.after.clone(),
                    op_id: change.by,
                })
                .collect(),
            ledger: commit
                .ledger
                .iter()
                .map(|entry| OpAnswer {
                    op_id: entry.op_id,
                    outcome: outcome(entry.answer.outcome),
                    reason: entry.answer.reason.as_deref().map(str::to_owned),
                    by: entry.answer.by.as_deref().map(|by| crate::device::actor::writer(&self.plan, by)),
                    merged_into: entry.answer.merged_into.as_deref().and_then(|survivor| {
                        let alias = commit.aliases.iter().find(|(_, _, to)| **to == *survivor);
                        let table = alias.map(|(table, _, _)| *table).or_else(|| table_of(entry.op_id))?;
                        Some(row(table, survivor))
                    }),
                })
                .collect(),
            conflicts: commit
                .conflicts
                .iter()
                .map(|record| ConflictRecord {
                    row: row(record.table, &record.id),
                    column: record.column.as_deref().map(str::to_owned),
                    rule: record.rule.to_string(),
                    loser: self.writer(&record.loser),
                    winner: self.writer(&record.winner),
                })
                .collect(),
            aliases: commit
                .aliases
                .iter()
                .map(|(table, losing, survivor)| (row(*table, losing), row(*table, survivor)))
                .collect(),
        }
    }

    fn device(&self, client_id: &str) -> Option<u32> {
        let devices = u32::try_from(self.plan.devices.len()).ok()?;
        (0..devices).find(|device| self.clients[*device as usize] == client_id)
    }

    fn writer(&self, author: &Author) -> Writer {
        match author {
            Author::Server => Writer::Server,
            Author::Client(writer) => match self.device(&writer.client) {
                Some(device) => Writer::Client { device, op_id: writer.op },
                None => Writer::Other(format!("{}/{}", writer.client, writer.op)),
            },
        }
    }
}

/// A second delivery of an upload, as a proxy's log shows it: there was an answer, and the device never saw it.
fn repeated(ask: &Ask, status: Option<u16>) -> What {
    What::Upload(history::Upload {
        phase: history::Phase::Info,
        tx_id: i64::try_from(ask.about).unwrap_or(i64::MAX),
        attempt: ask.attempt,
        status,
        outcome: None,
        ops: Vec::new(),
    })
}

fn outcome(outcome: backend::wire::Outcome) -> Outcome {
    match outcome {
        backend::wire::Outcome::Applied => Outcome::Applied,
        backend::wire::Outcome::Merged => Outcome::Merged,
        backend::wire::Outcome::Superseded => Outcome::Superseded,
        backend::wire::Outcome::Rejected => Outcome::Rejected,
        backend::wire::Outcome::RolledBack => Outcome::RolledBack,
    }
}

/// The servers' clock: plan time since the epoch of plans, from the paused clock of the runtime.
fn clock(recorder: &Recorder) -> Arc<dyn Fn() -> i64 + Send + Sync> {
    let start = recorder.start();
    Arc::new(move || {
        let now = tokio::time::Instant::now();
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match now.checked_duration_since(start) {
            Some(since) => EPOCH_US + micros(since),
            None => EPOCH_US - micros(start - now),
        }
    })
}

/// Mints tokens as the app's sign-in would.
fn minter(plan: Rc<Plan>, recorder: Recorder, key: EncodingKey) -> impl Fn(u32, bool) -> String {
    #[derive(serde::Serialize)]
    struct Claims<'a> {
        sub: &'a str,
        aud: &'a str,
        iat: i64,
        exp: i64,
    }
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(KEY_ID.to_owned());
    move |device, wrong_audience| {
        let iat = (EPOCH_US + recorder.now_us()).div_euclid(1_000_000);
        let claims = Claims {
            sub: &plan.devices[device as usize].user,
            aud: if wrong_audience { "another-app" } else { AUDIENCE },
            iat,
            exp: iat + i64::from(plan.token_lifetime_s),
        };
        jsonwebtoken::encode(&header, &claims, &key).expect("an HS256 key signs any claims")
    }
}
