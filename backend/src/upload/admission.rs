//! Once-only effect: which operations of a transaction are new, and which were answered before.
//!
//! The key is (subject, client, epoch, operation id), with a digest of the content.
//!
//! - Same key, same digest: the first answer again.
//! - Same key, other digest: the client's database is a restored copy that uses operation ids again. The whole
//!   transaction is new, in the client's next epoch or in one that an earlier such transaction opened. The answer says so.
//! - An unknown operation id at or below the last one that retention removed: nobody knows whether it took effect, so it
//!   is refused. The answer says so.

use std::collections::BTreeMap;

use crate::record::LedgerRow;
use crate::store::ClientLedger;
use crate::wire::OpAnswer;

/// What the ledger says about a transaction.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Admission {
    /// For each operation, its first answer if it was answered before.
    pub(super) first_answers: Vec<Option<OpAnswer>>,
    /// Operations that retention may have removed, by position.
    pub(super) forgotten: Vec<usize>,
    /// The epoch of the new operations.
    pub(super) epoch: u32,
    /// Whether the client's database is a restored copy.
    pub(super) is_restored: bool,
}

/// Compares operations (id, digest) with the ledger.
pub(super) fn admit(ops: &[(i64, [u8; 32])], ledger: &ClientLedger) -> Admission {
    let mut entries: BTreeMap<i64, Vec<&LedgerRow>> = BTreeMap::new();
    for entry in &ledger.entries {
        entries.entry(entry.op_id).or_default().push(entry);
    }
    let entries_of = |op_id: &i64| entries.get(op_id).map_or(&[][..], Vec::as_slice);
    let known =
        |(op_id, digest): &(i64, [u8; 32])| entries_of(op_id).iter().find(|entry| entry.digest == *digest).copied();
    let current = ledger.epoch.max(1);
    let mut reused = ops.iter().filter(|op| !entries_of(&op.0).is_empty() && known(op).is_none()).peekable();
    if reused.peek().is_some() {
        let is_taken = reused.any(|(op_id, _)| entries_of(op_id).iter().any(|entry| entry.epoch == current));
        let epoch = if is_taken { current + 1 } else { current };
        let first = ops
            .iter()
            .map(|op| known(op).filter(|entry| entry.epoch == epoch).map(|entry| entry.answer.clone()))
            .collect();
        return Admission { first_answers: first, forgotten: Vec::new(), epoch, is_restored: true };
    }
    let first: Vec<Option<OpAnswer>> = ops.iter().map(|op| known(op).map(|entry| entry.answer.clone())).collect();
    let forgotten = ops
        .iter()
        .enumerate()
        .filter(|(index, (op_id, _))| first[*index].is_none() && Some(*op_id) <= ledger.forgotten_through)
        .map(|(index, _)| index)
        .collect();
    Admission { first_answers: first, forgotten, epoch: current, is_restored: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Outcome;

    #[test]
    fn admits() {
        // (op id, epoch, content) in the ledger; (op id, content) sent; what is known, epoch, restored, forgotten.
        type Case<'a> = (&'a [(i64, u32, u8)], Option<i64>, &'a [(i64, u8)], &'a [bool], u32, bool, &'a [usize]);
        let check = |(ledger, forgotten_through, sent, known, epoch, restored, forgotten): Case<'_>| {
            let ledger = ClientLedger {
                epoch: ledger.iter().map(|(_, epoch, _)| *epoch).max().unwrap_or(0),
                forgotten_through,
                entries: ledger
                    .iter()
                    .map(|(op_id, epoch, content)| LedgerRow {
                        op_id: *op_id,
                        epoch: *epoch,
                        digest: [*content; 32],
                        answer: OpAnswer::plain(*op_id, Outcome::Applied),
                    })
                    .collect(),
            };
            let sent: Vec<(i64, [u8; 32])> = sent.iter().map(|(op_id, content)| (*op_id, [*content; 32])).collect();
            let admission = admit(&sent, &ledger);
            let found: Vec<bool> = admission.first_answers.iter().map(Option::is_some).collect();
            assert_eq!(
                (found.as_slice(), admission.epoch, admission.is_restored, admission.forgotten.as_slice()),
                (known, epoch, restored, forgotten),
                "sent {sent:?}"
            );
        };
        check((&[], None, &[(1, 7)], &[false], 1, false, &[]));
        check((&[(1, 1, 7)], None, &[(1, 7), (2, 8)], &[true, false], 1, false, &[]));
        // A restored copy: everything in the transaction is new, even an operation with the same content.
        check((&[(1, 1, 7), (2, 1, 8)], None, &[(1, 7), (2, 9)], &[false, false], 2, true, &[]));
        // The same transaction sent again.
        check((&[(1, 1, 7), (2, 1, 8), (1, 2, 7), (2, 2, 9)], None, &[(1, 7), (2, 9)], &[true, true], 2, false, &[]));
        // The copy continues in the epoch that it opened.
        check((&[(2, 1, 8), (3, 1, 8), (2, 2, 9)], None, &[(3, 9)], &[false], 2, true, &[]));
        // A second restoration.
        check((&[(2, 1, 8), (2, 2, 9)], None, &[(2, 10)], &[false], 3, true, &[]));
        // A late duplicate from before the restoration.
        check((&[(2, 1, 8), (2, 2, 9)], None, &[(2, 8)], &[true], 2, false, &[]));
        check((&[(9, 1, 7)], Some(8), &[(8, 7), (9, 7), (10, 7)], &[false, true, false], 1, false, &[0]));
    }
}
