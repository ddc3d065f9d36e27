//! What the database itself writes into rows: nobody's write, so that nobody can lose it.

use std::sync::Arc;

use fixtures::{App, Row, Value};

use super::context::Context;
use crate::history::{Change, Event, History, LocalOp, RowId, What};

/// Whether the change changed anything that somebody wrote: a column that the database sets by itself does not count.
pub(super) fn is_effective(ctx: &Context<'_>, change: &Change) -> bool {
    match (&change.before, &change.after) {
        (None, None) => false,
        (Some(before), Some(after)) => {
            let rules = ctx.history.table_of(change.row).map(|table| &ctx.app.policy.tables[table]);
            let sets = |column: usize| rules.is_some_and(|rules| rules.is_server_set(column));
            (0..before.len().max(after.len())).any(|column| before.get(column) != after.get(column) && !sets(column))
        }
        _ => true,
    }
}

/// The history without what the database sets by itself, or `None` where it sets nothing: events keep their places.
///
/// A clock column keeps its values: what a device sends in it is the stamp of its write, whatever a trigger stores.
pub(super) fn without(ctx: &Context<'_>) -> Option<History> {
    let columns: Vec<Vec<usize>> = (0..ctx.app.schema.tables.len()).map(|table| hidden(ctx.app, table)).collect();
    if columns.iter().all(Vec::is_empty) {
        return None;
    }
    let mut history = ctx.history.clone();
    let tables: Vec<usize> = history.rows.iter().map(|row| row.table).collect();
    let of = |row: RowId| tables.get(row as usize).map_or(&[][..], |table| columns[*table].as_slice());
    for event in &mut history.events {
        hide(event, &of);
    }
    Some(history)
}

/// The columns of a table of which nothing is judged.
fn hidden(app: &App, table: usize) -> Vec<usize> {
    let rules = &app.policy.tables[table];
    let width = app.schema.tables[table].columns.len();
    (0..width).filter(|column| rules.is_server_set(*column) && rules.clock != Some(*column)).collect()
}

fn hide<'c>(event: &mut Event, of: &dyn Fn(RowId) -> &'c [usize]) {
    let image = |row: RowId, image: &mut Option<Row>| {
        let columns = of(row);
        if let Some(shown) = image.as_ref().filter(|_| !columns.is_empty()) {
            let mut values = shown.to_vec();
            for column in columns {
                if let Some(value) = values.get_mut(*column) {
                    *value = Value::Null;
                }
            }
            *image = Some(Arc::from(values));
        }
    };
    match &mut event.what {
        What::Tx(tx) => {
            for LocalOp { row, data, old, .. } in &mut tx.ops {
                let columns = of(*row);
                data.retain(|(column, _)| !columns.contains(column));
                old.retain(|(column, _)| !columns.contains(column));
            }
        }
        What::Commit(commit) => {
            for Change { row, before, after, .. } in &mut commit.changes {
                image(*row, before);
                image(*row, after);
            }
        }
        What::Apply(apply) => apply.rows.iter_mut().for_each(|(row, shown)| image(*row, shown)),
        What::Read { rows, .. } => rows.iter_mut().for_each(|(row, shown)| image(*row, shown)),
        _ => {}
    }
}
