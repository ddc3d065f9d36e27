//! Why replication from PostgreSQL stopped.

use pgwire_replication::PgWireError;

use super::pgoutput::Malformed;
use super::session::PostgresError;
use crate::durable::WriterError;
use crate::replication::apply::ApplyError;
use crate::sync_config::ConfigError;

/// Why an attempt to replicate ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplicationError {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Writer(#[from] WriterError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tables are no longer as they were.
    #[error("{0}")]
    Tables(String),
    /// Something that has to be set up differently.
    #[error("{0}")]
    Setup(String),
    #[error("the server ended the stream")]
    Ended,
    #[error("{0}")]
    Silent(String),
    #[error("{0}")]
    Apply(String),
}

impl From<ApplyError<ReplicationError>> for ReplicationError {
    fn from(error: ApplyError<ReplicationError>) -> Self {
        match error {
            ApplyError::Source(error) => error,
            ApplyError::Writer(error) => error.into(),
            ApplyError::Rejected | ApplyError::Silent => Self::Apply(error.to_string()),
        }
    }
}

impl From<PgWireError> for ReplicationError {
    fn from(error: PgWireError) -> Self {
        Self::Postgres(error.into())
    }
}
