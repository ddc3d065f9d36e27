//! `arrival-order`: the baseline. The last write to arrive stays, and nothing is remembered.
//!
//! PUT inserts or overwrites every column that was sent, PATCH updates where the id matches and otherwise changes
//! nothing, DELETE deletes. Every answer is *applied*.

use crate::operation::OpKind;
use crate::policy::decision::{Decision, Effect, RowWrite, Situation, inserted_row};
use crate::record::{RowMeta, Stored};

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    let effect = match (s.op.kind, s.stored) {
        (OpKind::Put | OpKind::Patch, Stored::Live(stored)) => {
            let mut row = stored.row.to_vec();
            for (column, value) in &s.op.data {
                row[*column] = value.clone();
            }
            Effect::Write(RowWrite { row, meta: RowMeta::unknown(0, &stored.row) })
        }
        (OpKind::Put, _) => {
            let row = inserted_row(s.rules, s.op, s.received_us);
            Effect::Write(RowWrite { row: row.to_vec(), meta: RowMeta::unknown(0, &row) })
        }
        (OpKind::Delete, Stored::Live(_)) => Effect::Delete { at_us: s.received_us },
        (OpKind::Patch | OpKind::Delete, _) => Effect::None,
    };
    Decision { effect, ..Decision::nothing() }
}
