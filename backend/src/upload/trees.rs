//! Trees: no row is its own ancestor.

use std::sync::Arc;

use fixtures::Value;

use crate::operation::{OpKind, Operation};
use crate::policy::{Conflict, Decision, RowWrite};
use crate::record::{Author, Stored, Writer};
use crate::store::{Session, StoreError};
use crate::upload::execution::{Execution, OperationError};
use crate::wire::Outcome;

impl<S: Session> Execution<'_, S> {
    /// A write that would close a cycle leaves the parent column unchanged. Operations are checked one by one, after the
    /// effects of earlier ones. The rest of the operation and of the transaction is applied.
    pub(super) async fn enforce_trees(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &mut RowWrite,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<(), OperationError> {
        let rules = self.engine.rules.clone();
        let table = &rules.tables[op.table];
        for index in &table.trees {
            let column = rules.trees[*index].column;
            let Value::Text(parent) = write.row[column].clone() else { continue };
            if stored.live().is_some_and(|row| *row.value(column) == write.row[column]) {
                continue;
            }
            let Some((path, winner)) = self.cycle(op, column, parent).await? else { continue };
            let register_index = table.register_of[column];
            let register = &table.registers[register_index];
            match stored.live() {
                Some(row) => {
                    for column in &register.columns {
                        write.row[*column] = row.value(*column).clone();
                        let written = row.meta.as_ref().map_or(row.value(*column), |meta| &meta.written[*column]);
                        write.meta.set_written(*column, &written.clone());
                        if row.is_defaulted(*column) {
                            write.meta.defaulted.push(*column);
                        }
                    }
                    write.meta.stamps[register_index] = row.stamp(register_index).cloned();
                }
                None if table.columns[column].not_null => {
                    return Err(OperationError::rejected(format!("cycle: {path}"), Some(winner)));
                }
                None => {
                    write.row[column] = Value::Null;
                    write.meta.set_written(column, &Value::Null);
                }
            }
            let own = Author::Client(writer.clone());
            decision
                .conflicts
                .retain(|conflict| conflict.column.as_ref() != Some(&register.name) || conflict.winner != own);
            decision.conflicts.push(Conflict {
                column: Some(register.name.clone()),
                rule: "cycle".into(),
                loser: own,
                winner: winner.clone(),
            });
            // Whether another column that was sent is overridden too. A reference that became NULL because its parent is
            // missing did take effect.
            let is_overridden = |sent: usize| {
                let name = &table.register(sent).name;
                decision.conflicts.iter().any(|conflict| {
                    conflict.column.as_ref() == Some(name)
                        && conflict.loser == Author::Client(writer.clone())
                        && conflict.rule != "parent-missing"
                })
            };
            let is_all = op.kind == OpKind::Patch
                && op.data.iter().all(|(sent, _)| table.clock == Some(*sent) || is_overridden(*sent));
            decision.lower(if is_all { Outcome::Superseded } else { Outcome::Merged });
            decision.explain(format!("cycle: {path}"));
            decision.by.get_or_insert(winner);
        }
        Ok(())
    }

    /// The path from a new parent back to the row, and the last author of an edge in it.
    async fn cycle(
        &mut self,
        op: &Operation,
        column: usize,
        parent: Arc<str>,
    ) -> Result<Option<(String, Author)>, StoreError> {
        let rules = self.engine.rules.clone();
        let table = &rules.tables[op.table];
        let register = table.register_of[column];
        let mut path = vec![op.id.clone()];
        let mut winner = (i64::MIN, Author::Server);
        let mut next = parent;
        loop {
            if next == op.id {
                path.push(next);
                let names: Vec<&str> = path.iter().map(|id| &**id).collect();
                return Ok(Some((names.join(" > "), winner.1)));
            }
            // There is a cycle further up, made by a write that bypassed the backend. This row is not in it.
            if path.contains(&next) {
                return Ok(None);
            }
            let stored = self.session.stored(op.table, &next).await?;
            let Some(row) = stored.live() else { return Ok(None) };
            let at_us = row.stamp(register).map_or(i64::MIN, |stamp| stamp.at_us);
            if at_us >= winner.0 {
                winner = (at_us, row.author(register, &table.registers[register].columns));
            }
            let Value::Text(above) = row.value(column) else { return Ok(None) };
            path.push(std::mem::replace(&mut next, above.clone()));
        }
    }
}
