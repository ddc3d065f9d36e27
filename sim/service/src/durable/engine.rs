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

/// Makes a service's configuration for these tables.
pub type Configure = Box<dyn Fn(Arc<Schema>, Arc<SyncConfig>, Vec<ReplicaIdentity>) -> Config + Send>;
/// Reads [`Layout::text`]; `None` when it is of no use any more.
pub type LayoutOf = Box<dyn Fn(&str) -> Option<Layout> + Send>;

/// What an engine needs to know.
pub struct Settings {
    /// The sync configuration's text.
    pub sync_config: String,
    /// Makes a service's configuration for these tables.
    pub configure: Configure,
    /// Reads a stored layout.
    pub layout_of: LayoutOf,
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
    awaited: Arc<watch::Sender<u64>>,
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
    let awaited = Arc::new(watch::Sender::new(0));
    Ok((Handle { jobs, durable: seen, awaited, current }, thread))
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

    /// The greatest position that a write checkpoint waits for; changes are seen.
    #[must_use]
    pub fn awaited(&self) -> watch::Receiver<u64> {
        self.awaited.subscribe()
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
        self.awaited.send_if_modified(|awaited| std::mem::replace(awaited, head.max(*awaited)) < head);
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

#[cfg(test)]
mod tests {
    use fixtures::{Column, Default as ColumnDefault, Table, Type, Value};

    use super::*;
    use crate::auth::Keys;
    use crate::replication::memory::{Feed, FeedEnded};
    use crate::replication::pump::{Progress, PumpError, pump};
    use crate::replication::{RowChange, SourceTransaction};
    use crate::service::Clock;

    const RULES: &str = "bucket_definitions:
  all: {data: SELECT * FROM boxes}
  owned:
    parameters: SELECT owner FROM boxes WHERE id = request.user_id()
    data: SELECT * FROM boxes WHERE owner = bucket.owner
";

    fn layout() -> Layout {
        let column = Column { name: "owner".into(), ty: Type::Text, not_null: false, default: ColumnDefault::Null };
        let table = Table { name: "boxes".into(), columns: vec![column], unique: Vec::new() };
        let schema = Arc::new(Schema { tables: vec![table] });
        Layout { schema, identities: vec![ReplicaIdentity::Full], blobs: Vec::new(), text: "layout".into() }
    }

    fn config(schema: Arc<Schema>, rules: Arc<SyncConfig>, identities: Vec<ReplicaIdentity>) -> Config {
        let config = Config::new(schema, rules, Keys::default(), Vec::new(), Arc::new(|| 0), Arc::new(|| 0));
        Config { replica_identity: identities, ..config }
    }

    fn settings(rules: &str) -> Settings {
        Settings {
            sync_config: rules.to_owned(),
            configure: Box::new(config),
            layout_of: Box::new(|text| (text == "layout").then(layout)),
        }
    }

    fn row(owner: &str) -> Row {
        [Value::text(owner)].into_iter().collect()
    }

    fn snapshot(lsn: u64, rows: &[(&str, &str)]) -> Snapshot {
        let rows = rows.iter().map(|(id, owner)| (Arc::from(*id), row(owner))).collect();
        Snapshot { layout: layout(), source: "source".into(), lsn, rows: vec![rows] }
    }

    fn change(id: &str, before: Option<&str>, after: Option<&str>) -> RowChange {
        RowChange { table: 0, id: id.into(), before: before.map(row), after: after.map(row) }
    }

    fn transactions() -> Vec<SourceTransaction> {
        let all = [
            vec![change("a", None, Some("red")), change("b", None, Some("blue"))],
            vec![change("a", Some("red"), Some("blue")), change("c", None, Some("red"))],
            vec![change("b", Some("blue"), None)],
        ];
        let numbered = all.into_iter().enumerate();
        numbered.map(|(index, changes)| SourceTransaction { lsn: 10 * (index as u64 + 1), changes }).collect()
    }

    /// Buckets, index and position, as far as clients can tell.
    fn picture(service: &Service) -> String {
        let state = service.storage().lock();
        let active = state.active.as_ref().expect("a generation is active");
        let mut ops = String::new();
        for (name, bucket) in &active.buckets {
            for op in bucket.range(0, u64::MAX) {
                ops.push_str(name);
                op.write(&mut ops);
                ops.push('\n');
            }
        }
        let rows: Vec<_> = state.rows.iter().flatten().map(|(id, known)| (id, &known.row, known.subkey)).collect();
        let lookups = active.lookups.values().map(|lookup| &lookup.entries).collect::<Vec<_>>();
        format!("{ops}{lookups:?}{rows:?}{} {}", state.last_op_id, state.replicated_lsn)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    async fn fed(handle: &Handle, epoch: u64, transactions: Vec<SourceTransaction>) {
        let last = transactions.last().map_or(0, |transaction| transaction.lsn);
        let (sender, feed) = Feed::new();
        transactions.into_iter().for_each(|one| sender.send(one).expect("the feed is there"));
        let mut durable = handle.durable();
        let (progress, clock): (Progress, Clock) = (Progress::default(), Arc::new(|| 0));
        let until = async move {
            durable.wait_for(|durable| durable.lsn >= last).await.expect("the engine runs");
            drop(sender);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            ended = pump(feed, handle, epoch, &progress, &clock) => {
                assert!(matches!(ended, Err(PumpError::Source(FeedEnded))), "{ended:?}");
            }
            () = until => {}
        }
    }

    #[test]
    fn what_is_stored_is_what_memory_would_hold() {
        runtime().block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("store");
            let rules = Arc::new(parse(RULES, &layout()).expect("good rules"));
            let memory = Service::new(config(layout().schema, rules, layout().identities), Storage::new());
            transactions().iter().for_each(|one| memory.replicate(one));

            let (handle, thread) = start(&path, Sync::Process, settings(RULES)).expect("a new store");
            assert!(handle.current().get().is_none());
            handle.resync(snapshot(1, &[])).await.expect("an empty snapshot");
            fed(&handle, 1, transactions()).await;
            assert_eq!(handle.write_checkpoint("u/c", None, 5).await.expect("stored"), 1);
            assert_eq!(handle.write_checkpoint("u/c", Some(9), 5).await.expect("stored"), 9);
            let stored = picture(&handle.current().get().expect("there was a snapshot"));
            assert_eq!(stored, picture(&memory));
            // What was delivered before is not taken twice.
            fed(&handle, 2, transactions()).await;
            assert_eq!(picture(&handle.current().get().expect("it is still there")), stored);
            handle.close().await.expect("it was open");
            thread.join().expect("the writer does not panic");

            let (handle, thread) = start(&path, Sync::Process, settings(RULES)).expect("its own store");
            let service = handle.current().get().expect("it needs no snapshot");
            assert_eq!(picture(&service), stored);
            assert_eq!(handle.write_checkpoint("u/c", None, 5).await.expect("stored"), 10);
            // A new snapshot costs the difference and no more.
            let report = handle.resync(snapshot(50, &[("a", "blue"), ("c", "blue")])).await.expect("a snapshot");
            assert_eq!(report, ResyncReport { rows: 2, ops: 4 });
            assert_eq!(handle.standing().await.expect("it runs").lsn, Some(50));
            handle.close().await.expect("it was open");
            thread.join().expect("the writer does not panic");
        });
    }

    #[test]
    fn what_does_not_fit_is_not_taken() {
        runtime().block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let (handle, _thread) =
                start(&folder.path().join("store"), Sync::Process, settings(RULES)).expect("a new store");
            handle.resync(snapshot(1, &[("a", "red")])).await.expect("a snapshot");
            let before = picture(&handle.current().get().expect("there was a snapshot"));
            let put = |key: &str, cell| crate::replication::logged::LoggedChange::Put {
                table: 0,
                key: key.into(),
                old_key: None,
                old: None,
                cells: vec![cell],
            };
            // An unchanged value of a row that is not there: nothing of this epoch is taken from here on.
            let gap = LoggedTransaction { lsn: 5, changes: vec![put("x", None)] };
            let next = LoggedTransaction { lsn: 6, changes: vec![put("y", Some(Value::text("red")))] };
            handle.transaction(3, gap).await.expect("it runs");
            handle.transaction(3, next.clone()).await.expect("it runs");
            handle.position(3, 7).await.expect("it runs");
            let mut durable = handle.durable();
            durable.wait_for(|durable| durable.broken == 3).await.expect("it runs");
            assert!(handle.standing().await.expect("it runs").resync);
            assert_eq!(picture(&handle.current().get().expect("it is still there")), before);
            // A new epoch begins anew.
            handle.resync(snapshot(5, &[("a", "red"), ("x", "red")])).await.expect("a snapshot");
            handle.transaction(4, next).await.expect("it runs");
            durable.wait_for(|durable| durable.lsn == 6).await.expect("it runs");
            assert!(!handle.standing().await.expect("it runs").resync);
        });
    }
}
