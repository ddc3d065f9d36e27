//! The service itself: a configuration and a storage, put to work.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fixtures::{Row, Schema};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::auth::Keys;
use crate::checkpoint::WriteCheckpoints;
use crate::durable::resync::difference;
use crate::error::WireError;
use crate::replication::memory::Replicator;
use crate::replication::{ReplicaIdentity, SourceTransaction};
use crate::signal::Signal;
use crate::storage::{Generation, State, Storage};
use crate::sync_config::SyncConfig;

/// Microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;
/// The position of the last transaction that the source committed.
pub type Head = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What lies beyond this process: a service on a real source asks it where one in memory asks its [`Config`].
pub trait Backing: fmt::Debug + Send + Sync {
    /// The keys of tokens, fetched anew if that may bring one of this id.
    fn keys<'a>(&'a self, key_id: Option<&'a str>) -> BoxFuture<'a, Arc<Keys>>;

    /// A position of the source at or above everything that it committed before the call. The source will
    /// replicate up to it without further writes.
    ///
    /// # Errors
    /// 500 when the source cannot be asked.
    fn head(&self) -> BoxFuture<'_, Result<u64, WireError>>;

    /// Counts one more for the client, or stores the counter that it `requested` if that is greater; returns the
    /// client's counter once it is durable.
    ///
    /// # Errors
    /// 500 when it could not be made durable.
    fn write_checkpoint<'a>(
        &'a self,
        client: &'a str,
        requested: Option<u64>,
        head: u64,
    ) -> BoxFuture<'a, Result<u64, WireError>>;
}

/// What a service needs to know.
#[derive(Clone)]
pub struct Config {
    /// The source's tables.
    pub schema: Arc<Schema>,
    /// Which rows are in which buckets. Parsed once, shared by all services of an application.
    pub sync_config: Arc<SyncConfig>,
    /// The keys of tokens.
    pub keys: Keys,
    /// Audiences of which a token must name one.
    pub audience: Vec<String>,
    /// The service's clock, for tokens and keepalives. Waiting happens on tokio's.
    pub clock: Clock,
    /// How often those who wait for the clock look at it again: for a clock that may jump where tokio's does not.
    pub look_every: Option<Duration>,
    /// The source's position now.
    pub head: Head,
    /// The replica identity of each table, in schema order; those that are missing have FULL.
    pub replica_identity: Vec<ReplicaIdentity>,
    /// Between keepalives.
    pub keepalive: Duration,
    /// How many streams may be open at once.
    pub max_streams: usize,
    /// What versioned bucket names of the first generation start with.
    pub bucket_prefix: u32,
    /// How long the old buckets are still served after a restart with a changed sync configuration.
    pub activation_delay: Duration,
    /// Asked for keys, positions and write checkpoints in place of `keys` and `head`, when there is one.
    pub backing: Option<Arc<dyn Backing>>,
}

impl Config {
    /// A configuration with the official service's values where it has any.
    #[must_use]
    pub fn new(
        schema: Arc<Schema>,
        sync_config: Arc<SyncConfig>,
        keys: Keys,
        audience: Vec<String>,
        clock: Clock,
        head: Head,
    ) -> Self {
        Self {
            schema,
            sync_config,
            keys,
            audience,
            clock,
            look_every: None,
            head,
            replica_identity: Vec::new(),
            keepalive: Duration::from_secs(20),
            max_streams: 200,
            bucket_prefix: 1,
            activation_delay: Duration::from_secs(1),
            backing: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("audience", &self.audience)
            .field("replica_identity", &self.replica_identity)
            .field("keepalive", &self.keepalive)
            .field("max_streams", &self.max_streams)
            .finish_non_exhaustive()
    }
}

/// A running service. Clones share; dropping all of them, and all response bodies, is killing it.
#[derive(Clone, Debug)]
pub struct Service(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) storage: Storage,
    pub(crate) keys: Mutex<Arc<Keys>>,
    /// Marks that streams may have something to send.
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

    /// Goes on from a new snapshot of the source, because its log is lost: clients get what differs from what they
    /// have, as one checkpoint. `rows` are by table and id; positions before `lsn` are behind the snapshot.
    pub fn resync(&self, lsn: u64, rows: Vec<BTreeMap<Arc<str>, Row>>) {
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

    /// Compacts all buckets. Clients notice only that less is sent.
    pub fn compact(&self) {
        let mut state = self.0.storage.lock();
        if let Some(active) = &mut state.active {
            active.buckets.values_mut().for_each(crate::bucket::Bucket::compact);
        }
    }

    /// Replaces the keys; tokens are judged once, so open streams go on.
    pub fn replace_keys(&self, keys: Keys) {
        *self.0.keys.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Ends all streams and refuses requests from now on, as a service does that is asked to stop.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.changes.raise();
    }

    /// Changes the write checkpoints, and wakes the streams if what was added is replicated already.
    pub(crate) fn acknowledge_at(&self, head: u64, change: impl FnOnce(&mut WriteCheckpoints) -> u64) -> u64 {
        let mut state = self.0.storage.lock();
        let counter = change(&mut state.write_checkpoints);
        // A stream looks at write checkpoints when replication moves; here it will not have to.
        if head <= state.replicated_lsn {
            state.version += 1;
            drop(state);
            self.0.changes.raise();
        }
        counter
    }

    /// The source's position now, see [`Backing::head`].
    pub(crate) async fn head(&self) -> Result<u64, WireError> {
        match &self.0.config.backing {
            Some(backing) => backing.head().await,
            None => Ok((self.0.config.head)()),
        }
    }

    /// Stores a write checkpoint, see [`Backing::write_checkpoint`].
    pub(crate) async fn write_checkpoint(
        &self,
        client: &str,
        requested: Option<u64>,
        head: u64,
    ) -> Result<u64, WireError> {
        if let Some(backing) = &self.0.config.backing {
            return backing.write_checkpoint(client, requested, head).await;
        }
        Ok(self.acknowledge_at(head, |all| match requested {
            None => all.create(client, head),
            Some(counter) => all.request(client, counter, head),
        }))
    }

    /// The keys by which a token that names this key is judged.
    pub(crate) async fn keys(&self, key_id: Option<&str>) -> Arc<Keys> {
        if let Some(backing) = &self.0.config.backing {
            return backing.keys(key_id).await;
        }
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What turns its source's changes into operations.
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
