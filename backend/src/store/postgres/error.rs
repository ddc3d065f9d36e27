//! Which database error is what to an upload.
//!
//! Only what the data itself is to blame for is a refusal: everything else (a missing table, a missing privilege, a
//! server that is shutting down) must never cost anybody a write, so it is "try again later".

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::store::error::StoreError;

/// Why a database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The URL, or a file that it names, is wrong.
    #[error("the database's URL: {0}")]
    Url(String),
    /// It may work later.
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

/// What a failed statement comes to.
pub(super) fn store_error(error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(refused) => of_server(refused),
        None => StoreError::Unavailable(with_source(error)),
    }
}

fn of_server(error: &DbError) -> StoreError {
    let said = || format!("{} ({})", error.message(), error.code().code());
    let code = error.code();
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
        return StoreError::Contended(said());
    }
    if *code == SqlState::UNIQUE_VIOLATION {
        return StoreError::Unique(error.constraint().unwrap_or_default().to_owned());
    }
    if *code == SqlState::NOT_NULL_VIOLATION {
        return StoreError::NotNull(error.column().unwrap_or_default().to_owned());
    }
    match &code.code()[..2] {
        // Data exceptions, constraints, limits such as the size of an index entry, what a trigger raises, views.
        "22" | "23" | "54" | "P0" | "44" => StoreError::Statement(said()),
        _ => StoreError::Unavailable(said()),
    }
}

/// The error and what lies behind it: the library keeps the cause apart.
pub(super) fn with_source(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said = format!("{said}: {cause_said}");
        }
        source = cause.source();
    }
    said
}

/// How errors end that say that a table, a schema or a column is not there.
const MISSING: [&str; 3] = ["(42P01)", "(3F000)", "(42703)"];

/// Whether a table, a schema or a column is missing.
pub(super) fn is_missing_object(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(message) if MISSING.iter().any(|code| message.ends_with(code)))
}
