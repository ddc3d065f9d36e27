//! The rows that exist before a plan begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{App, ColumnDefault, Row, Value};
use sim_core::history::{RowId, What};
use sim_core::plan::Expr;
use sim_core::{History, Plan};

/// The rows as the server's first commits show them, else as the plan states them.
pub(crate) fn initial_rows(plan: &Plan, history: &History, app: &App) -> BTreeMap<RowId, Row> {
    let mut rows = BTreeMap::new();
    for seed in &plan.seed_rows {
        let Some(table) = plan.rows.get(seed.row as usize).and_then(|name| app.schema.table_index(name)) else {
            continue;
        };
        let columns = &app.schema.tables[table].columns;
        let mut row: Vec<Value> = columns
            .iter()
            .map(|column| match &column.default {
                ColumnDefault::Literal(value) => value.clone(),
                ColumnDefault::Null | ColumnDefault::Now | ColumnDefault::Expression => Value::Null,
            })
            .collect();
        for (name, expr) in &seed.set {
            let Some(column) = app.schema.tables[table].column_index(name) else { continue };
            let value = match expr {
                Expr::Value(json) => Value::from_json(columns[column].ty, json).ok(),
                Expr::Id(other) => Some(Value::text(&plan.row_id(*other))),
                Expr::Now | Expr::Device => None,
            };
            row[column] = value.unwrap_or(Value::Null);
        }
        rows.insert(seed.row, Row::from(row));
    }
    let before = history.events.iter().take_while(|event| event.at_us <= 0);
    for event in before {
        let What::Commit(commit) = &event.what else { continue };
        for change in commit.changes.iter().filter(|_| commit.origin.is_none()) {
            match &change.after {
                Some(row) => rows.insert(change.row, Arc::clone(row)),
                None => rows.remove(&change.row),
            };
        }
    }
    rows
}
