//! The deterministic world: store, backend and service in this process, in virtual time.
//!
//! Devices meet the servers as HTTP alone. The one thing joined by hand is what PostgreSQL's replication would
//! join: the store's change feed to the service.
//!
//! `servers` the two servers as processes, `keyring` what signs tokens, `outage` the database as they reach it.

mod keyring;
mod outage;
mod servers;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use backend::store::memory::{MemoryStore, ServerOp};
use sim_core::Plan;
use sim_core::history::{ConflictRecord, Scope, What, Who};
use sim_core::plan::{Action, EPOCH_US, Fault, Intent};
use sim_service::changes::{RowChange, SourceTransaction};
use sim_service::service::Service;
use sim_service::storage::Storage;

use self::keyring::Keyring;
use self::outage::Outage;
use self::servers::Servers;
use sim_network::{RequestTag, ServerRole};
use sim_network::sim::{Callbacks, Routers, SimNetwork};
use sim_device::recorder::Recorder;
use crate::seams::{Rows, Seams};
use crate::system::SystemUnderTest;
use crate::told::{Teller, repeated, sender};
use crate::writes::{Statement, statements};

/// How long the next part of a transaction takes where it is delivered in parts.
const BETWEEN_PARTS: Duration = Duration::from_millis(20);

/// One deterministic world.
pub struct World {
    plan: Rc<Plan>,
    recorder: Recorder,
    network: SimNetwork,
    feed: Rc<Feed>,
    servers: Rc<Servers>,
}

/// From the store's change feed to the history and to the service.
struct Feed {
    teller: Teller,
    recorder: Recorder,
    store: MemoryStore,
    rules: Arc<backend::Rules>,
    seams: Arc<dyn Seams>,
    storage: Storage,
    service: RefCell<Option<Service>>,
    /// The last commit that was read.
    read: Cell<u64>,
    waiting: RefCell<VecDeque<SourceTransaction>>,
    /// Parts of one transaction that replication has not delivered yet; none where it delivers transactions whole.
    parts: RefCell<VecDeque<SourceTransaction>>,
    /// How many faults hold replication up.
    stalls: Cell<u32>,
    /// How many faults keep the service without a slot: what commits meanwhile is in no log that it will see.
    lost: Cell<u32>,
    /// Whether replication begins again with a snapshot.
    wants_snapshot: Cell<bool>,
    /// What is remembered of the database from when the slot was lost.
    remembered: RefCell<Rows>,
    /// Whether the service compacts when it comes up.
    wants_compaction: Cell<bool>,
}

impl World {
    /// Brings the world up, with the seed rows in its database.
    #[must_use]
    pub fn up(system: Arc<SystemUnderTest>, seams: Arc<dyn Seams>, plan: Rc<Plan>, recorder: Recorder) -> Self {
        let rules = seams.rules(&system.app, &system.rules);
        let store = MemoryStore::new(rules.clone());
        let keyring = Rc::new(Keyring::new(plan.clone(), recorder.clone(), seams.clone()));
        let feed = Rc::new(Feed {
            teller: Teller::new(plan.clone(), system.app.clone(), recorder.clone()),
            recorder: recorder.clone(),
            store: store.clone(),
            rules,
            seams,
            storage: Storage::new(),
            service: RefCell::new(None),
            read: Cell::new(0),
            waiting: RefCell::default(),
            parts: RefCell::default(),
            stalls: Cell::new(0),
            lost: Cell::new(0),
            wants_snapshot: Cell::new(false),
            remembered: RefCell::default(),
            wants_compaction: Cell::new(false),
        });
        let network = SimNetwork::new(
            plan.clone(),
            Routers::default(),
            Callbacks {
                mint_token: Box::new({
                    let keyring = keyring.clone();
                    move |device, wrong_audience| keyring.mint(device, wrong_audience)
                }),
                on_handled: Box::new({
                    let feed = feed.clone();
                    move |request| {
                        if let Some((device, ask)) = request.filter(|(_, ask)| ask.server == ServerRole::Backend) {
                            feed.pump_from(Some(sender(&feed.recorder, RequestTag { device, subject: ask.subject })));
                        }
                    }
                }),
                on_duplicate: Box::new({
                    let recorder = recorder.clone();
                    move |device, ask, status| repeated(&recorder, device, ask, status)
                }),
            },
        );
        let fails = |action: &Action| {
            matches!(action, Action::Fault(Fault::PostgresDown { .. } | Fault::PostgresPaused { .. }))
        };
        let outage = plan.steps.iter().any(|step| fails(&step.action)).then(Outage::default);
        let servers =
            Servers::new(system, recorder.clone(), network.clone(), feed.clone(), keyring, outage);
        let world = Self { plan, recorder, network, feed, servers };
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
        self.network.begin_fault(key, fault);
        let servers = &self.servers;
        match fault {
            Fault::BackendDown { .. } => servers.backend_down(),
            Fault::BackendKilled { .. } => servers.arm(key, fault),
            Fault::ServiceDown { .. } => servers.service_down(),
            Fault::SyncConfigChanged { .. } => {
                servers.deploy();
                servers.service_down();
            }
            Fault::ReplicationStalled { .. } | Fault::ReplicationCut { .. } => self.feed.hold(),
            Fault::SlotDropped { .. } => self.feed.lose_slot(),
            Fault::PostgresDown { .. } => {
                self.outage().take_down();
                self.feed.hold();
            }
            Fault::PostgresPaused { .. } => {
                self.outage().pause();
                self.feed.hold();
            }
            Fault::Compaction => self.feed.compact(),
            Fault::KeyRotated { .. } => servers.rotate_keys(),
            Fault::ServerWrite { intents } => self.write(intents),
            // These are the network's, or the device's own.
            Fault::Offline { .. }
            | Fault::Partition { .. }
            | Fault::Slow { .. }
            | Fault::Lossy { .. }
            | Fault::StreamCut { .. }
            | Fault::HalfOpen { .. }
            | Fault::Crash { .. }
            | Fault::Suspend { .. }
            | Fault::TabClose { .. }
            | Fault::ClockJump { .. }
            | Fault::WrongAudience { .. }
            | Fault::ServicePaused { .. }
            | Fault::StorageLost { .. }
            | Fault::CopyRestored { .. } => {}
            Fault::Container { .. } | Fault::CacheFlushed => {
                self.recorder.record_harness_failure("there are no containers in this world".to_owned());
            }
        }
    }

    /// A fault ends.
    pub fn heal(&self, key: u32, fault: &Fault) {
        self.network.end_fault(key);
        let servers = &self.servers;
        match fault {
            Fault::BackendDown { .. } => servers.backend_up(),
            Fault::ServiceDown { .. } | Fault::SyncConfigChanged { .. } => servers.service_up(),
            Fault::ReplicationStalled { .. } | Fault::ReplicationCut { .. } => self.feed.go_on(),
            Fault::SlotDropped { .. } => self.feed.make_slot(),
            Fault::PostgresDown { .. } => {
                self.outage().bring_up();
                self.feed.go_on();
            }
            Fault::PostgresPaused { .. } => {
                self.outage().go_on();
                self.feed.go_on();
            }
            Fault::KeyRotated { .. } => servers.fetch_keys(),
            _ => {}
        }
    }

    /// Undoes what faults without a length of their own have left.
    pub fn mend(&self) {
        self.servers.mend();
    }

    fn outage(&self) -> &Outage {
        self.servers.outage.as_ref().expect("the plan holds such a fault")
    }

    /// A transaction of the server's own.
    fn write(&self, intents: &[Intent]) {
        let now_us = EPOCH_US + self.recorder.now_us();
        let store = &self.feed.store;
        let is_complete = |statement: &Statement| statement.names.iter().all(|(table, id)| store.row(*table, id).is_some());
        let written = statements(&self.servers.system.app, &self.plan, intents, now_us).and_then(|mut statements| {
            statements.retain(is_complete);
            let ops: Vec<ServerOp> = statements.into_iter().map(|statement| statement.op).collect();
            store.server_transaction(now_us, &ops).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            self.recorder.record_harness_failure(format!("a server-side write: {error}"));
        }
        self.feed.pump();
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
        for table in 0..self.servers.system.app.schema.tables.len() {
            for (id, row) in self.feed.store.rows(table) {
                rows.push((self.recorder.row(table, &id), Some(row)));
            }
        }
        rows.sort_by_key(|(row, _)| *row);
        self.recorder.add(Who::Server, What::Read { scope: Scope::Final, rows });
    }
}

impl World {
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
            self.recorder.record_harness_failure(format!("the seed rows: {error}"));
        }
        self.feed.pump();
    }
}

impl Feed {
    fn hold(&self) {
        self.stalls.set(self.stalls.get() + 1);
    }

    fn go_on(self: &Rc<Self>) {
        self.stalls.set(self.stalls.get().saturating_sub(1));
        self.pump();
    }

    /// The slot goes, and what it held back for the service.
    fn lose_slot(&self) {
        self.lost.set(self.lost.get() + 1);
        self.waiting.borrow_mut().clear();
        self.parts.borrow_mut().clear();
        *self.remembered.borrow_mut() = self.seams.remembered(&|| self.rows());
    }

    /// There is a slot again, and with it a snapshot is due.
    fn make_slot(self: &Rc<Self>) {
        self.lost.set(self.lost.get().saturating_sub(1));
        self.wants_snapshot.set(true);
        self.pump();
    }

    /// What is due before the next transaction.
    fn catch_up(&self) {
        let service = self.service.borrow();
        let Some(service) = &*service else { return };
        if self.wants_snapshot.take() {
            self.waiting.borrow_mut().clear();
            let rows = self.seams.snapshot(self.rows(), &self.remembered.borrow());
            service.apply_snapshot(self.seams.head(self.store.last_seq()), rows);
        }
        if self.wants_compaction.take() {
            service.compact();
            if let Some(rows) = self.seams.compacted(&|| self.rows()) {
                service.apply_snapshot(service.storage().replicated_lsn(), rows);
            }
        }
    }

    fn compact(self: &Rc<Self>) {
        self.wants_compaction.set(true);
        self.pump();
    }

    /// All rows of the database, by table and id.
    fn rows(&self) -> Rows {
        self.store.snapshot().into_iter().map(|table| table.into_iter().collect()).collect()
    }

    /// Reads new commits into the history, and hands on what replication may deliver now.
    fn pump(self: &Rc<Self>) {
        self.pump_from(None);
    }

    /// The same; `sender`: the device whose request the backend has just handled.
    fn pump_from(self: &Rc<Self>, sender: Option<u32>) {
        for commit in self.store.commits_from(self.read.get() + 1) {
            self.read.set(commit.seq);
            self.recorder.add(Who::Server, What::Commit(self.teller.commit(&commit, sender)));
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
            if self.lost.get() == 0 {
                self.waiting.borrow_mut().push_back(SourceTransaction { lsn: commit.seq, changes });
            }
        }
        if self.stalls.get() > 0 || self.lost.get() > 0 {
            return;
        }
        self.catch_up();
        while self.service.borrow().is_some() {
            if self.parts.borrow().is_empty() {
                let Some(transaction) = self.waiting.borrow_mut().pop_front() else { return };
                self.parts.borrow_mut().extend(self.seams.replicated(transaction));
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
