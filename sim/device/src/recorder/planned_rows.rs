//! Leaves out of an event what is about rows of others who use the database as well.

use sim_core::history::{OpAnswer, RowId, What};

/// What of it is about the plan's rows: those before `end`.
pub(super) fn only(mut what: What, end: RowId) -> What {
    let survivors = |answers: &mut Vec<OpAnswer>| {
        for answer in answers {
            answer.merged_into = answer.merged_into.filter(|row| *row < end);
        }
    };
    match &mut what {
        What::Apply(apply) => apply.rows.retain(|(row, _)| *row < end),
        What::Read { rows, .. } => rows.retain(|(row, _)| *row < end),
        What::Conflicts { records, .. } => records.retain(|record| record.row < end),
        What::Upload(upload) => survivors(&mut upload.ops),
        What::Commit(commit) => survivors(&mut commit.ledger),
        _ => {}
    }
    what
}
