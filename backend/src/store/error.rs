//! Why a database did not do what it was asked.

/// Why a statement did not take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It may work later: no connection, timeout. A commit that was under way may have happened.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Another transaction stood in the way (deadlock, serialization failure). Nothing took effect, and the
    /// transaction is to be run again at once.
    #[error("another transaction stood in the way: {0}")]
    Contended(String),
    /// A unique key is taken.
    #[error("unique: {0}")]
    Unique(String),
    /// NULL in a column that refuses it.
    #[error("not-null: {0}")]
    NotNull(String),
    /// The database would refuse the statement as such: unknown table or column, a value of another type, a
    /// statement without columns.
    #[error("statement: {0}")]
    Statement(String),
}
