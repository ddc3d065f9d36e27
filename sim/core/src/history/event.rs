//! One event: when, where, what.

use fixtures::Row;
use serde::{Deserialize, Serialize};

use super::commit::{Commit, ConflictRecord};
use super::device::{Apply, Lifecycle, LocalTx, Upload};
use super::header::RowId;
use super::outcome::Phase;
use crate::fault::Fault;

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

/// Why rows were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A person looked at them: the rows named.
    Look,
    /// The end of the run: every visible row.
    Final,
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
