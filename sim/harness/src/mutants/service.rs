//! Defects of the sync service: what is replicated to it, and what it believes to be the source's head.

use sim_service::replication::SourceTransaction;

use super::Mutant;

/// What replication makes of a transaction; of several parts, each but the first arrives a moment later than the one
/// before.
#[must_use]
pub fn replicated(mut transaction: SourceTransaction, mutant: Option<Mutant>) -> Vec<SourceTransaction> {
    let lsn = transaction.lsn;
    match mutant {
        Some(Mutant::Canary) if lsn > 1 => transaction.changes.clear(),
        Some(Mutant::DropsDeletes) => transaction.changes.retain(|change| change.after.is_some()),
        Some(Mutant::SkipsChanges) if lsn % 4 == 3 => {
            transaction.changes.pop();
        }
        Some(Mutant::SplitsTransactions) if transaction.changes.len() > 1 => {
            let rest = transaction.changes.split_off(1);
            return vec![
                SourceTransaction { lsn: lsn * 2, changes: transaction.changes },
                SourceTransaction { lsn: lsn * 2 + 1, changes: rest },
            ];
        }
        Some(Mutant::SplitsTransactions) => transaction.lsn = lsn * 2 + 1,
        _ => {}
    }
    vec![transaction]
}

/// What the service takes for the source's head.
#[must_use]
pub fn head(last: u64, mutant: Option<Mutant>) -> u64 {
    match mutant {
        Some(Mutant::AcknowledgesEarly) => 0,
        Some(Mutant::SplitsTransactions) => last * 2 + 1,
        _ => last,
    }
}
