//! What happens on a device: local transactions, uploads, applied data, stops and starts of the app.

use fixtures::{Row, Value};
use serde::{Deserialize, Serialize};

use super::header::RowId;
use super::outcome::{OpAnswer, Phase, TxOutcome};

/// A local transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalTx {
    /// The plan's step.
    pub step: u32,
    /// What people call it.
    pub activity: String,
    /// Its id in the upload queue; `None` when it queued nothing.
    pub tx_id: Option<i64>,
    /// What it queued for upload, in order.
    pub ops: Vec<LocalOp>,
    /// How many of its intents were skipped because their row was not visible.
    pub skipped: u32,
    /// How many intents it has.
    pub intents: u32,
    /// SQLite's message, if the transaction could not be done at all (then nothing of it is accepted).
    pub failed: Option<String>,
    /// The device's clock, in microseconds since 1970.
    pub clock_us: i64,
}

/// The kind of a queued operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Op {
    /// Insert, or insert-or-replace: all columns that are not null.
    Put,
    /// Update: the columns that changed.
    Patch,
    /// Delete.
    Delete,
}

/// One operation in the upload queue. It was accepted when its transaction committed.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalOp {
    /// Its id in the queue: ascending for a client.
    pub op_id: i64,
    /// Its kind.
    pub op: Op,
    /// The row.
    pub row: RowId,
    /// Columns and values as queued. A column that the server does not know is in `unknown`.
    pub data: Vec<(usize, Value)>,
    /// The columns' values before, as the device saw them (it may name more columns than `data`).
    pub old: Vec<(usize, Value)>,
    /// Names in `data` that the schema does not have, and columns whose value is not of their type.
    pub unknown: Vec<String>,
}

/// One attempt to upload a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// Invoke: sent; ok: answered 2xx; fail: surely not acted on (connection refused, 401, 429); info: no answer, or 5xx.
    pub phase: Phase,
    /// The transaction.
    pub tx_id: i64,
    /// 1 for the first.
    pub attempt: u32,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Outcome of the transaction, on [`Phase::Ok`] and on a permanent refusal: `committed`, `refused`, `not_attempted`.
    pub outcome: Option<TxOutcome>,
    /// The answer for each operation.
    pub ops: Vec<OpAnswer>,
    /// The first words of an answer that is no success, where it has any: at most [`SAID_MAX`] characters.
    pub said: Option<String>,
}

/// How much of an answer that is no success is kept, in characters.
pub const SAID_MAX: usize = 200;

/// Synced data became visible on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Apply {
    /// `None`: a full checkpoint; else the priority up to which a partial one was applied.
    pub priority: Option<u32>,
    /// The checkpoint's last op id.
    pub last_op_id: u64,
    /// The write checkpoint that it carried.
    pub write_checkpoint: Option<u64>,
    /// The write checkpoint that the device waited for, if any.
    pub target: Option<u64>,
    /// How many operations were queued when it was applied.
    pub queued: u32,
    /// Rows whose visible state may have changed, and what they are now; `None` is absent.
    pub rows: Vec<(RowId, Option<Row>)>,
    /// When the first data of it arrived.
    pub arrived_us: i64,
    /// Whether `rows` is every visible row of the device (after a start), rather than those that changed.
    pub whole: bool,
}

/// An app's stop or start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// The process was killed, right after this moment of its upload, if it was in one.
    Killed(Moment),
    /// It runs (again).
    Started,
    /// Timers and sockets froze.
    Suspended,
    /// They go on.
    Resumed,
    /// The tab that owned the connection closed.
    TabClosed,
    /// Another tab took over.
    TabTookOver,
    /// Its database is gone, with what was queued: this installation has ended.
    StorageLost,
    /// A copy of its database was made, for the step with this key.
    CopyTaken(u32),
    /// That copy takes the place of its database: this installation has ended.
    CopyRestored(u32),
}

/// Where a device's upload stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Nothing was queued.
    Idle,
    /// Queued, not sent.
    BeforeSend,
    /// Sent, no answer yet.
    AfterSend,
    /// Answered, not completed.
    AfterAnswer,
    /// Completed, write checkpoint not yet known.
    BeforeWriteCheckpoint,
}
