//! Writes of the server's own: symbolic intents become statements that bypass the backend.

use std::sync::Arc;

use backend::store::memory::{MemoryStore, ServerOp};
use fixtures::{App, Value};
use sim_core::Plan;
use sim_core::plan::{Expr, Intent};

use crate::interpreter::clock_text;

/// Where the statements come from.
pub(super) struct Desk<'a> {
    pub(super) app: &'a App,
    pub(super) plan: &'a Plan,
    pub(super) store: &'a MemoryStore,
    /// The server's clock, in microseconds since 1970.
    pub(super) now_us: i64,
}

impl Desk<'_> {
    /// The statements of a transaction. What names a row that is not there is left out, as nobody types it.
    ///
    /// # Errors
    /// What the columns do not take: a mistake of the plan.
    pub(super) fn statements(&self, intents: &[Intent]) -> Result<Vec<ServerOp>, String> {
        let mut ops = Vec::new();
        for intent in intents {
            let (row, set) = match intent {
                Intent::Insert { row, set, .. } | Intent::Set { row, set } => (*row, set.as_slice()),
                Intent::Delete { row } => (*row, &[][..]),
                other => return Err(format!("a server-side write cannot {other:?}")),
            };
            let (table, id) = (self.table(row), Arc::from(self.plan.row_id(row)));
            if !set.iter().all(|(_, expr)| self.is_there(expr)) {
                continue;
            }
            let values = set.iter().filter_map(|(name, expr)| self.value(table, name, expr)).collect::<Result<_, _>>()?;
            ops.push(match intent {
                Intent::Insert { .. } => ServerOp::Upsert { table, id, values },
                Intent::Set { .. } => ServerOp::Update { table, id, values },
                _ => ServerOp::Delete { table, id },
            });
        }
        Ok(ops)
    }

    /// A column and its value; `None` for a column that the server does not have.
    pub(super) fn value(&self, table: usize, name: &str, expr: &Expr) -> Option<Result<(usize, Value), String>> {
        let schema = &self.app.schema.tables[table];
        let column = schema.column_index(name)?;
        let json = match expr {
            Expr::Value(json) => json.clone(),
            Expr::Id(row) => self.plan.row_id(*row).into(),
            Expr::Now => clock_text(self.now_us).into(),
            Expr::Device => "server".into(),
        };
        let value = Value::from_json(schema.columns[column].ty, &json);
        Some(value.map(|value| (column, value)).map_err(|error| format!("{name}: {error}")))
    }

    /// The table of a symbolic row.
    pub(super) fn table(&self, row: u32) -> usize {
        self.app.schema.table_index(&self.plan.rows[row as usize]).expect("plans are checked against the schema")
    }

    fn is_there(&self, expr: &Expr) -> bool {
        let Expr::Id(row) = expr else { return true };
        self.store.row(self.table(*row), &self.plan.row_id(*row)).is_some()
    }
}
