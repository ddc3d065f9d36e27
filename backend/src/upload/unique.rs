//! Unique keys: inserts with the same key merge, every other collision is rejected.

use std::sync::Arc;

use fixtures::Value;

use crate::operation::Operation;
use crate::policy::{Conflict, RowWrite};
use crate::record::{Author, Cause, Stored, Writer};
use crate::store::{Session, StoreError};
use crate::upload::execution::{Execution, OperationError};

impl<S: Session> Execution<'_, S> {
    /// The unique key that an insert shares with a live row, and that row.
    pub(super) async fn survivor(
        &mut self,
        op: &Operation,
        row: &[Value],
    ) -> Result<Option<(usize, Arc<str>)>, StoreError> {
        let rules = self.engine.rules.clone();
        let table = &rules.tables[op.table];
        for index in &table.uniques {
            let unique = &rules.uniques[*index];
            if unique.merge
                && let Some(holder) = self.session.holder(*index, row).await?
                && holder != op.id
            {
                return Ok(Some((*index, holder)));
            }
        }
        Ok(None)
    }

    /// Replaces the losing id by the survivor: in future operations by an alias, and in rows that already name it.
    pub(super) async fn merge_into(
        &mut self,
        op: &Operation,
        unique: usize,
        survivor: &Arc<str>,
        writer: &Arc<Writer>,
    ) -> Result<(), StoreError> {
        self.session.add_alias(op.table, &op.id, survivor).await?;
        let rules = self.engine.rules.clone();
        let table = &rules.tables[op.table];
        let winner = match self.session.stored(op.table, survivor).await?.live() {
            Some(row) => {
                let register = table.register_of[rules.uniques[unique].columns[0]];
                row.author(register, &table.registers[register].columns)
            }
            None => Author::Server,
        };
        let conflict = Conflict { column: None, rule: "unique".into(), loser: Author::Client(writer.clone()), winner };
        self.record_conflict(op.table, &op.id, conflict).await?;
        for index in &table.children {
            let reference = &rules.references[*index];
            for child in self.session.children(*index, &op.id).await? {
                if let Stored::Live(row) = self.session.stored(reference.table, &child).await? {
                    let value = Value::Text(survivor.clone());
                    self.set_column(reference.table, &child, &row, reference.column, value, writer, Cause::Alias)
                        .await?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn enforce_uniques(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &RowWrite,
    ) -> Result<(), OperationError> {
        let rules = self.engine.rules.clone();
        let table = &rules.tables[op.table];
        for index in &table.uniques {
            let columns = &rules.uniques[*index].columns;
            let is_same =
                stored.live().is_some_and(|row| columns.iter().all(|column| *row.value(*column) == write.row[*column]));
            if is_same {
                continue;
            }
            let Some(holder) = self.session.holder(*index, &write.row).await? else { continue };
            if holder == op.id {
                continue;
            }
            let by = match self.session.stored(op.table, &holder).await?.live() {
                Some(row) => {
                    let register = table.register_of[columns[0]];
                    row.author(register, &table.registers[register].columns)
                }
                None => Author::Server,
            };
            return Err(OperationError::rejected(format!("unique: {}", table.column_names(columns)), Some(by)));
        }
        Ok(())
    }
}
