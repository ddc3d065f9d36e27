//! A transaction that was committed in parts: which operations each commit is judged for.
//!
//! That it came in parts is atomicity's to tell. Whether each operation took effect is asked of the part that holds it.

use std::collections::BTreeMap;

use crate::checker::timeline::Timeline;
use crate::history::{Commit, LocalTx, Origin, Outcome, RowId};

/// The operations, by index, that a commit of the transaction is judged for; `None`: all, since it is the only one.
///
/// An operation belongs to the commit that has a change or an answer of it; where changes do not name operations, the
/// k-th operation on a row to the k-th commit that changes the row. One that has neither was passed over between its
/// neighbours, and is judged with the next operation that has.
pub(super) fn operations_of(
    timeline: &Timeline<'_>,
    commit: &Commit,
    origin: Origin,
    tx: &LocalTx,
) -> Option<Vec<usize>> {
    let parts: Vec<&Commit> = timeline
        .commits_of(origin.device, origin.tx_id)
        .filter_map(|seq| timeline.commit(seq))
        .filter(|part| !part.changes.is_empty() || !(part.ledger.is_empty() || is_refusal(part)))
        .collect();
    if parts.len() < 2 {
        return None;
    }
    let first = first_parts(&parts, tx);
    let of_next = |index: usize| first[index..].iter().flatten().next().copied().unwrap_or(parts.len() - 1);
    let this = parts.iter().position(|part| part.seq == commit.seq)?;
    let again = |index: usize| commit.changes.iter().any(|change| change.op_id == Some(tx.ops[index].op_id));
    Some((0..tx.ops.len()).filter(|index| of_next(*index) == this || again(*index)).collect())
}

/// For each operation the first part that holds it, if one does.
fn first_parts(parts: &[&Commit], tx: &LocalTx) -> Vec<Option<usize>> {
    let mut named: BTreeMap<i64, usize> = BTreeMap::new();
    let mut unnamed: BTreeMap<RowId, Vec<usize>> = BTreeMap::new();
    for (part, commit) in parts.iter().enumerate() {
        for change in &commit.changes {
            match change.op_id {
                Some(op) => drop(named.entry(op).or_insert(part)),
                None => {
                    let parts = unnamed.entry(change.row).or_default();
                    if parts.last() != Some(&part) {
                        parts.push(part);
                    }
                }
            }
        }
        for answer in &commit.ledger {
            named.entry(answer.op_id).or_insert(part);
        }
    }
    let mut taken: BTreeMap<RowId, usize> = BTreeMap::new();
    let of = |op: &crate::history::LocalOp| {
        named.get(&op.op_id).copied().or_else(|| {
            let parts = unnamed.get(&op.row)?;
            let taken = taken.entry(op.row).or_default();
            *taken += 1;
            parts.get(*taken - 1).or(parts.last()).copied()
        })
    };
    tx.ops.iter().map(of).collect()
}

/// Whether the commit only notes in the ledger that its transaction is refused.
pub(super) fn is_refusal(commit: &Commit) -> bool {
    let refused = |outcome| matches!(outcome, Outcome::Rejected | Outcome::RolledBack);
    commit.changes.is_empty() && !commit.ledger.is_empty() && commit.ledger.iter().all(|answer| refused(answer.outcome))
}
