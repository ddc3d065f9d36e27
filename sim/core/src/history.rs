//! What was seen, in order: the only thing that a checker looks at besides the application and the promises.
//!
//! A history is append-only. It names devices and rows by our names; ids of the libraries occur only where they
//! are what the wire carries (op ids, transaction ids). Everything in it can be seen from outside the product:
//! at the device's database, on its network, and in the server's change feed.
//!
//! In memory, rows and columns are indices ([`RowId`] into [`History::rows`], columns into the schema); the JSONL
//! form writes names.

use std::sync::Arc;

use fixtures::{Row, Value};
use serde::{Deserialize, Serialize};

use crate::plan::{DeviceKind, Fault};
use crate::seed::Seed;

mod jsonl;
#[cfg(test)]
mod tests;
pub mod label;

/// The format of the JSONL form.
pub const VERSION: u32 = 1;

/// One history.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// What it is a history of.
    pub header: Header,
    /// Every row that occurs: those of the plan first, by their symbolic number, then any other in order of
    /// appearance.
    pub rows: Vec<RowName>,
    /// What was seen, in order of time.
    pub events: Vec<Event>,
}

/// What a history is a history of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub v: u32,
    /// The application's name.
    pub app: String,
    /// The scenario's name.
    pub scenario: String,
    /// The plan's seed.
    pub seed: Seed,
    /// The world.
    pub world: String,
    /// What its times are. No checker looks at the world.
    #[serde(default, skip_serializing_if = "Time::is_virtual")]
    pub time: Time,
    /// The upload policy.
    pub policy: String,
    /// The devices.
    pub devices: Vec<DeviceName>,
}

/// What the times of a history are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Time {
    /// Everything took as long as the run decided: what is late is late by its own doing, events stand in their true
    /// order, and latency can be judged.
    #[default]
    Virtual,
    /// Servers took the time that they took, on a machine that they shared: late may be slow, and a server's event
    /// stands where it was noticed.
    Real,
}

impl Time {
    /// Whether it is [`Time::Virtual`].
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        *self == Self::Virtual
    }
}

/// A device as a history names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceName {
    /// Its platform.
    pub kind: DeviceKind,
    /// The subject of its tokens.
    pub user: String,
    /// The client id of its database.
    pub client_id: String,
    /// What it took the place of: a device is one installation, and one whose storage is lost is another from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u32>,
    /// The copy that its database began as; `None`: it began empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyOf>,
}

/// An old copy of a device's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOf {
    /// The device.
    pub device: u32,
    /// The step that restores it: [`Lifecycle::CopyTaken`] says when it was made.
    pub key: u32,
}

/// A row as a history names it: `tasks#12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowName {
    /// The table's index.
    pub table: usize,
    /// Its `id` on every device and on the server.
    pub id: Arc<str>,
}

/// An index into [`History::rows`].
pub type RowId = u32;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, in microseconds of plan time (virtual, or scaled).
    pub at_us: i64,
    /// Where.
    pub who: Who,
    /// What.
    pub what: What,
}

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// On a device.
    Client(u32),
    /// In the server's database.
    Server,
    /// At the run itself: faults, phases.
    Run,
}

/// Whether something was begun, surely happened, surely did not, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It was begun.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen.
    Fail,
    /// It may have happened.
    Info,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A local transaction: its COMMIT returned (or nothing of it could be done).
    Tx(LocalTx),
    /// One attempt to upload a transaction.
    Upload(Upload),
    /// The device removed the transaction from its queue and stored its outcomes, in one SQLite transaction.
    Complete {
        /// The transaction.
        tx_id: i64,
    },
    /// The device asked for a write checkpoint.
    WriteCheckpoint {
        /// How it ended.
        phase: Phase,
        /// The number that it was given, on [`Phase::Ok`].
        number: Option<u64>,
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
    },
    /// The device opened a sync stream, or its stream ended.
    Stream {
        /// Invoke: requested; ok: 200; fail: refused or not reached; info: an open stream ended.
        phase: Phase,
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// Why it ended.
        reason: &'static str,
    },
    /// The device's visible rows changed because synced data was applied.
    Apply(Apply),
    /// The device's core reported something that must not be: a checksum mismatch, a protocol error.
    Protocol {
        /// Its words.
        message: String,
    },
    /// Rows were read whole.
    Read {
        /// Why.
        scope: Scope,
        /// The rows and what was seen of each; `None` is absent. A read with scope [`Scope::Final`] lists every
        /// visible row, and only those.
        rows: Vec<(RowId, Option<Row>)>,
    },
    /// The device's app stopped or started.
    Lifecycle(Lifecycle),
    /// A transaction committed in the server's database.
    Commit(Commit),
    /// What `GET /conflicts` gave a user at the end.
    Conflicts {
        /// The user.
        user: String,
        /// The records.
        records: Vec<ConflictRecord>,
    },
    /// The application's SQL invariants were put to the server's final rows.
    Invariants {
        /// Each invariant's name, and what came of it.
        answers: Vec<(String, InvariantAnswer)>,
    },
    /// A fault began or ended.
    Fault {
        /// Invoke: it strikes; ok: it was undone; fail: it could not be injected.
        phase: Phase,
        /// The step's key.
        key: u32,
        /// The fault.
        fault: Fault,
    },
    /// The run entered or left one of its phases.
    Barrier {
        /// Which.
        barrier: Barrier,
        /// Invoke: entered; ok: reached; fail: its deadline passed.
        phase: Phase,
        /// What was still open when it failed, a sentence a device.
        open: Vec<String>,
    },
}

/// What an invariant's query came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvariantAnswer {
    /// No row: it holds.
    Holds,
    /// It returned rows; the first of them as text.
    Broken(Vec<String>),
    /// It could not be asked.
    NotAsked(String),
}

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
    /// Names in `data` that are no columns of the schema, and columns whose value is none of their type.
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
}

/// The fate of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxOutcome {
    /// It is committed.
    Committed,
    /// It is refused for good, whole.
    Refused,
    /// It was not tried; the device sends it again.
    NotAttempted,
}

/// The fate of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect as sent.
    Applied,
    /// It took effect in part, or joined with what was there.
    Merged,
    /// It took no effect: others' writes stay.
    Superseded,
    /// It is refused for good, and its transaction with it.
    Rejected,
    /// Its transaction was refused because of another operation.
    RolledBack,
}

/// What the backend answered, or its ledger holds, for one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OpAnswer {
    /// The operation.
    pub op_id: i64,
    /// Its fate.
    pub outcome: Outcome,
    /// The rule or the reason.
    pub reason: Option<String>,
    /// Who won, if another did.
    pub by: Option<Writer>,
    /// The row that this one was merged into.
    pub merged_into: Option<RowId>,
}

/// Who wrote a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// A device's operation.
    Client {
        /// The device.
        device: u32,
        /// Its operation.
        op_id: i64,
    },
    /// The server itself: seed rows, server-side writes, cascades.
    Server,
    /// A writer that the run does not know, in the backend's words.
    Other(String),
}

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

/// Why rows were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A person looked at them: the rows named.
    Look,
    /// The end of the run: every visible row.
    Final,
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

/// A phase of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Barrier {
    /// Every fault is undone.
    Heal,
    /// The first fence.
    Settle,
    /// Resumed traffic.
    Resume,
    /// The second fence.
    SettleAgain,
}
