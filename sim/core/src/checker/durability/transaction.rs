//! A transaction of a device whose effects are being judged.

use super::state::{Net, Write};
use crate::history::{LocalOp, LocalTx};

/// The commit being judged.
pub(super) struct JudgedTx<'a> {
    /// Its event; for a transaction without a commit, that of its answer.
    pub(super) event: usize,
    /// Its number; for a transaction without a commit, that of the last one before its answer.
    pub(super) seq: u64,
    /// When the backend received it, in microseconds since 1970.
    pub(super) received_us: i64,
    /// Whose it is.
    pub(super) device: u32,
    /// The event of the local transaction.
    pub(super) tx_event: usize,
    /// The local transaction.
    pub(super) tx: &'a LocalTx,
    /// Its operations that are being judged: one where the feed says whose effect each change is, else all.
    pub(super) ops: &'a [LocalOp],
    /// The number of this judgement: rows that it concerns carry it.
    pub(super) stamp: usize,
    /// What they did to each row that they changed or meant to change.
    pub(super) nets: Vec<Net>,
    /// Whether there is no commit, only an answer that claims one.
    pub(super) claimed: bool,
}

impl JudgedTx<'_> {
    /// An operation of the transaction as a write.
    pub(super) fn write(&self, op_id: i64) -> Write {
        Write { device: self.device, event: self.tx_event, op_id, seq: self.seq }
    }
}
