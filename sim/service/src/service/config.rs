//! What a service needs to know, and what it asks for while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fixtures::Schema;
use futures_util::future::BoxFuture;

use crate::auth::Keys;
use crate::changes::ReplicaIdentity;
use crate::clock::Clock;
use crate::error::WireError;
use crate::sync_config::SyncConfig;

/// The position of the last transaction that the source committed.
pub type Head = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Gives a service on a real source what a service in memory takes from its [`Config`]: keys, positions, write
/// checkpoints.
pub trait Provider: fmt::Debug + Send + Sync {
    /// The keys of tokens. They are fetched again if there is none with this id.
    fn keys<'a>(&'a self, key_id: Option<&'a str>) -> BoxFuture<'a, Arc<Keys>>;

    /// A position of the source at or above everything that it committed before the call. The source will
    /// replicate up to it without further writes.
    ///
    /// # Errors
    /// 500 when the source cannot be asked.
    fn head(&self) -> BoxFuture<'_, Result<u64, WireError>>;

    /// Increments the counter of the client, or stores the counter that it `requested` if that is greater. Returns the
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
    /// A token must name one of these audiences.
    pub audience: Vec<String>,
    /// The service's clock, for tokens and keepalives. Timers run on tokio's clock.
    pub clock: Clock,
    /// How often timers read the clock again, for a clock that may jump while tokio's does not.
    pub clock_poll_interval: Option<Duration>,
    /// The source's position now.
    pub head: Head,
    /// The replica identity of each table, in schema order. Tables without one have FULL.
    pub replica_identity: Vec<ReplicaIdentity>,
    /// The interval between keepalives.
    pub keepalive: Duration,
    /// How many streams may be open at once.
    pub max_streams: usize,
    /// The number with which versioned bucket names of the first generation start.
    pub bucket_prefix: u32,
    /// How long the old buckets are still served after a restart with a changed sync configuration.
    pub activation_delay: Duration,
    /// If there is one, it is asked for keys, positions and write checkpoints instead of `keys` and `head`.
    pub provider: Option<Arc<dyn Provider>>,
}

impl Config {
    /// A configuration with the official service's defaults.
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
            clock_poll_interval: None,
            head,
            replica_identity: Vec::new(),
            keepalive: Duration::from_secs(20),
            max_streams: 200,
            bucket_prefix: 1,
            activation_delay: Duration::from_secs(1),
            provider: None,
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
