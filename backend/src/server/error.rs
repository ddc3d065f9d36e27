//! Why the server does not run.

use std::net::SocketAddr;

use fixtures::AppError;

use crate::server::keys::KeyError;
use crate::store::postgres::PrepareError;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The application's folder is invalid.
    #[error(transparent)]
    App(#[from] AppError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] PrepareError),
    /// A setting is invalid.
    #[error("{0}")]
    Setting(String),
    /// The address cannot be bound.
    #[error("{address}: {error}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's error.
        error: std::io::Error,
    },
    /// An operation of the system failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
