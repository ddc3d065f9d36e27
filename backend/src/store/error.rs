//! Why a database did not do what it was asked.

/// Why a statement did not take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A retry may succeed: no connection, timeout. A commit that was in progress may have happened.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A concurrent transaction interfered (deadlock, serialization failure). Nothing took effect; run the transaction
    /// again at once.
    #[error("a concurrent transaction interfered: {0}")]
    Contended(String),
    /// A unique key is taken.
    #[error("unique: {0}")]
    Unique(String),
    /// NULL in a column that refuses it.
    #[error("not-null: {0}")]
    NotNull(String),
    /// The statement itself is invalid: unknown table or column, a value of another type, no columns.
    #[error("statement: {0}")]
    Statement(String),
}
