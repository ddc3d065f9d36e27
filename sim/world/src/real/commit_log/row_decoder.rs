//! Row changes of the log as typed changes of an application's tables.

use std::sync::Arc;

use backend::record::{Cause, Change};
use fixtures::{Row, Schema, Value};

use super::pgoutput::Cell;

/// A table of the log: its index in the schema, and the column index of each of its columns, `None` for `id`.
pub(super) struct Relation {
    table: usize,
    columns: Vec<Option<usize>>,
}

impl Relation {
    /// `None` for a table that the schema does not have.
    pub(super) fn new(schema: &Schema, name: &str, columns: &[String]) -> Option<Self> {
        let table = schema.table_index(name)?;
        Some(Self { table, columns: columns.iter().map(|column| schema.tables[table].column_index(column)).collect() })
    }

    /// The change of a row from its cells before and after.
    ///
    /// # Errors
    /// What is missing from the log.
    pub(super) fn change(
        &self,
        schema: &Schema,
        old: Option<Vec<Cell>>,
        new: Option<Vec<Cell>>,
    ) -> Result<Change, String> {
        let before = old.map(|cells| self.row(schema, cells, None)).transpose()?;
        let after = match new {
            None => None,
            Some(cells) => Some(self.row(schema, cells, before.as_ref().map(|(_, row)| row))?),
        };
        let id = after.as_ref().or(before.as_ref()).map(|(id, _)| id.clone());
        Ok(Change {
            table: self.table,
            id: id.ok_or("the log has a row change without the row's id: replica identity FULL is needed")?,
            before: before.map(|(_, row)| row),
            after: after.map(|(_, row)| row),
            by: None,
            cause: Cause::Server,
        })
    }

    fn row(&self, schema: &Schema, cells: Vec<Cell>, before: Option<&Row>) -> Result<(Arc<str>, Row), String> {
        let declared = &schema.tables[self.table];
        let mut id = None;
        let mut values = vec![Value::Null; declared.columns.len()];
        for (column, cell) in self.columns.iter().zip(cells) {
            match (column, cell) {
                (None, Some(Some(text))) => id = Some(Arc::from(text)),
                (None, _) => {}
                (Some(column), None) => {
                    let known = before.and_then(|before| before.get(*column)).cloned();
                    values[*column] = known.ok_or("the log leaves out a value that is not known")?;
                }
                (Some(_), Some(None)) => {}
                (Some(column), Some(Some(text))) => {
                    let declared_column = &declared.columns[*column];
                    values[*column] = Value::from_text(declared_column.ty, &text)
                        .map_err(|error| format!("{}.{}: {error}", declared.name, declared_column.name))?;
                }
            }
        }
        Ok((id.ok_or("a row of the log has no id")?, values.into()))
    }
}
