//! Why a server did not start, or could not go on.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::durable::StoreError;
use crate::replication::postgres::BadConnection;
use crate::sync_config::ConfigError;

/// Why a service did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting.
    #[error("{0}")]
    Setting(String),
    /// The database URL, or a name.
    #[error(transparent)]
    Connection(#[from] BadConnection),
    /// The sync configuration. Whether it fits the tables is seen once they are known.
    #[error(transparent)]
    SyncConfig(#[from] ConfigError),
    /// A file that cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime, or accepting connections.
    #[error("{0}")]
    System(#[from] std::io::Error),
}
