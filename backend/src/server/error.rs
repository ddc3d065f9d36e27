//! Why the server does not run.

use std::net::SocketAddr;

use fixtures::AppError;

use crate::server::keys::KeyError;
use crate::store::postgres::PrepareError;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The application's folder.
    #[error(transparent)]
    App(#[from] AppError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Database(#[from] PrepareError),
    /// A setting.
    #[error("{0}")]
    Setting(String),
    /// The socket.
    #[error("{address}: {error}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The runtime.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
