//! References: the parent that a row names is there, or the table's rule for a missing parent applies.

use std::sync::Arc;

use fixtures::{OnMissingParent, Value};

use crate::operation::Operation;
use crate::policy::{Conflict, Decision, RowWrite, superseded_by_deletion};
use crate::record::{Author, Stored, Writer};
use crate::store::Session;
use crate::upload::execution::{Execution, OperationError};
use crate::wire::Outcome;

impl<S: Session> Execution<'_, S> {
    pub(super) async fn enforce_references(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &mut RowWrite,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<bool, OperationError> {
        let rules = self.engine.rules.clone();
        let table = &rules.tables[op.table];
        for index in &table.references {
            let reference = &rules.references[*index];
            let column = reference.column;
            let Value::Text(parent) = write.row[column].clone() else { continue };
            if stored.live().is_some_and(|row| *row.value(column) == write.row[column]) {
                continue;
            }
            if reference.parent == op.table && parent == op.id {
                continue;
            }
            let missing = match self.session.stored(reference.parent, &parent).await? {
                Stored::Live(_) => continue,
                Stored::Deleted(tombstone) => Author::Client(tombstone.writer.clone()),
                Stored::Absent => Author::Server,
            };
            match reference.on_missing_parent {
                OnMissingParent::Keep => {}
                OnMissingParent::Null if !table.columns[column].not_null => {
                    write.row[column] = Value::Null;
                    write.meta.set_written(column, &Value::Null);
                    decision.conflicts.push(Conflict {
                        column: Some(table.register(column).name.clone()),
                        rule: "parent-missing".into(),
                        loser: Author::Client(writer.clone()),
                        winner: missing.clone(),
                    });
                    decision.lower(Outcome::Merged);
                    decision.explain(format!("parent-missing: {}", table.columns[column].name));
                    decision.by.get_or_insert(missing);
                }
                // An edit that would revive a row whose parent is deleted too is superseded by the deletion.
                OnMissingParent::Refuse | OnMissingParent::Null if op.sent(column).is_none() => {
                    if let Stored::Deleted(tombstone) = stored {
                        *decision = superseded_by_deletion(Author::Client(writer.clone()), tombstone);
                        return Ok(false);
                    }
                }
                OnMissingParent::Refuse | OnMissingParent::Null => {
                    return Err(OperationError::rejected(
                        format!("parent-missing: {}", table.columns[column].name),
                        Some(missing),
                    ));
                }
            }
        }
        Ok(true)
    }
}
