//! The rows of a plan as the server has them: symbolic rows and values become tables, ids and typed columns.

use std::sync::Arc;

use fixtures::{App, Value};
use sim_core::Plan;
use sim_core::plan::{EPOCH_US, Expr};
use sim_device::interpreter::clock_text;
use sim_device::recorder::Recorder;

/// A row: its table and its id.
pub(crate) type RowKey = (usize, Arc<str>);

/// A seed row: the table, its id, and the columns that are set.
pub(crate) type SeedRow = (usize, Arc<str>, Vec<(usize, Value)>);

/// Every row that the plan names.
pub(crate) fn named_rows(app: &App, plan: &Plan) -> Vec<RowKey> {
    (0..u32::try_from(plan.rows.len()).unwrap_or(u32::MAX)).map(|row| row_key(app, plan, row)).collect()
}

/// The seed rows, as the server has them before plan time 0.
pub(crate) fn seed_rows(app: &App, plan: &Plan, recorder: &Recorder) -> Vec<SeedRow> {
    let mut rows = Vec::new();
    for seed in &plan.seed_rows {
        let (table, id) = row_key(app, plan, seed.row);
        let mut values = Vec::new();
        for (name, expr) in &seed.set {
            match server_value(app, plan, table, name, expr, EPOCH_US) {
                Some(Ok(value)) => values.push(value),
                Some(Err(error)) => recorder.record_harness_failure(format!("seed row #{}: {error}", seed.row)),
                None => {}
            }
        }
        rows.push((table, id, values));
    }
    rows
}

/// Table and id of a symbolic row.
pub(crate) fn row_key(app: &App, plan: &Plan, row: u32) -> RowKey {
    let table = app.schema.table_index(&plan.rows[row as usize]).expect("plans are checked against the schema");
    (table, Arc::from(plan.row_id(row)))
}

/// A column and its value, as the server itself writes it at this instant; `None` for a column that it does not have.
pub(crate) fn server_value(
    app: &App,
    plan: &Plan,
    table: usize,
    name: &str,
    expr: &Expr,
    now_us: i64,
) -> Option<Result<(usize, Value), String>> {
    let schema = &app.schema.tables[table];
    let column = schema.column_index(name)?;
    let json = match expr {
        Expr::Value(json) => json.clone(),
        Expr::Id(row) => plan.row_id(*row).into(),
        Expr::Now => clock_text(now_us).into(),
        Expr::Device => "server".into(),
    };
    let value = Value::from_json(schema.columns[column].ty, &json);
    Some(value.map(|value| (column, value)).map_err(|error| format!("{name}: {error}")))
}
