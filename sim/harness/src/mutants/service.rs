//! Defects of the sync service: what is replicated to it, and what it believes to be the source's head.

use fixtures::Row;
use sim_service::changes::{RowChange, SourceTransaction};

use sim_world::seams::Rows;

use super::Mutant;

/// What a snapshot says is there: with a planted defect, also what was there when the slot was lost.
#[must_use]
pub fn snapshot(mut rows: Rows, before_loss: &Rows) -> Rows {
    for (now, before) in rows.iter_mut().zip(before_loss) {
        for (id, row) in before {
            now.entry(id.clone()).or_insert_with(|| row.clone());
        }
    }
    rows
}

/// The rows without the last of the first table that has any: what a compaction leaves that takes too much.
#[must_use]
pub fn without_last(mut rows: Rows) -> Rows {
    if let Some(table) = rows.iter_mut().find(|table| !table.is_empty()) {
        table.pop_last();
    }
    rows
}

/// What replication makes of a transaction; of several parts, each but the first arrives a moment later than the one
/// before.
#[must_use]
pub fn replicated(mut transaction: SourceTransaction, mutant: Mutant) -> Vec<SourceTransaction> {
    let lsn = transaction.lsn;
    match mutant {
        Mutant::Canary if lsn > 1 => transaction.changes.clear(),
        Mutant::DropsDeletes => transaction.changes.retain(|change| change.after.is_some()),
        Mutant::SkipsChanges if lsn % 4 == 3 => {
            transaction.changes.pop();
        }
        Mutant::SplitsTransactions if transaction.changes.len() > 1 => {
            let rest = transaction.changes.split_off(1);
            return vec![
                SourceTransaction { lsn: lsn * 2, changes: transaction.changes },
                SourceTransaction { lsn: lsn * 2 + 1, changes: rest },
            ];
        }
        Mutant::SplitsTransactions => transaction.lsn = lsn * 2 + 1,
        // What was there when the plan began is not meant.
        Mutant::DropsInserts if lsn > 1 => transaction.changes.retain(|change| change.before.is_some()),
        Mutant::ReplicatesStaleColumn => {
            for change in &mut transaction.changes {
                bring_back(change, |before, after| {
                    let changed = (0..after.len()).filter(|column| before[*column] != after[*column]);
                    changed.min().into_iter().collect()
                });
            }
        }
        Mutant::ReplicatesNullsLate => {
            for change in &mut transaction.changes {
                bring_back(change, |before, after| {
                    (0..after.len()).filter(|column| after[*column].is_null() && !before[*column].is_null()).collect()
                });
            }
        }
        Mutant::DropsLargeTransactions if lsn > 1 && transaction.changes.len() > 1 => transaction.changes.clear(),
        Mutant::DropsSecondTable => {
            let first = transaction.changes.first().map(|change| change.table);
            transaction.changes.retain(|change| lsn == 1 || Some(change.table) == first);
        }
        _ => {}
    }
    vec![transaction]
}

/// Puts columns of a change back to what they were before: those that `columns` gives for the row before and after.
fn bring_back(change: &mut RowChange, columns: impl Fn(&Row, &Row) -> Vec<usize>) {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return };
    let mut values = after.to_vec();
    for column in columns(before, after) {
        values[column] = before[column].clone();
    }
    change.after = Some(values.into());
}

/// What the service takes for the source's head.
#[must_use]
pub fn head(last: u64, mutant: Mutant) -> u64 {
    match mutant {
        Mutant::AcknowledgesEarly => 0,
        Mutant::NeverAcknowledges => last + 1,
        Mutant::SplitsTransactions => last * 2 + 1,
        _ => last,
    }
}
