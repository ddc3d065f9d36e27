//! The one writer: a thread that takes jobs, makes each group of them durable in one commit, and only then shows it
//! to clients and says so to the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fixtures::{Row, Schema};
use tokio::sync::{mpsc, oneshot, watch};

use super::resync::difference;
use super::store::{Store, StoreError, Sync};
use crate::bucket::Body;
use crate::replication::ReplicaIdentity;
use crate::replication::logged::{Completer, LoggedTransaction};
use crate::replication::memory::Replicator;
use crate::service::{Config, Service};
use crate::storage::{Generation, SourceRow, Staged, StagedLookup, State, Storage};
use crate::sync_config::query::ParameterQuery;
use crate::sync_config::{ConfigError, SyncConfig};

/// How many jobs become durable together at most.
const GROUP_MAX: usize = 512;
/// How many jobs may wait before those who bring more have to.
const QUEUE: usize = 2048;

/// The tables of a source, as the engine sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The tables.
    pub schema: Arc<Schema>,
    /// In the schema's order.
    pub identities: Vec<ReplicaIdentity>,
    /// Columns of bytes, as (table, column).
    pub blobs: Vec<(usize, usize)>,
    /// All of it as the source's own text: two layouts are the same when their texts are.
    pub text: String,
}

/// Everything that a source holds at one position.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The tables.
    pub layout: Layout,
    /// Which cluster and database this is.
    pub source: String,
    /// The position.
    pub lsn: u64,
    /// The rows, by table and key.
    pub rows: Vec<BTreeMap<Arc<str>, Row>>,
}

/// What an engine needs to know.
pub struct Settings {
    /// The sync configuration's text.
    pub sync_config: String,
    /// Makes a service's configuration for these tables.
    pub configure: Box<dyn Fn(Arc<Schema>, Arc<SyncConfig>, Vec<ReplicaIdentity>) -> Config + Send>,
    /// Reads [`Layout::text`]; `None` when it is of no use any more.
    pub layout_of: Box<dyn Fn(&str) -> Option<Layout> + Send>,
}

/// The service that answers now, if one does.
#[derive(Clone, Debug, Default)]
pub struct Current(Arc<Mutex<Option<Service>>>);

/// How far the store is, for the source to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Everything up to this position of the source is durable.
    pub lsn: u64,
    /// What came with this epoch or an earlier one was not taken: the source must be read again from `lsn`.
    pub broken: u64,
    /// A new snapshot is needed to go on.
    pub resync: bool,
}

/// Where a store stands when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The position; `None` when there was never a snapshot.
    pub lsn: Option<u64>,
    /// Which cluster and database it follows.
    pub source: String,
    /// The tables' text, see [`Layout::text`].
    pub layout: String,
    /// A new snapshot is needed to go on.
    pub resync: bool,
}

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sync configuration asks for what the tables do not have.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is nothing to work on before the first snapshot.
    #[error("there was no snapshot yet")]
    NotReady,
    /// The engine has ended.
    #[error("the store is closed")]
    Closed,
}

type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

#[derive(Debug)]
enum Job {
    Transaction { epoch: u64, transaction: LoggedTransaction },
    Position { epoch: u64, lsn: u64 },
    WriteCheckpoint { client: String, requested: Option<u64>, head: u64, reply: Reply<u64> },
    BeginResync { reply: Reply<()> },
    Resync { snapshot: Box<Snapshot>, reply: Reply<ResyncReport> },
    Compact { reply: Reply<u64> },
    Standing { reply: Reply<Standing> },
    Close { reply: Reply<()> },
}

/// What a new snapshot changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResyncReport {
    /// How many rows it holds.
    pub rows: usize,
    /// How many operations it took.
    pub ops: usize,
}

/// What others have of an engine: they hand it jobs.
#[derive(Clone, Debug)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
    durable: watch::Receiver<Durable>,
    current: Current,
}

/// The writer.
struct Engine {
    store: Store,
    settings: Settings,
    current: Current,
    durable: watch::Sender<Durable>,
    /// The generations that the store holds.
    stored: BTreeSet<u32>,
    standing: Standing,
}

impl Current {
    /// The service.
    #[must_use]
    pub fn get(&self) -> Option<Service> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, service: Service) -> Option<Service> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(service)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// Opens a store and starts its writer. When the store has what a service needs, one answers from now on.
///
/// Must be called within a tokio runtime. The thread ends, and is joined by whoever wants to know, once all handles
/// are gone.
///
/// # Errors
/// When the store cannot be used, or the writer could not be started.
pub fn start(path: &Path, sync: Sync, settings: Settings) -> Result<(Handle, std::thread::JoinHandle<()>), StoreError> {
    let store = Store::open(path, sync)?;
    let current = Current::default();
    let (durable, seen) = watch::channel(Durable::default());
    let mut engine = Engine {
        store,
        settings,
        current: current.clone(),
        durable,
        stored: BTreeSet::new(),
        standing: Standing::default(),
    };
    engine.load()?;
    let (jobs, queue) = mpsc::channel(QUEUE);
    let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || engine.run(queue))?;
    Ok((Handle { jobs, durable: seen, current }, thread))
}

impl Handle {
    /// The service that answers now.
    #[must_use]
    pub fn current(&self) -> &Current {
        &self.current
    }

    /// How far the store is; changes are seen.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.clone()
    }

    /// Hands a transaction over. What becomes of it, [`Self::durable`] tells.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn transaction(&self, epoch: u64, transaction: LoggedTransaction) -> Result<(), EngineError> {
        self.jobs.send(Job::Transaction { epoch, transaction }).await.map_err(|_| EngineError::Closed)
    }

    /// Says that the source has nothing more up to a position.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn position(&self, epoch: u64, lsn: u64) -> Result<(), EngineError> {
        self.jobs.send(Job::Position { epoch, lsn }).await.map_err(|_| EngineError::Closed)
    }

    /// Stores a write checkpoint, see [`crate::service::Backing::write_checkpoint`].
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn write_checkpoint(&self, client: &str, requested: Option<u64>, head: u64) -> Result<u64, EngineError> {
        self.ask(|reply| Job::WriteCheckpoint { client: client.to_owned(), requested, head, reply }).await
    }

    /// Notes durably that a new snapshot is under way: without it the store cannot go on.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn begin_resync(&self) -> Result<(), EngineError> {
        self.ask(|reply| Job::BeginResync { reply }).await
    }

    /// Takes over a new snapshot.
    ///
    /// # Errors
    /// When the sync configuration does not fit its tables, or it could not be made durable.
    pub async fn resync(&self, snapshot: Snapshot) -> Result<ResyncReport, EngineError> {
        self.ask(|reply| Job::Resync { snapshot: Box::new(snapshot), reply }).await
    }

    /// Compacts all buckets; how many operations were replaced.
    ///
    /// # Errors
    /// When it could not be written down; clients do not notice.
    pub async fn compact(&self) -> Result<u64, EngineError> {
        self.ask(|reply| Job::Compact { reply }).await
    }

    /// Where the store stands.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn standing(&self) -> Result<Standing, EngineError> {
        self.ask(|reply| Job::Standing { reply }).await
    }

    /// Ends the engine: what was handed over before is done.
    ///
    /// # Errors
    /// When it has ended before.
    pub async fn close(&self) -> Result<(), EngineError> {
        self.ask(|reply| Job::Close { reply }).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| EngineError::Closed)?;
        answer.await.map_err(|_| EngineError::Closed)?
    }
}

impl Engine {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while let Some(next) = (group.len() < GROUP_MAX).then(|| queue.try_recv().ok()).flatten() {
                group.push(next);
            }
            let mut together = Vec::new();
            for job in group {
                match job {
                    Job::Transaction { .. } | Job::Position { .. } | Job::WriteCheckpoint { .. } => together.push(job),
                    Job::Close { reply } => {
                        self.write(std::mem::take(&mut together));
                        drop(reply.send(Ok(())));
                        return;
                    }
                    alone => {
                        self.write(std::mem::take(&mut together));
                        self.work(alone);
                    }
                }
            }
            self.write(together);
        }
    }

    fn work(&mut self, job: Job) {
        // Who asked may be gone by now; the work is done all the same.
        match job {
            Job::BeginResync { reply } => {
                self.standing.resync = true;
                let result = self.store.commit(|writing| writing.meta("resync", 1));
                drop(reply.send(result.map_err(EngineError::from)));
            }
            Job::Resync { snapshot, reply } => drop(reply.send(self.resync(*snapshot))),
            Job::Compact { reply } => drop(reply.send(self.compact())),
            Job::Standing { reply } => drop(reply.send(Ok(self.standing.clone()))),
            Job::Transaction { .. } | Job::Position { .. } | Job::WriteCheckpoint { .. } | Job::Close { .. } => {
                unreachable!("these are done elsewhere")
            }
        }
    }

    /// Starts a service from what the store holds, if that is enough.
    fn load(&mut self) -> Result<(), StoreError> {
        let found = self.store.standing()?;
        self.standing = Standing {
            lsn: found.lsn,
            source: found.source.clone(),
            layout: found.catalog.clone(),
            resync: found.resync,
        };
        let generations = self.store.generations()?;
        self.stored = generations.iter().map(|generation| generation.number).collect();
        let durable = Durable { lsn: found.lsn.unwrap_or(0), broken: 0, resync: found.resync };
        self.durable.send_replace(durable);
        let (Some(lsn), Some(layout)) = (found.lsn, (self.settings.layout_of)(&found.catalog)) else {
            return Ok(());
        };
        let wanted = match parse(&self.settings.sync_config, &layout) {
            Ok(wanted) => Arc::new(wanted),
            Err(error) => {
                tracing::warn!(%error, "the sync config does not fit the tables as they were; waiting for the source");
                return Ok(());
            }
        };
        let mut state = State { last_op_id: found.last_op_id, replicated_lsn: lsn, ..State::default() };
        state.rows = self.store.rows(layout.schema.tables.len())?;
        for (client, counter, head) in self.store.write_checkpoints()? {
            state.write_checkpoints.set(&client, counter, head);
        }
        for stored in generations {
            let config = if stored.config == *wanted.text {
                Arc::clone(&wanted)
            } else {
                match parse(&stored.config, &layout) {
                    Ok(config) => Arc::new(config),
                    Err(_) => continue,
                }
            };
            let mut generation = Generation::new(stored.number, config);
            generation.buckets = stored.buckets;
            index(&mut generation, &state.rows);
            let place = if stored.number == found.active { &mut state.active } else { &mut state.next };
            *place = Some(generation);
        }
        if state.active.is_none() {
            return Ok(());
        }
        let config = (self.settings.configure)(layout.schema, wanted, layout.identities);
        let service = Service::new(config, Storage::of(state));
        self.current.set(service);
        self.write(Vec::new());
        Ok(())
    }

    /// Makes a group of jobs durable and shows it.
    fn write(&mut self, jobs: Vec<Job>) {
        let Some(service) = self.current.get() else {
            for job in jobs {
                match job {
                    Job::WriteCheckpoint { reply, .. } => drop(reply.send(Err(EngineError::NotReady))),
                    Job::Transaction { epoch, .. } | Job::Position { epoch, .. } => self.give_up(epoch, false),
                    _ => {}
                }
            }
            return;
        };
        let broken = self.durable.borrow().broken;
        let mut written = Written::default();
        let (staged, before) = {
            let state = service.storage().lock();
            let mut staged = Staged::after(&state);
            let before = staged.replicated_lsn;
            let mut completer = Completer::new(&state);
            for job in jobs {
                match job {
                    Job::Transaction { epoch, transaction } => {
                        let lost = epoch <= broken || written.gap.is_some_and(|gap| gap == epoch);
                        if lost || transaction.lsn <= staged.replicated_lsn {
                            continue;
                        }
                        written.epoch = written.epoch.max(epoch);
                        match completer.complete(transaction) {
                            Ok(transaction) => service.replicator().stage(&state, &transaction, &mut staged),
                            Err(gap) => {
                                tracing::error!(%gap, "what is stored and what the source says do not fit; a new snapshot is needed");
                                written.gap = Some(epoch);
                            }
                        }
                    }
                    Job::Position { epoch, lsn } => {
                        if epoch > broken && written.gap.is_none() {
                            written.epoch = written.epoch.max(epoch);
                            written.save_position = true;
                            staged.replicated_lsn = staged.replicated_lsn.max(lsn);
                        }
                    }
                    Job::WriteCheckpoint { client, requested, head, reply } => {
                        let latest = written
                            .checkpoints
                            .get(&client)
                            .copied()
                            .or_else(|| state.write_checkpoints.latest(&client));
                        let known = latest.map_or(0, |(counter, _)| counter);
                        let counter = requested.unwrap_or(known + 1);
                        if counter > known {
                            written.checkpoints.insert(client, (counter, head));
                        }
                        written.replies.push((reply, counter.max(known)));
                    }
                    _ => unreachable!("only what is written together"),
                }
            }
            (staged, before)
        };
        if let Err(error) = self.save(&service, &staged, &written) {
            tracing::error!(%error, "the store could not be written");
            for (reply, _) in written.replies {
                drop(reply.send(Err(EngineError::NotReady)));
            }
            self.give_up(written.epoch, false);
            return;
        }
        let saved = written.saves(&staged);
        let lsn = staged.replicated_lsn;
        if lsn != before || !staged.ops.is_empty() || !staged.rows.is_empty() || !written.checkpoints.is_empty() {
            let mut state = service.storage().lock();
            staged.commit(&mut state);
            for (client, (counter, head)) in &written.checkpoints {
                state.write_checkpoints.set(client, *counter, *head);
            }
            drop(state);
            service.0.changes.raise();
        }
        if saved {
            self.standing.lsn = Some(lsn);
            self.durable.send_modify(|durable| durable.lsn = lsn);
        }
        for (reply, counter) in written.replies {
            drop(reply.send(Ok(counter)));
        }
        if let Some(epoch) = written.gap {
            self.standing.resync = true;
            self.give_up(epoch, true);
        }
    }

    /// Writes to the store what the state will become.
    fn save(&mut self, service: &Service, staged: &Staged, written: &Written) -> Result<(), StoreError> {
        let state = service.storage().lock();
        let generations: Vec<&Generation> = state.active.iter().chain(&state.next).collect();
        let numbers: BTreeSet<u32> = generations.iter().map(|generation| generation.number).collect();
        let active = state.active.as_ref().map_or(0, |active| active.number);
        let moved = numbers != self.stored;
        if !moved && !written.saves(staged) {
            return Ok(());
        }
        if !moved {
            // Nothing but this thread adds to the state: the lock is not held while the disk is waited for.
            drop(state);
            return self.store.commit(|writing| written.put(staged, writing));
        }
        // A generation came or went, which is rare.
        let stored = self.stored.clone();
        self.store.commit(|writing| {
            for generation in generations.iter().filter(|generation| !stored.contains(&generation.number)) {
                writing.generation(generation.number, &generation.config.text)?;
                for (name, bucket) in &generation.buckets {
                    writing.bucket(generation.number, name, bucket)?;
                }
            }
            written.put(staged, writing)?;
            writing.meta("active", active)?;
            writing.meta("last_op_id", staged.last_op_id.cast_signed())?;
            let kept: Vec<u32> = numbers.iter().copied().collect();
            writing.keep_generations(&kept)
        })?;
        self.stored = numbers;
        Ok(())
    }

    /// Takes nothing more of an epoch: the source must be read again.
    fn give_up(&self, epoch: u64, resync: bool) {
        self.durable.send_modify(|durable| {
            durable.broken = durable.broken.max(epoch);
            durable.resync |= resync;
        });
    }

    fn resync(&mut self, snapshot: Snapshot) -> Result<ResyncReport, EngineError> {
        let Snapshot { layout, source, lsn, rows } = snapshot;
        let wanted = Arc::new(parse(&self.settings.sync_config, &layout)?);
        let config =
            (self.settings.configure)(Arc::clone(&layout.schema), Arc::clone(&wanted), layout.identities.clone());
        let replicator = Replicator::new(Arc::clone(&layout.schema), &layout.identities);
        let old = self.current.get();
        let (mut last_op_id, active) = match &old {
            Some(service) => {
                let state = service.storage().lock();
                (state.last_op_id, state.active.as_ref().map(|active| (active.number, active.config.text.clone())))
            }
            None => (self.store.standing()?.last_op_id, None),
        };
        // Buckets whose rules are the same are brought up to date; others begin anew under another name.
        let same = active.as_ref().is_some_and(|(_, text)| *text == wanted.text);
        let number = match &active {
            Some((number, _)) if same => *number,
            _ => self.stored.last().map_or(config.bucket_prefix, |newest| newest + 1),
        };
        let mut fresh = State { rows: replicator.identified(rows), ..State::default() };
        fresh.last_op_id = if same { 0 } else { last_op_id };
        let want = replicator.snapshot(&mut fresh, Generation::new(number, Arc::clone(&wanted)));
        let row_count = fresh.rows.iter().map(BTreeMap::len).sum();
        let ops = match old.as_ref().filter(|_| same) {
            Some(service) => {
                let state = service.storage().lock();
                let have = state.active.as_ref().expect("its number was read a moment ago");
                difference(have, &want, &mut last_op_id)
            }
            None => {
                last_op_id = fresh.last_op_id;
                Vec::new()
            }
        };
        let op_count = if same { ops.len() } else { want.buckets.values().map(crate::bucket::Bucket::count).sum() };
        // Positions of another cluster mean nothing here.
        let heads: Vec<(String, u64, u64)> = match &old {
            Some(service) if source != self.standing.source => {
                let state = service.storage().lock();
                state.write_checkpoints.iter().map(|(client, counter, _)| (client.to_owned(), counter, lsn)).collect()
            }
            Some(_) => Vec::new(),
            None => {
                let stored = self.store.write_checkpoints()?;
                let other = source != self.standing.source;
                stored
                    .into_iter()
                    .map(|(client, counter, head)| (client, counter, if other { lsn } else { head }))
                    .collect()
            }
        };
        self.store.commit(|writing| {
            writing.forget_rows()?;
            for (table, rows) in fresh.rows.iter().enumerate() {
                for (id, row) in rows {
                    writing.row(table, id, Some(row))?;
                }
            }
            for op in &ops {
                writing.op(op)?;
            }
            writing.generation(number, &wanted.text)?;
            if !same {
                for (name, bucket) in &want.buckets {
                    writing.bucket(number, name, bucket)?;
                }
            }
            writing.keep_generations(&[number])?;
            for (client, counter, head) in &heads {
                writing.write_checkpoint(client, *counter, *head)?;
            }
            writing.meta("active", number)?;
            writing.meta("source", &source)?;
            writing.meta("catalog", &layout.text)?;
            writing.meta("resync", 0)?;
            writing.position(lsn, last_op_id)
        })?;
        self.stored = BTreeSet::from([number]);
        let unchanged = same && self.standing.layout == layout.text;
        let storage = match &old {
            Some(service) => {
                let mut state = service.storage().lock();
                match state.active.as_mut().filter(|_| same) {
                    Some(active) => {
                        active.config = wanted;
                        active.lookups = want.lookups;
                        active.lookups_version += 1;
                        for op in ops {
                            active.push(op);
                        }
                    }
                    None => state.active = Some(want),
                }
                state.next = None;
                state.rows = fresh.rows;
                state.last_op_id = last_op_id;
                state.replicated_lsn = lsn;
                for (client, counter, head) in &heads {
                    state.write_checkpoints.set(client, *counter, *head);
                }
                state.version += 1;
                service.storage().clone()
            }
            None => {
                fresh.active = Some(want);
                fresh.replicated_lsn = lsn;
                for (client, counter, head) in &heads {
                    fresh.write_checkpoints.set(client, *counter, *head);
                }
                Storage::of(fresh)
            }
        };
        match old {
            Some(service) if unchanged => service.0.changes.raise(),
            // The tables or the rules are others: whoever is connected comes back to a service that knows them.
            _ => {
                if let Some(old) = self.current.set(Service::new(config, storage)) {
                    old.stop();
                }
            }
        }
        self.standing = Standing { lsn: Some(lsn), source, layout: layout.text, resync: false };
        self.durable.send_modify(|durable| {
            durable.lsn = lsn;
            durable.resync = false;
        });
        Ok(ResyncReport { rows: row_count, ops: op_count })
    }

    fn compact(&mut self) -> Result<u64, EngineError> {
        let Some(service) = self.current.get() else {
            return Ok(0);
        };
        let storage = service.storage();
        let names: Vec<(u32, Arc<str>)> = {
            let state = storage.lock();
            let all =
                state.active.iter().flat_map(|active| active.buckets.keys().map(|name| (active.number, name.clone())));
            all.collect()
        };
        let mut replaced = 0;
        for (number, name) in names {
            // In memory first: sums and ids stay, so that nothing is lost if it never reaches the disk.
            let (before, after) = {
                let mut state = storage.lock();
                let Some(active) = state.active.as_mut().filter(|active| active.number == number) else { break };
                let Some(bucket) = active.buckets.get_mut(&name) else { continue };
                let before: BTreeMap<u64, bool> =
                    bucket.range(0, u64::MAX).iter().map(|op| (op.op_id, matches!(op.body, Body::Row(_)))).collect();
                bucket.compact();
                let after: Vec<_> =
                    bucket.range(0, u64::MAX).iter().filter(|op| !matches!(op.body, Body::Row(_))).cloned().collect();
                let first = bucket.range(0, u64::MAX).first().map_or(0, |op| op.op_id);
                let gone: Vec<u64> = before.range(..first).map(|(op_id, _)| *op_id).collect();
                let changed: Vec<_> = after
                    .into_iter()
                    .filter(|op| before.get(&op.op_id) == Some(&true) || (op.op_id == first && !gone.is_empty()))
                    .collect();
                (gone, changed)
            };
            if before.is_empty() && after.is_empty() {
                continue;
            }
            replaced += (before.len() + after.len()) as u64;
            self.store.commit(|writing| {
                for op_id in &before {
                    writing.forget_op(*op_id)?;
                }
                after.iter().try_for_each(|op| writing.compacted(number, &name, op))
            })?;
        }
        Ok(replaced)
    }
}

/// What a group of jobs comes to, beside the operations.
#[derive(Default)]
struct Written {
    /// (counter, head) by client.
    checkpoints: BTreeMap<String, (u64, u64)>,
    replies: Vec<(Reply<u64>, u64)>,
    /// The greatest epoch of the group.
    epoch: u64,
    /// The epoch of which a transaction does not fit.
    gap: Option<u64>,
    save_position: bool,
}

impl Written {
    /// Whether there is anything to write. A position alone, of a transaction that concerns nobody, can wait.
    fn saves(&self, staged: &Staged) -> bool {
        self.save_position
            || self.gap.is_some()
            || !self.checkpoints.is_empty()
            || !staged.rows.is_empty()
            || !staged.ops.is_empty()
    }

    fn put(&self, staged: &Staged, writing: &mut super::store::Writing<'_>) -> Result<(), rusqlite::Error> {
        for op in &staged.ops {
            writing.op(op)?;
        }
        for (table, id, row) in &staged.rows {
            writing.row(*table, id, row.as_ref())?;
        }
        for (client, (counter, head)) in &self.checkpoints {
            writing.write_checkpoint(client, *counter, *head)?;
        }
        if self.gap.is_some() {
            writing.meta("resync", 1)?;
        }
        writing.position(staged.replicated_lsn, staged.last_op_id)
    }
}

fn parse(text: &str, layout: &Layout) -> Result<SyncConfig, ConfigError> {
    let mut config = SyncConfig::parse(text, &layout.schema)?;
    config.leave_out(&layout.blobs, &layout.schema)?;
    Ok(config)
}

/// Fills the parameter index from the rows.
fn index(generation: &mut Generation, rows: &[BTreeMap<Arc<str>, SourceRow>]) {
    let config = Arc::clone(&generation.config);
    for (table, queries) in config.lookups_by_table.iter().enumerate() {
        for (definition, query) in queries {
            let ParameterQuery::Lookup(lookup) = &config.definitions[*definition].parameters[*query] else {
                unreachable!("only queries with FROM are listed by table");
            };
            for (id, known) in rows.get(table).into_iter().flatten() {
                generation.look_up(StagedLookup {
                    generation: generation.number,
                    query: (*definition, *query),
                    id: id.clone(),
                    before: Default::default(),
                    after: lookup.index_entry(id, &known.row, config.time_format),
                });
            }
        }
    }
}
