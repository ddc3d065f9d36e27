//! A running service: a configuration and a storage, and what changes while they serve streams.

mod config;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fixtures::Row;
use tokio::time::Instant;

use crate::auth::Keys;
use crate::bucket::Bucket;
use crate::bucket_difference::difference;
use crate::changes::SourceTransaction;
use crate::changes::replicator::Replicator;
use crate::error::WireError;
use crate::signal::Signal;
use crate::storage::{Generation, State, Storage};
use crate::write_checkpoint::WriteCheckpoints;
pub use config::{Config, Head, Provider};

/// A running service. Clones share it. It is gone when all of them, and all response bodies, are dropped.
#[derive(Clone, Debug)]
pub struct Service(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) storage: Storage,
    pub(crate) keys: Mutex<Arc<Keys>>,
    /// Wakes streams when there may be something to send.
    pub(crate) changes: Signal,
    pub(crate) open_streams: Arc<AtomicUsize>,
    replicator: Replicator,
    stopped: AtomicBool,
    /// When the next generation takes over, while one waits.
    activation: Mutex<Option<Instant>>,
}

impl Service {
    /// Starts a service on a storage. When the storage holds buckets of another sync configuration, the new ones
    /// are filled now, and take over after [`Config::activation_delay`]; until then the old ones are served.
    ///
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn new(config: Config, storage: Storage) -> Self {
        let replicator = Replicator::new(Arc::clone(&config.schema), &config.replica_identity);
        let mut activation = None;
        {
            let mut state = storage.lock();
            let wanted = Arc::clone(&config.sync_config);
            let serves = |generation: &Option<Generation>| {
                generation.as_ref().is_some_and(|generation| generation.config.text == wanted.text)
            };
            if state.active.is_none() {
                state.active = Some(Generation::new(config.bucket_prefix, wanted));
            } else if serves(&state.active) {
                state.next = None;
            } else {
                if !serves(&state.next) {
                    let newest = [&state.active, &state.next].into_iter().flatten().map(|one| one.number).max();
                    let number = newest.expect("one is active") + 1;
                    let filled = replicator.snapshot(&mut state, Generation::new(number, wanted));
                    state.next = Some(filled);
                }
                activation = Some(Instant::now() + config.activation_delay);
            }
        }
        Self(Arc::new(Shared {
            keys: Mutex::new(Arc::new(config.keys.clone())),
            config,
            storage,
            changes: Signal::default(),
            open_streams: Arc::default(),
            replicator,
            stopped: AtomicBool::new(false),
            activation: Mutex::new(activation),
        }))
    }

    /// Applies a source transaction, unless it was applied before.
    pub fn replicate(&self, transaction: &SourceTransaction) {
        let new = self.0.replicator.replicate(&mut self.0.storage.lock(), transaction);
        if new {
            self.0.changes.raise();
        }
    }

    /// Goes on from a new snapshot of the source, because its log is lost. Clients get what differs from what they
    /// have, as one checkpoint. `rows` are by table and id; transactions up to `lsn` are in the snapshot.
    pub fn apply_snapshot(&self, lsn: u64, rows: Vec<BTreeMap<Arc<str>, Row>>) {
        let replicator = &self.0.replicator;
        let identified = replicator.identified(rows);
        {
            let mut state = self.0.storage.lock();
            let state = &mut *state;
            for have in state.active.iter_mut().chain(state.next.iter_mut()) {
                let mut fresh = State { rows: identified.clone(), ..State::default() };
                let want = replicator.snapshot(&mut fresh, Generation::new(have.number, Arc::clone(&have.config)));
                for staged in difference(have, &want, &mut state.last_op_id) {
                    have.push(staged);
                }
                have.lookups = want.lookups;
                have.lookups_version += 1;
            }
            state.rows = identified;
            state.replicated_lsn = state.replicated_lsn.max(lsn);
            state.version += 1;
        }
        self.0.changes.raise();
    }

    /// Compacts all buckets. Clients are only sent less.
    pub fn compact(&self) {
        let mut state = self.0.storage.lock();
        if let Some(active) = &mut state.active {
            active.buckets.values_mut().for_each(Bucket::compact);
        }
    }

    /// Replaces the keys. Tokens are verified once, so open streams go on.
    pub fn replace_keys(&self, keys: Keys) {
        *self.0.keys.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Ends all streams, and refuses requests from now on.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.changes.raise();
    }

    /// Changes the write checkpoints, and wakes the streams if the new one is replicated already.
    pub(crate) fn acknowledge_at(&self, head: u64, change: impl FnOnce(&mut WriteCheckpoints) -> u64) -> u64 {
        let mut state = self.0.storage.lock();
        let counter = change(&mut state.write_checkpoints);
        // Streams read write checkpoints when replication advances, which it need not do for this one.
        if head <= state.replicated_lsn {
            state.version += 1;
            drop(state);
            self.0.changes.raise();
        }
        counter
    }

    /// The source's position now, see [`Provider::head`].
    pub(crate) async fn head(&self) -> Result<u64, WireError> {
        match &self.0.config.provider {
            Some(provider) => provider.head().await,
            None => Ok((self.0.config.head)()),
        }
    }

    /// Stores a write checkpoint, see [`Provider::write_checkpoint`].
    pub(crate) async fn write_checkpoint(
        &self,
        client: &str,
        requested: Option<u64>,
        head: u64,
    ) -> Result<u64, WireError> {
        if let Some(provider) = &self.0.config.provider {
            return provider.write_checkpoint(client, requested, head).await;
        }
        Ok(self.acknowledge_at(head, |all| match requested {
            None => all.create(client, head),
            Some(counter) => all.request(client, counter, head),
        }))
    }

    /// The keys to verify a token that names this key.
    pub(crate) async fn keys(&self, key_id: Option<&str>) -> Arc<Keys> {
        if let Some(provider) = &self.0.config.provider {
            return provider.keys(key_id).await;
        }
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Turns the source's changes into operations.
    pub(crate) fn replicator(&self) -> &Replicator {
        &self.0.replicator
    }

    /// The storage that it works on.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// How many streams are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.0.open_streams.load(Ordering::Acquire)
    }
}

impl Shared {
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn activation_due(&self) -> Option<Instant> {
        *self.activation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next generation take over when its time has come.
    pub(crate) fn activate_when_due(&self) {
        let mut due = self.activation.lock().unwrap_or_else(PoisonError::into_inner);
        if due.is_some_and(|due| due <= Instant::now()) {
            *due = None;
            let mut state = self.storage.lock();
            if let Some(next) = state.next.take() {
                state.active = Some(next);
                state.version += 1;
            }
            self.changes.raise();
        }
    }
}
