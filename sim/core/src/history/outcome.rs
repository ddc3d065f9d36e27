//! What became of requests, transactions and operations, and who wrote a value.

use serde::{Deserialize, Serialize};

use super::header::RowId;

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
