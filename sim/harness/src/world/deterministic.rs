//! The deterministic world: store, backend and service in this process, in virtual time.
//!
//! Devices meet the servers as HTTP alone. The one thing joined by hand is what PostgreSQL's replication would
//! join: the store's change feed to the service.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use backend::store::memory::{MemoryStore, ServerOp};
use jsonwebtoken::EncodingKey;
use rand::RngCore as _;
use sim_core::Plan;
use sim_core::history::{ConflictRecord, Scope, What, Who};
use sim_core::plan::{EPOCH_US, Fault};
use sim_service::auth::Keys;
use sim_service::replication::{RowChange, SourceTransaction};
use sim_service::service::{Config, Service};
use sim_service::storage::Storage;

use crate::network::sim::{Routers, SimNetwork};
use crate::mutants::{self, Mutant};
use crate::network::Target;
use crate::recorder::Recorder;
use crate::trial::Setup;
use crate::world::clock::plan_clock;
use crate::world::told::{AUDIENCE, Teller, minter, repeated};

const KEY_ID: &str = "local-dev-key";
/// How long the next part of a transaction takes that a planted defect delivers in parts.
const BETWEEN_PARTS: Duration = Duration::from_millis(20);

/// One deterministic world.
pub struct World {
    recorder: Recorder,
    network: SimNetwork,
    feed: Rc<Feed>,
    setup: Setup,
    keys: Keys,
    secret: [u8; 32],
}

/// From the store's change feed to the history and to the service.
struct Feed {
    teller: Teller,
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
            teller: Teller::new(plan.clone(), setup.app.clone(), recorder.clone()),
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
            Box::new(minter(plan, recorder.clone(), KEY_ID, EncodingKey::from_secret(&secret))),
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
        let world = Self { recorder, network, feed, setup: setup.clone(), keys, secret };
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

    /// What `GET /conflicts` gives the device's user; `None` where the backend has no such route.
    ///
    /// # Errors
    /// In words, when the answer is none.
    pub async fn conflicts(&self, device: u32) -> Result<Option<Vec<ConflictRecord>>, String> {
        self.feed.teller.conflicts(&self.network, device).await
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
            clock: plan_clock(&self.recorder),
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
            plan_clock(&self.recorder),
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
        let ops: Vec<ServerOp> = self
            .feed
            .teller
            .seed_rows()
            .into_iter()
            .map(|(table, id, values)| ServerOp::Upsert { table, id, values })
            .collect();
        if !ops.is_empty()
            && let Err(error) = self.feed.store.server_transaction(EPOCH_US, &ops)
        {
            self.recorder.harness_failed(format!("the seed rows: {error}"));
        }
        self.feed.pump();
    }
}

impl Feed {
    /// Reads new commits into the history, and hands on what replication may deliver now.
    fn pump(self: &Rc<Self>) {
        for commit in self.store.commits_from(self.read.get() + 1) {
            self.read.set(commit.seq);
            self.recorder.add(Who::Server, What::Commit(self.teller.commit(&commit)));
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
}
