//! What a commit in the server's database did.

use fixtures::Row;

use super::header::RowId;
use super::outcome::{OpAnswer, Writer};

/// A transaction in the server's database.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// Its number in commit order, from 1.
    pub seq: u64,
    /// When the backend received it, by its clock, in microseconds since 1970.
    pub received_us: i64,
    /// Whose upload it was; `None` for the server's own.
    pub origin: Option<Origin>,
    /// Somebody made it whom the run does not know, in a database that others use as well. What concerns its rows is
    /// not judged.
    pub foreign: bool,
    /// Row changes in order, as logical decoding gives them.
    pub changes: Vec<Change>,
    /// What the backend's ledger says of the operations, where it keeps one.
    pub ledger: Vec<OpAnswer>,
    /// The conflict records that it wrote.
    pub conflicts: Vec<ConflictRecord>,
    /// Losing row and survivor.
    pub aliases: Vec<(RowId, RowId)>,
}

/// Whose upload a commit was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The device.
    pub device: u32,
    /// Its transaction.
    pub tx_id: i64,
}

/// One row change in a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The row.
    pub row: RowId,
    /// Its image before; `None`: it was not there.
    pub before: Option<Row>,
    /// Its image after; `None`: it was deleted.
    pub after: Option<Row>,
    /// The operation of the commit's origin that made it, where that can be seen.
    pub op_id: Option<i64>,
}

/// One row of `sync_backend.conflicts`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictRecord {
    /// The row that the loser acted on.
    pub row: RowId,
    /// The column or group; `None`: the whole row.
    pub column: Option<String>,
    /// The rule that decided.
    pub rule: String,
    /// Whose value went.
    pub loser: Writer,
    /// Whose value stayed.
    pub winner: Writer,
}
