//! From changes at the source to operations in buckets.
//!
//! [`memory`] turns whole row changes into operations; it is all that the deterministic world uses. [`postgres`]
//! follows a server's write-ahead log. A log does not repeat what did not change: [`logged`] says what it tells, and
//! completes it from the rows that are known. [`pump`] leads from a [`Source`] into a durable store.

pub mod logged;
pub mod memory;
pub mod postgres;
pub mod pump;

use std::future::Future;
use std::sync::Arc;

use fixtures::Row;

/// A transaction as the source committed it.
#[derive(Clone, Debug)]
pub struct SourceTransaction {
    /// Its position: greater than that of every transaction before it.
    pub lsn: u64,
    /// Its row changes, in order.
    pub changes: Vec<RowChange>,
}

/// A row change. An insert has no `before`, a delete no `after`; a changed primary key is a delete and an insert.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// Index of the table in the schema.
    pub table: usize,
    /// The primary key.
    pub id: Arc<str>,
    /// The whole row before.
    pub before: Option<Row>,
    /// The whole row after.
    pub after: Option<Row>,
}

/// What identifies a row in the source's change stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// All columns: an update that changes anything removes the row and puts it anew.
    Full,
    /// The primary key: an update puts.
    PrimaryKey,
}

/// What a source says next.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A transaction.
    Transaction(logged::LoggedTransaction),
    /// Everything up to this position has been said, though nothing of it concerns us.
    Position {
        /// The position.
        lsn: u64,
        /// Whether the source waits for a confirmation.
        urgent: bool,
    },
}

/// Where committed changes come from, once the rows that were there before are known: the write-ahead log of a
/// server, or a queue in memory.
pub trait Source: Send {
    /// Why a source ends.
    type Error: Send;

    /// What comes next. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Arrival, Self::Error>> + Send;

    /// Everything up to the position is durable here, so that the source may forget it.
    fn confirm(&mut self, lsn: u64);

    /// Makes it say something, though nobody writes: so that a source that is idle is told from one that is gone.
    fn prod(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
