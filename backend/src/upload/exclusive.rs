//! Exclusive invariants: at most one row of a table is running.
//!
//! The first row to run holds a lease until it stops, or until its last *received* heartbeat is older than the lease. A
//! later start is stored as not running. A start after the lease has ended stops the holder in the same commit. Both
//! leave a conflict record.

use std::sync::Arc;

use fixtures::Value;

use crate::operation::{OpKind, Operation};
use crate::policy::{Conflict, Decision, RowWrite};
use crate::record::{Author, Cause, RowMeta, Stored, StoredRow, Writer};
use crate::store::{Session, StoreError};
use crate::upload::execution::{Execution, OperationError};
use crate::wire::Outcome;

impl<S: Session> Execution<'_, S> {
    pub(super) async fn enforce_exclusives(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &mut RowWrite,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<(), OperationError> {
        let rules = self.engine.rules.clone();
        let table = &rules.tables[op.table];
        for index in &table.exclusives {
            let exclusive = &rules.exclusives[*index];
            let column = exclusive.running;
            if write.row[column] != Value::Int(1) {
                continue;
            }
            let was_running = stored.live().is_some_and(|row| *row.value(column) == Value::Int(1));
            if was_running {
                if op.sent(exclusive.heartbeat).is_some() {
                    write.meta.record_heartbeat(*index, self.received_us);
                }
                continue;
            }
            let register = table.register(column);
            let mut ended: Vec<(Arc<str>, StoredRow)> = Vec::new();
            let mut holder: Option<Author> = None;
            for id in self.session.running(*index).await? {
                let Stored::Live(row) = self.session.stored(op.table, &id).await? else { continue };
                if id == op.id {
                    continue;
                }
                let heartbeat_us = row.meta.as_ref().and_then(|meta| meta.heartbeat_us(*index));
                let lease_us = exclusive.lease_s.saturating_mul(1_000_000);
                if heartbeat_us.is_some_and(|at_us| self.received_us.saturating_sub(at_us) <= lease_us) {
                    holder = Some(row.author(table.register_of[column], &register.columns));
                    break;
                }
                ended.push((id, row));
            }
            let rule = format!("exclusive:{}", exclusive.name);
            if let Some(holder) = holder {
                write.row[column] = Value::Int(0);
                write.meta.set_written(column, &Value::Int(0));
                // A group may include the column although it was not sent: that is not a start.
                if op.sent(column).is_some() || stored.live().is_none() {
                    decision.conflicts.push(Conflict {
                        column: Some(register.name.clone()),
                        rule: rule.clone().into(),
                        loser: Author::Client(writer.clone()),
                        winner: holder.clone(),
                    });
                }
                decision.lower(Outcome::Merged);
                decision.explain(rule);
                decision.by.get_or_insert(holder);
                continue;
            }
            for (id, row) in ended {
                let loser = row.author(table.register_of[column], &register.columns);
                let conflict = Conflict {
                    column: Some(register.name.clone()),
                    rule: rule.clone().into(),
                    loser,
                    winner: Author::Client(writer.clone()),
                };
                self.set_column(op.table, &id, &row, column, Value::Int(0), writer, Cause::LeaseEnded).await?;
                self.record_conflict(op.table, &id, conflict).await?;
            }
            write.meta.record_heartbeat(*index, self.received_us);
        }
        Ok(())
    }

    /// Records heartbeats of an operation that changes nothing in the row.
    pub(super) async fn record_heartbeats(&mut self, op: &Operation, stored: &Stored) -> Result<(), StoreError> {
        let rules = self.engine.rules.clone();
        let (Some(row), false) = (stored.live(), op.kind == OpKind::Delete) else { return Ok(()) };
        let Some(meta) = &row.meta else { return Ok(()) };
        let mut updated: Option<RowMeta> = None;
        for index in &rules.tables[op.table].exclusives {
            let exclusive = &rules.exclusives[*index];
            if op.sent(exclusive.heartbeat).is_some() && *row.value(exclusive.running) == Value::Int(1) {
                updated.get_or_insert_with(|| RowMeta::clone(meta)).record_heartbeat(*index, self.received_us);
            }
        }
        match updated {
            Some(meta) => self.session.put_meta(op.table, &op.id, meta).await,
            None => Ok(()),
        }
    }
}
