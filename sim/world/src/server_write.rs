//! Server-side writes: a fault's symbolic intents become statements that bypass the backend.

use backend::store::memory::ServerOp;
use fixtures::App;
use sim_core::Plan;
use sim_core::plan::{Expr, Intent};

use crate::plan_rows::{RowKey, row_key, server_value};

/// One statement, and the parents that it refers to. It is left out where one of them does not exist.
pub(crate) struct WriteStatement {
    pub(crate) op: ServerOp,
    pub(crate) parents: Vec<RowKey>,
}

/// The statements of a transaction at an instant of the server's clock, in microseconds since 1970.
///
/// # Errors
/// What the columns do not take: a mistake of the plan.
pub(crate) fn write_statements(
    app: &App,
    plan: &Plan,
    intents: &[Intent],
    now_us: i64,
) -> Result<Vec<WriteStatement>, String> {
    let mut statements = Vec::new();
    for intent in intents {
        let (row, set) = match intent {
            Intent::Insert { row, set, .. } | Intent::Set { row, set } => (*row, set.as_slice()),
            Intent::Delete { row } => (*row, &[][..]),
            other => return Err(format!("a server-side write cannot {other:?}")),
        };
        let (table, id) = row_key(app, plan, row);
        let parent = |(_, expr): &(String, Expr)| match expr {
            Expr::Id(row) => Some(row_key(app, plan, *row)),
            _ => None,
        };
        let parents = set.iter().filter_map(parent).collect();
        let value = |(name, expr): &(String, Expr)| server_value(app, plan, table, name, expr, now_us);
        let values = set.iter().filter_map(value).collect::<Result<_, _>>()?;
        let op = match intent {
            Intent::Insert { .. } => ServerOp::Upsert { table, id, values },
            Intent::Set { .. } => ServerOp::Update { table, id, values },
            _ => ServerOp::Delete { table, id },
        };
        statements.push(WriteStatement { op, parents });
    }
    Ok(statements)
}
