//! How the database is reached and used.

use std::fmt;
use std::time::Duration;

/// How the database is reached and used.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…`. `sslmode` is `disable`, `prefer` (the
    /// default), `require`, `verify-ca` or `verify-full`, as libpq means them.
    pub url: String,
    /// The greatest number of connections.
    pub connections_max: usize,
    /// How long a request waits for a connection, and a connection for the server.
    pub connect_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long a statement waits for a lock.
    pub lock_timeout: Duration,
    /// How often ledger entries, tombstones and aliases that are past retention are removed, by the receive times of
    /// uploads.
    pub forget_every: Duration,
    /// Whether each commit leaves a [`CommitNote`](crate::store::postgres::note::CommitNote) in the write-ahead log.
    pub annotates: bool,
}

impl PostgresConfig {
    /// The defaults, for a URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            connections_max: 16,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            forget_every: Duration::from_secs(60),
            annotates: false,
        }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig").field("connections_max", &self.connections_max).finish_non_exhaustive()
    }
}
