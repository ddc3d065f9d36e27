//! The naive second reading: why a sound stack could have made a changed history. It shares no code with the checkers.

use fixtures::App;
use sim_core::History;
use sim_core::history::{Change, Commit, ConflictRecord, What, Who, Writer};

use super::carry::{Cell, writes};

/// Whether the value may be another without a write being lost: the clock column is a stamp and no edit.
pub(super) fn may_be_other(app: &App, history: &History, cell: Cell) -> bool {
    history.table_of(cell.row).is_some_and(|table| app.policy.tables[table].clock == Some(cell.column))
}

/// Whether two commits that follow each other have no row in common, so that they could have come in the other order.
pub(super) fn is_disjoint(one: &Commit, other: &Commit) -> bool {
    let touches = |change: &Change, commit: &Commit| commit.changes.iter().any(|own| own.row == change.row);
    !one.changes.iter().any(|change| touches(change, other))
}

/// Whether the change is an edit of something else than the row's clock.
pub(super) fn is_edit(app: &App, history: &History, change: &Change) -> bool {
    let Some(table) = history.table_of(change.row) else { return false };
    let clock = app.policy.tables[table].clock;
    (0..app.schema.tables[table].columns.len()).any(|column| Some(column) != clock && writes(change, column))
}

/// Why nobody is owed a conflict record.
pub(super) fn record_not_owed(history: &History, record: &ConflictRecord) -> Option<&'static str> {
    match (&record.loser, &record.winner) {
        (Writer::Client { device: loser, op_id }, Writer::Client { device: winner, op_id: winning }) => {
            if loser == winner {
                return Some("a device's own later write took the place of its earlier one");
            }
            had_seen(history, (*loser, *op_id), (*winner, *winning)).then_some("the winner had seen the loser's write")
        }
        (Writer::Client { .. }, _) => None,
        _ => Some("what the server wrote has no author who is owed a record"),
    }
}

/// Whether an apply brought the loser's row to the winner's device between the loser's commit and the winner's write.
fn had_seen(history: &History, loser: (u32, i64), winner: (u32, i64)) -> bool {
    let write = |(device, op_id): (u32, i64)| {
        history.events.iter().enumerate().find_map(|(event, entry)| match (&entry.what, entry.who) {
            (What::Tx(tx), Who::Client(by)) if by == device => {
                tx.ops.iter().find(|op| op.op_id == op_id).map(|op| (event, op.row, tx.tx_id))
            }
            _ => None,
        })
    };
    let (Some((_, row, tx_id)), Some((wrote, ..))) = (write(loser), write(winner)) else { return false };
    let committed = history.events.iter().position(|entry| match &entry.what {
        What::Commit(commit) => commit.origin.is_some_and(|of| of.device == loser.0 && Some(of.tx_id) == tx_id),
        _ => false,
    });
    committed.is_some_and(|committed| {
        history.events.get(committed..wrote).unwrap_or_default().iter().any(|entry| match (&entry.what, entry.who) {
            (What::Apply(apply), Who::Client(by)) => by == winner.0 && apply.rows.iter().any(|(at, _)| *at == row),
            _ => false,
        })
    })
}
