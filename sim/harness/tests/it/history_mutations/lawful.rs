//! The naive second reading: why a sound stack could have made a changed history. It shares no code with the checkers.

use fixtures::App;
use sim_core::History;
use sim_core::history::{Change, Commit, What};

use super::carry::{Cell, writes};

/// Why a value of a commit may be another.
pub(super) fn other_value(app: &App, history: &History, cell: Cell) -> Option<&'static str> {
    let table = history.table_of(cell.row)?;
    let policy = &app.policy.tables[table];
    let What::Commit(commit) = &history.events[cell.event].what else { return None };
    if commit.origin.is_none() {
        return Some("the server writes what it likes");
    }
    (policy.clock == Some(cell.column)).then_some("the clock column is a stamp and no edit")
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
