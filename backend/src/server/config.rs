//! Settings, from flags or from the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fixtures::{App, AppError};

use crate::auth::Algorithm;
use crate::policy::PolicyKind;
use crate::server::error::ServerError;

/// The server's settings.
#[derive(Args, Clone)]
pub struct Config {
    /// Where to listen. Use anything but a loopback address only behind a TLS proxy
    #[arg(long, env = "SYNC_BACKEND_LISTEN", default_value = "127.0.0.1:3000", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// The database: postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=FILE. sslmode is
    /// disable, prefer (encrypted if the server can), require (encrypted, certificate not checked), verify-ca or
    /// verify-full (certificate and host name are checked)
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: String,

    /// The application: a folder with schema.sql, sync-config.yaml and policy.toml, or the name of a built-in one
    #[arg(long, env = "SYNC_BACKEND_APP", value_name = "DIR")]
    pub app: PathBuf,

    /// How conflicts resolve: field-merge, row-latest, version-check, server-wins or arrival-order
    #[arg(long, env = "SYNC_BACKEND_POLICY", default_value = "field-merge")]
    pub policy: PolicyKind,

    /// Where keys are stored; created if missing, readable only by its owner
    #[arg(long, env = "SYNC_BACKEND_STATE_DIR", value_name = "DIR")]
    pub state_dir: PathBuf,

    /// The algorithms that tokens may be signed with: HS256, RS256, ES256, EdDSA. The server itself signs with the
    /// first. A key is generated for each
    #[arg(long = "algorithm", env = "SYNC_BACKEND_ALGORITHMS", value_delimiter = ',', default_value = "ES256")]
    pub algorithm_names: Vec<String>,

    /// An audience; a token must name one of them
    #[arg(long = "audience", env = "SYNC_BACKEND_AUDIENCES", value_delimiter = ',', required = true)]
    pub audiences: Vec<String>,

    /// Issue tokens at /auth/token to anyone, and show symmetric keys. Never in production
    #[arg(long, env = "SYNC_BACKEND_DEVELOPMENT")]
    pub development: bool,

    /// An origin whose pages may call this server, such as https://app.example; can be repeated
    #[arg(long = "cors-origin", env = "SYNC_BACKEND_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,

    /// The greatest size of a request's body, in bytes
    #[arg(long, env = "SYNC_BACKEND_BODY_BYTES_MAX", default_value_t = 16 * 1024 * 1024)]
    pub body_bytes_max: usize,

    /// The greatest number of operations in a request
    #[arg(long, env = "SYNC_BACKEND_OPS_MAX", default_value_t = 10_000)]
    pub ops_max: usize,

    /// Milliseconds after which a request times out (408: devices send it again)
    #[arg(long, env = "SYNC_BACKEND_REQUEST_TIMEOUT_MS", default_value_t = 25_000)]
    pub request_timeout_ms: u64,

    /// Milliseconds after which the database cancels a statement
    #[arg(long, env = "SYNC_BACKEND_STATEMENT_TIMEOUT_MS", default_value_t = 10_000)]
    pub statement_timeout_ms: u64,

    /// Milliseconds that a statement waits for a lock
    #[arg(long, env = "SYNC_BACKEND_LOCK_TIMEOUT_MS", default_value_t = 5_000)]
    pub lock_timeout_ms: u64,

    /// The greatest number of connections to the database
    #[arg(long, env = "SYNC_BACKEND_CONNECTIONS_MAX", default_value_t = 16)]
    pub connections_max: usize,

    /// Days for which uploads, deletions and merged ids are remembered
    #[arg(long, env = "SYNC_BACKEND_RETENTION_DAYS", default_value_t = 30)]
    pub retention_days: u64,

    /// A Redis that caches which uploads were applied: redis://host:port. Optional, and never trusted
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<String>,

    /// Leave a note about each commit in the write-ahead log (a logical message), for readers of the change feed
    #[arg(long, env = "SYNC_BACKEND_ANNOTATE_COMMITS")]
    pub annotate_commits: bool,

    /// Use the clock in this file, which a test harness writes. Never in production
    #[arg(long, env = "SYNC_BACKEND_CLOCK_FILE", value_name = "FILE", hide = true)]
    pub clock_file: Option<PathBuf>,

    /// Seconds that requests in progress have after SIGTERM or SIGINT
    #[arg(long, env = "SYNC_BACKEND_SHUTDOWN_TIMEOUT_S", default_value_t = 10)]
    pub shutdown_timeout_s: u64,
}

/// Settings of `rotate-keys`.
#[derive(Args, Clone, Debug)]
pub struct RotateKeys {
    /// Where keys are stored
    #[arg(long, env = "SYNC_BACKEND_STATE_DIR", value_name = "DIR")]
    pub state_dir: PathBuf,

    /// The algorithms that get a new key: HS256, RS256, ES256, EdDSA
    #[arg(long = "algorithm", env = "SYNC_BACKEND_ALGORITHMS", value_delimiter = ',', default_value = "ES256")]
    pub algorithm_names: Vec<String>,

    /// Seconds for which the old keys still verify: the longest lifetime of a token
    #[arg(long, default_value_t = 86_400)]
    pub keep_s: u64,
}

fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, ServerError> {
    let known = |name: &String| match name.as_str() {
        "HS256" => Ok(Algorithm::HS256),
        "RS256" => Ok(Algorithm::RS256),
        "ES256" => Ok(Algorithm::ES256),
        "EdDSA" => Ok(Algorithm::EdDSA),
        other => Err(ServerError::Setting(format!(
            "no algorithm is called {other:?} here; there are HS256, RS256, ES256 and EdDSA"
        ))),
    };
    names.iter().map(known).collect()
}

impl Config {
    /// The algorithms by name.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn algorithms(&self) -> Result<Vec<Algorithm>, ServerError> {
        algorithms(&self.algorithm_names)
    }

    pub(super) fn load_app(&self) -> Result<App, AppError> {
        match self.app.to_str().and_then(App::builtin) {
            Some(app) => Ok(app),
            None => App::load(&self.app),
        }
    }

    pub(super) fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_days.saturating_mul(86_400))
    }
}

impl RotateKeys {
    /// The algorithms by name.
    ///
    /// # Errors
    /// When a name is not known.
    pub fn algorithms(&self) -> Result<Vec<Algorithm>, ServerError> {
        algorithms(&self.algorithm_names)
    }
}
