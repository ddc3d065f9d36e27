//! What the backend answers to an upload, and what the device stores of it.

use serde::Deserialize;
use sim_core::history::{OpAnswer, Outcome, TxOutcome};

use crate::host::{QueuedTx, StoredOutcome};

#[derive(Deserialize)]
struct UploadReply {
    #[serde(default)]
    transactions: Vec<TxReply>,
}

/// The answer for one transaction.
#[derive(Deserialize)]
pub(super) struct TxReply {
    tx_id: i64,
    pub(super) outcome: TxOutcome,
    #[serde(default)]
    pub(super) ops: Vec<OpReply>,
}

/// The answer for one operation.
#[derive(Deserialize)]
pub(super) struct OpReply {
    pub(super) op_id: i64,
    pub(super) outcome: Outcome,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) by: Option<String>,
    #[serde(default)]
    pub(super) merged_into: Option<String>,
}

/// The answer for this transaction, if the body has one.
pub(super) fn parse(body: &[u8], tx_id: i64) -> Option<TxReply> {
    let reply: UploadReply = serde_json::from_slice(body).ok()?;
    reply.transactions.into_iter().find(|tx| tx.tx_id == tx_id)
}

impl TxReply {
    /// What the device stores: the transaction's outcome, and that of each operation that was not simply applied.
    pub(super) fn stored_outcomes(&self) -> Vec<StoredOutcome> {
        let outcome = if self.outcome == TxOutcome::Refused { "refused" } else { "committed" };
        let whole = StoredOutcome { op_id: None, outcome: outcome.to_owned(), reason: None };
        let ops = self.ops.iter().filter(|op| op.outcome != Outcome::Applied).map(|op| {
            let outcome = serde_json::to_value(op.outcome).ok();
            let outcome = outcome.and_then(|json| json.as_str().map(str::to_owned)).unwrap_or_default();
            StoredOutcome { op_id: Some(op.op_id), outcome, reason: op.reason.clone() }
        });
        std::iter::once(whole).chain(ops).collect()
    }
}

/// What the device stores for a transaction without answers for its operations.
pub(super) fn stored_outcome(outcome: &str, reason: Option<String>) -> Vec<StoredOutcome> {
    vec![StoredOutcome { op_id: None, outcome: outcome.to_owned(), reason }]
}

/// One answer for every operation of a transaction.
pub(super) fn same_for_all(queued: &QueuedTx, outcome: Outcome, reason: Option<&str>) -> Vec<OpAnswer> {
    let reason = reason.map(str::to_owned);
    let answer = |op_id: &i64| {
        let (op_id, reason) = (*op_id, reason.clone());
        OpAnswer { op_id, outcome, reason, by: None, merged_into: None }
    };
    queued.op_ids.iter().map(answer).collect()
}
