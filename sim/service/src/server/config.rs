//! The settings of the program, by flags or by the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fixtures::Schema;

use crate::auth::Keys;
use crate::changes::ReplicaIdentity;
use crate::clock::Clock;
use crate::durable::SyncMode;
use crate::replication::postgres::{DEFAULT_PUBLICATION, DEFAULT_SLOT};
use crate::service::{self, Provider};
use crate::sync_config::SyncConfig;

/// A PowerSync-compatible sync service on PostgreSQL.
#[derive(Clone, clap::Args)]
pub struct Config {
    /// The source database: postgres://user:password@host:port/database?sslmode=require. The role needs REPLICATION
    /// and SELECT on the published tables. Known in the query: sslmode, sslrootcert, sslcert, sslkey, sslsni, host
    #[arg(long, value_name = "URL", env = "SYNCSTORM_SERVICE_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// The replication slot; created when it is missing, and created again when it can no longer be used
    #[arg(long, value_name = "NAME", env = "SYNCSTORM_SERVICE_SLOT", default_value = DEFAULT_SLOT)]
    pub slot: String,

    /// The publication; must exist
    #[arg(long, value_name = "NAME", env = "SYNCSTORM_SERVICE_PUBLICATION", default_value = DEFAULT_PUBLICATION)]
    pub publication: String,

    /// The sync configuration: sync rules or sync streams, YAML
    #[arg(long, value_name = "FILE", env = "SYNCSTORM_SERVICE_SYNC_CONFIG")]
    pub sync_config: PathBuf,

    /// The bucket store, a SQLite file; created when it is missing. One process at a time
    #[arg(long, value_name = "FILE", env = "SYNCSTORM_SERVICE_STORE", default_value = "syncstorm-service.sqlite")]
    pub store: PathBuf,

    /// What the store survives: `full` loss of power, `process` a killed process
    #[arg(long, value_enum, env = "SYNCSTORM_SERVICE_STORE_SYNC", default_value = "full")]
    pub store_sync: SyncMode,

    /// Where to listen
    #[arg(long, value_name = "ADDRESS", env = "SYNCSTORM_SERVICE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// An audience that tokens must name; repeat it, or separate with commas, to allow any of several
    #[arg(long, value_name = "AUDIENCE", env = "SYNCSTORM_SERVICE_AUDIENCE", value_delimiter = ',', required = true)]
    pub audience: Vec<String>,

    /// Where the keys of tokens are fetched, as a JSON Web Key Set: when a token names an unknown key, and every few
    /// minutes
    #[arg(long, value_name = "URL", env = "SYNCSTORM_SERVICE_JWKS_URL")]
    pub jwks_url: Option<String>,

    /// A file with a JSON Web Key Set. SIGHUP reads it again
    #[arg(long, value_name = "FILE", env = "SYNCSTORM_SERVICE_JWKS_FILE")]
    pub jwks_file: Option<PathBuf>,

    /// A shared HS256 secret. Others on the machine can read flags: prefer the environment
    #[arg(long, value_name = "SECRET", env = "SYNCSTORM_SERVICE_HS256_SECRET", hide_env_values = true)]
    pub hs256_secret: Option<String>,

    /// The key id (`kid`) of tokens that the shared secret signed
    #[arg(long, value_name = "ID", env = "SYNCSTORM_SERVICE_HS256_KEY_ID", default_value = "local-dev-key")]
    pub hs256_key_id: String,

    /// How many streams may be open at once; more are answered with 429
    #[arg(long, value_name = "COUNT", env = "SYNCSTORM_SERVICE_MAX_STREAMS", default_value_t = 200)]
    pub max_streams: usize,

    /// The interval between keepalives on a stream
    #[arg(
        long = "keepalive-seconds",
        value_name = "SECONDS",
        env = "SYNCSTORM_SERVICE_KEEPALIVE_SECONDS",
        default_value_t = 20
    )]
    pub keepalive_s: u64,

    /// The interval between compactions of the buckets; 0 for never. SIGUSR1 compacts at once
    #[arg(
        long = "compact-every-seconds",
        value_name = "SECONDS",
        env = "SYNCSTORM_SERVICE_COMPACT_EVERY_SECONDS",
        default_value_t = 3600
    )]
    pub compact_every_s: u64,

    /// How long the old buckets are still served after a restart with a changed sync configuration
    #[arg(
        long = "activation-delay-ms",
        value_name = "MILLISECONDS",
        env = "SYNCSTORM_SERVICE_ACTIVATION_DELAY_MS",
        default_value_t = 1000
    )]
    pub activation_delay_ms: u64,

    /// How long connections may take to end when the service is stopped
    #[arg(
        long = "shutdown-grace-seconds",
        value_name = "SECONDS",
        env = "SYNCSTORM_SERVICE_SHUTDOWN_GRACE_SECONDS",
        default_value_t = 10
    )]
    pub shutdown_grace_s: u64,
}

impl Config {
    /// The service's own configuration, for these tables.
    pub(super) fn service(
        &self,
        schema: Arc<Schema>,
        sync_config: Arc<SyncConfig>,
        identities: Vec<ReplicaIdentity>,
        clock: Clock,
        clock_poll_interval: Option<Duration>,
        provider: Arc<dyn Provider>,
    ) -> service::Config {
        // The provider gives keys and heads.
        let (keys, head) = (Keys::default(), Arc::new(|| 0));
        service::Config {
            replica_identity: identities,
            keepalive: Duration::from_secs(self.keepalive_s.max(1)),
            max_streams: self.max_streams,
            activation_delay: Duration::from_millis(self.activation_delay_ms),
            provider: Some(provider),
            clock_poll_interval,
            ..service::Config::new(schema, sync_config, keys, self.audience.clone(), clock, head)
        }
    }
}

/// Shows nothing secret.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("slot", &self.slot)
            .field("publication", &self.publication)
            .field("sync_config", &self.sync_config)
            .field("store", &self.store)
            .field("listen", &self.listen)
            .field("audience", &self.audience)
            .field("jwks_url", &self.jwks_url)
            .finish_non_exhaustive()
    }
}
