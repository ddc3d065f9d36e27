//! What each database error means for an upload.
//!
//! Only errors that the data itself causes are refusals. Everything else (a missing table, a missing privilege, a server
//! that is shutting down) must never lose a write, so it is "try again later".

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::store::error::StoreError;

/// Why a database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The URL, or a file that it names, is wrong.
    #[error("the database's URL: {0}")]
    Url(String),
    /// A retry may succeed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database is not what the application's schema says.
    #[error("{0}")]
    Mismatch(String),
}

impl From<Error> for PrepareError {
    fn from(error: Error) -> Self {
        Self::Unavailable(with_source(&error))
    }
}

/// The error of a failed statement.
pub(super) fn store_error(error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(refused) => server_error(refused),
        None => StoreError::Unavailable(with_source(error)),
    }
}

fn server_error(error: &DbError) -> StoreError {
    let text = || format!("{} ({})", error.message(), error.code().code());
    let code = error.code();
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
        return StoreError::Contended(text());
    }
    if *code == SqlState::UNIQUE_VIOLATION {
        return StoreError::Unique(error.constraint().unwrap_or_default().to_owned());
    }
    if *code == SqlState::NOT_NULL_VIOLATION {
        return StoreError::NotNull(error.column().unwrap_or_default().to_owned());
    }
    match &code.code()[..2] {
        // Data exceptions, constraints, limits such as the size of an index entry, what a trigger raises, views.
        "22" | "23" | "54" | "P0" | "44" => StoreError::Statement(text()),
        _ => StoreError::Unavailable(text()),
    }
}

/// The error with its causes, which the library does not show.
pub(super) fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// How messages of [`store_error`] end if a table, a schema or a column is missing.
const MISSING: [&str; 3] = ["(42P01)", "(3F000)", "(42703)"];

/// Whether a table, a schema or a column is missing.
pub(super) fn is_missing_object(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(message) if MISSING.iter().any(|code| message.ends_with(code)))
}
