//! Which database error is what to an upload.
//!
//! Only what the data itself is to blame for is a refusal: everything else (a missing table, a missing privilege, a
//! server that is shutting down) must never cost anybody a write, so it is "try again later".

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::store::StoreError;

/// What a failed statement comes to.
pub(super) fn told(error: &Error) -> StoreError {
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
