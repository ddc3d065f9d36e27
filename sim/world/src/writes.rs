//! Writes of the server's own: symbolic intents become statements that bypass the backend.

use std::sync::Arc;

use backend::store::memory::ServerOp;
use fixtures::App;
use sim_core::Plan;
use sim_core::plan::{Expr, Intent};

use super::told::{server_value, table_of};

/// One statement, and the rows that it names as parents: without one of them it is left out, as nobody types it.
pub(super) struct Statement {
    pub(super) op: ServerOp,
    pub(super) names: Vec<(usize, Arc<str>)>,
}

/// The statements of a transaction at an instant of the server's clock, in microseconds since 1970.
///
/// # Errors
/// What the columns do not take: a mistake of the plan.
pub(super) fn statements(app: &App, plan: &Plan, intents: &[Intent], now_us: i64) -> Result<Vec<Statement>, String> {
    let place = |row: u32| (table_of(app, plan, row), Arc::from(plan.row_id(row)));
    let mut statements = Vec::new();
    for intent in intents {
        let (row, set) = match intent {
            Intent::Insert { row, set, .. } | Intent::Set { row, set } => (*row, set.as_slice()),
            Intent::Delete { row } => (*row, &[][..]),
            other => return Err(format!("a server-side write cannot {other:?}")),
        };
        let (table, id) = place(row);
        let names = set.iter().filter_map(|(_, expr)| if let Expr::Id(row) = expr { Some(place(*row)) } else { None });
        let names = names.collect();
        let value = |(name, expr): &(String, Expr)| server_value(app, plan, table, name, expr, now_us);
        let values = set.iter().filter_map(value).collect::<Result<_, _>>()?;
        let op = match intent {
            Intent::Insert { .. } => ServerOp::Upsert { table, id, values },
            Intent::Set { .. } => ServerOp::Update { table, id, values },
            _ => ServerOp::Delete { table, id },
        };
        statements.push(Statement { op, names });
    }
    Ok(statements)
}
