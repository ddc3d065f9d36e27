//! Carries a changed value through a history, as a stack would that really held it: later commits, applies and reads
//! show it until somebody writes the column again.

use std::collections::BTreeSet;

use fixtures::{Row, Value};
use sim_core::History;
use sim_core::history::{Change, RowId, What, Who};

/// A column of a row, as a commit left it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// The commit's event.
    pub(super) event: usize,
    pub(super) row: RowId,
    pub(super) column: usize,
}

pub(super) fn with(row: &Row, column: usize, value: &Value) -> Row {
    let mut values = row.to_vec();
    values[column] = value.clone();
    values.into()
}

fn column_of(image: Option<&Row>, column: usize) -> Option<&Value> {
    image.and_then(|image| image.get(column))
}

/// Whether a commit's change writes the column.
pub(super) fn writes(change: &Change, column: usize) -> bool {
    column_of(change.before.as_ref(), column) != column_of(change.after.as_ref(), column)
}

/// Sets the cell to the value from its commit on. Gives `None` where the value that was there comes again later, so
/// that it could not be told which one an apply shows.
pub(super) fn carry(history: &History, cell: Cell, value: &Value) -> Option<History> {
    let Cell { event, row, column } = cell;
    let mut changed = history.clone();
    let What::Commit(commit) = &mut changed.events[event].what else { return None };
    let own = commit.changes.iter_mut().rev().find(|change| change.row == row)?;
    let new = column_of(own.after.as_ref(), column)?.clone();
    own.after = own.after.as_ref().map(|after| with(after, column, value));
    let mut stands = true;
    let mut applied: BTreeSet<u32> = BTreeSet::new();
    let replace = |image: &mut Row| {
        let is_there = image.get(column) == Some(&new);
        if is_there {
            *image = with(image, column, value);
        }
        is_there
    };
    for entry in &mut changed.events[event + 1..] {
        match (&mut entry.what, entry.who) {
            (What::Commit(commit), _) => {
                for change in commit.changes.iter_mut().filter(|change| change.row == row) {
                    let is_write = writes(change, column);
                    if is_write && column_of(change.after.as_ref(), column) == Some(&new) {
                        return None;
                    }
                    if stands {
                        change.before = change.before.as_ref().map(|before| with(before, column, value));
                        stands = !is_write;
                    }
                    if stands {
                        change.after = change.after.as_ref().map(|after| with(after, column, value));
                    }
                }
            }
            (What::Apply(apply), Who::Client(device)) => {
                for (_, image) in apply.rows.iter_mut().filter(|(at, _)| *at == row) {
                    if image.as_mut().is_some_and(replace) {
                        applied.insert(device);
                    }
                }
            }
            (What::Read { rows, .. }, Who::Client(device)) if applied.contains(&device) => {
                for (_, image) in rows.iter_mut().filter(|(at, _)| *at == row) {
                    image.as_mut().map(replace);
                }
            }
            (What::Read { rows, .. }, Who::Server) => {
                for (_, image) in rows.iter_mut().filter(|(at, _)| *at == row) {
                    image.as_mut().map(replace);
                }
            }
            (What::Tx(tx), Who::Client(device)) if applied.contains(&device) => {
                for op in tx.ops.iter_mut().filter(|op| op.row == row) {
                    for (_, old) in op.old.iter_mut().filter(|(at, old)| *at == column && *old == new) {
                        *old = value.clone();
                    }
                }
            }
            _ => {}
        }
    }
    Some(changed)
}
