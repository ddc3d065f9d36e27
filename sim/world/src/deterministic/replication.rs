//! From the store to the history and to the service: what PostgreSQL's logical replication does elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use backend::store::memory::MemoryStore;
use sim_core::history::{What, Who};
use sim_device::recorder::Recorder;
use sim_network::RequestTag;
use sim_service::changes::{RowChange, SourceTransaction};
use sim_service::service::Service;
use sim_service::storage::Storage;

use crate::seams::{Rows, Seams};
use crate::translator::Translator;

/// How long the next part of a transaction takes where it is delivered in parts.
const BETWEEN_PARTS: Duration = Duration::from_millis(20);

/// Hands commits of the store on, as far as faults let it.
pub(super) struct Replication {
    translator: Rc<Translator>,
    recorder: Recorder,
    store: MemoryStore,
    seams: Arc<dyn Seams>,
    storage: Storage,
    /// `None` while it is down.
    service: RefCell<Option<Service>>,
    /// The last commit that was read.
    read: Cell<u64>,
    waiting: RefCell<VecDeque<SourceTransaction>>,
    /// Parts of one transaction that are still to be delivered; none where transactions are delivered whole.
    parts: RefCell<VecDeque<SourceTransaction>>,
    /// How many faults stall replication.
    stalls: Cell<u32>,
    /// How many faults keep the service without a slot. It never sees what commits meanwhile.
    slot_losses: Cell<u32>,
    /// Whether replication begins again with a snapshot.
    wants_snapshot: Cell<bool>,
    /// What is remembered of the database from when the slot was lost.
    remembered: RefCell<Rows>,
    /// Whether the service compacts when it comes up.
    wants_compaction: Cell<bool>,
}

impl Replication {
    pub(super) fn new(
        translator: Rc<Translator>,
        recorder: Recorder,
        store: MemoryStore,
        seams: Arc<dyn Seams>,
    ) -> Rc<Self> {
        Rc::new(Self {
            translator,
            recorder,
            store,
            seams,
            storage: Storage::new(),
            service: RefCell::new(None),
            read: Cell::new(0),
            waiting: RefCell::default(),
            parts: RefCell::default(),
            stalls: Cell::new(0),
            slot_losses: Cell::new(0),
            wants_snapshot: Cell::new(false),
            remembered: RefCell::default(),
            wants_compaction: Cell::new(false),
        })
    }

    /// The bucket storage, which outlives the service.
    pub(super) fn storage(&self) -> Storage {
        self.storage.clone()
    }

    /// The service comes up, or goes down.
    pub(super) fn set_service(self: &Rc<Self>, service: Option<Service>) {
        let is_up = service.is_some();
        *self.service.borrow_mut() = service;
        if is_up {
            self.run(None);
        }
    }

    /// Does something with the service, if it is up.
    pub(super) fn with_service(&self, act: impl FnOnce(&Service)) {
        if let Some(service) = &*self.service.borrow() {
            act(service);
        }
    }

    pub(super) fn stall(&self) {
        self.stalls.set(self.stalls.get() + 1);
    }

    /// One fault fewer stalls it.
    pub(super) fn unstall(self: &Rc<Self>) {
        self.stalls.set(self.stalls.get().saturating_sub(1));
        self.run(None);
    }

    /// The slot is dropped, with what it held back for the service.
    pub(super) fn drop_slot(&self) {
        self.slot_losses.set(self.slot_losses.get() + 1);
        self.waiting.borrow_mut().clear();
        self.parts.borrow_mut().clear();
        *self.remembered.borrow_mut() = self.seams.remembered(&|| self.rows());
    }

    /// There is a slot again, and a snapshot is due.
    pub(super) fn make_slot(self: &Rc<Self>) {
        self.slot_losses.set(self.slot_losses.get().saturating_sub(1));
        self.wants_snapshot.set(true);
        self.run(None);
    }

    pub(super) fn compact(self: &Rc<Self>) {
        self.wants_compaction.set(true);
        self.run(None);
    }

    /// Applies a snapshot or a compaction that waits for the service, before the next transaction.
    fn apply_pending(&self) {
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

    /// All rows of the database, by table and id.
    fn rows(&self) -> Rows {
        self.store.snapshot().into_iter().map(|table| table.into_iter().collect()).collect()
    }

    /// Reads new commits into the history, and delivers to the service what it may see now. `sent` is the request that
    /// has just been handled.
    pub(super) fn run(self: &Rc<Self>, sent: Option<RequestTag>) {
        for commit in self.store.commits_from(self.read.get() + 1) {
            self.read.set(commit.seq);
            self.recorder.add(Who::Server, What::Commit(self.translator.commit(&commit, sent, false)));
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
            if self.slot_losses.get() == 0 {
                self.waiting.borrow_mut().push_back(SourceTransaction { lsn: commit.seq, changes });
            }
        }
        if self.stalls.get() > 0 || self.slot_losses.get() > 0 {
            return;
        }
        self.apply_pending();
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
                let replication = self.clone();
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(BETWEEN_PARTS).await;
                    replication.run(None);
                });
                return;
            }
        }
    }
}
