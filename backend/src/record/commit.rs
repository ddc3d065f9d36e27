//! What one committed transaction did: row changes, ledger entries, conflict records, tombstones, aliases.

use std::borrow::Cow;
use std::sync::Arc;

use fixtures::Row;

use crate::record::author::Author;
use crate::wire::OpAnswer;

/// One committed database transaction.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When it committed.
    pub at_us: i64,
    /// When its request was received: the transaction's `now()`.
    pub received_us: i64,
    /// The upload that it comes from; `None` for server-side writes.
    pub origin: Option<Origin>,
    /// Row changes, in the order in which they were made. One row may occur several times.
    pub changes: Vec<Change>,
    /// Ledger entries written.
    pub ledger: Vec<LedgerRow>,
    /// Conflict records written.
    pub conflicts: Vec<ConflictRecord>,
    /// Tombstones written.
    pub tombstones: Vec<TombstoneRow>,
    /// Aliases written: table, losing id, survivor.
    pub aliases: Vec<(usize, Arc<str>, Arc<str>)>,
}

/// Where a committed transaction came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The token's subject.
    pub subject: Arc<str>,
    /// The client id.
    pub client_id: Arc<str>,
    /// The client's transaction.
    pub tx_id: i64,
}

/// One row change, as logical decoding with full replica identity reports it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The table.
    pub table: usize,
    /// The row.
    pub id: Arc<str>,
    /// The row before; `None` = it was inserted.
    pub before: Option<Row>,
    /// The row after; `None` = it was deleted.
    pub after: Option<Row>,
    /// The operation (of the commit's origin) that caused it.
    pub by: Option<i64>,
    /// Why it happened.
    pub cause: Cause,
}

/// Why a row changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It is the effect of a client's operation.
    Client,
    /// Its parent was deleted, and children are deleted with it.
    Cascade,
    /// Its parent is missing, and the reference became NULL.
    ParentMissing,
    /// It was running under an exclusive invariant, and its lease had ended.
    LeaseEnded,
    /// It referred to an id that merged into another row.
    Alias,
    /// A write that bypassed the backend.
    Server,
}

/// One operation's entry in the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRow {
    /// The operation id.
    pub op_id: i64,
    /// The client's epoch: above 1 after a restored database copy has sent operation ids anew.
    pub epoch: u32,
    /// SHA-256 of (op, table, id, data, old).
    pub digest: [u8; 32],
    /// The answer that the device got.
    pub answer: OpAnswer,
}

/// A write that was overridden, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictRecord {
    /// Its number, from 1, in commit order.
    pub seq: u64,
    /// When the deciding transaction was received.
    pub at_us: i64,
    /// Who may read the record: the loser's subject, or the winner's when the server lost.
    pub subject: Arc<str>,
    /// The table.
    pub table: usize,
    /// The row.
    pub id: Arc<str>,
    /// The column or the group; `None` = the whole row.
    pub column: Option<Arc<str>>,
    /// The rule that decided.
    pub rule: Cow<'static, str>,
    /// Whose write is overridden.
    pub loser: Author,
    /// Whose write stays.
    pub winner: Author,
}

/// A deletion, as its commit records it.
#[derive(Clone, Debug, PartialEq)]
pub struct TombstoneRow {
    /// The table.
    pub table: usize,
    /// The row.
    pub id: Arc<str>,
    /// The stamp.
    pub at_us: i64,
}
