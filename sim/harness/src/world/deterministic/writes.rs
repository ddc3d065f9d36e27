//! Writes of the server's own: symbolic intents become statements that bypass the backend.

use std::sync::Arc;

use backend::store::memory::{MemoryStore, ServerOp};
use fixtures::App;
use sim_core::Plan;
use sim_core::plan::{Expr, Intent};

use crate::world::told::{server_value, table_of};

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
            let (table, id) = (table_of(self.app, self.plan, row), Arc::from(self.plan.row_id(row)));
            if !set.iter().all(|(_, expr)| self.is_there(expr)) {
                continue;
            }
            let value = |(name, expr): &(String, Expr)| server_value(self.app, self.plan, table, name, expr, self.now_us);
            let values = set.iter().filter_map(value).collect::<Result<_, _>>()?;
            ops.push(match intent {
                Intent::Insert { .. } => ServerOp::Upsert { table, id, values },
                Intent::Set { .. } => ServerOp::Update { table, id, values },
                _ => ServerOp::Delete { table, id },
            });
        }
        Ok(ops)
    }

    fn is_there(&self, expr: &Expr) -> bool {
        let Expr::Id(row) = expr else { return true };
        self.store.row(table_of(self.app, self.plan, *row), &self.plan.row_id(*row)).is_some()
    }
}
