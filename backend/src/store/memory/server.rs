//! Writes that bypass the backend, as statements typed into psql do.

use std::sync::Arc;

use fixtures::{ColumnDefault, Row, Value};

use crate::record::{Cause, Change};
use crate::store::error::StoreError;
use crate::store::memory::session::MemorySession;

/// A write that bypasses the backend.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerOp {
    /// `INSERT … ON CONFLICT (id) DO UPDATE` of the columns named; a new row has defaults elsewhere.
    Upsert {
        /// The table.
        table: usize,
        /// The row.
        id: Arc<str>,
        /// Columns and values.
        values: Vec<(usize, Value)>,
    },
    /// `UPDATE` of the columns named; no row, no effect.
    Update {
        /// The table.
        table: usize,
        /// The row.
        id: Arc<str>,
        /// Columns and values.
        values: Vec<(usize, Value)>,
    },
    /// `DELETE`; no row, no effect.
    Delete {
        /// The table.
        table: usize,
        /// The row.
        id: Arc<str>,
    },
}

impl MemorySession<'_> {
    pub(super) fn server_op(&mut self, op: &ServerOp) -> Result<(), StoreError> {
        let (table, id, values, insert) = match op {
            ServerOp::Upsert { table, id, values } => (*table, id, values, true),
            ServerOp::Update { table, id, values } => (*table, id, values, false),
            ServerOp::Delete { table, id } => {
                self.remove(*table, id, None, None, Cause::Server);
                return Ok(());
            }
        };
        let mut slot = self.slot(table, id).cloned().unwrap_or_default();
        let before = slot.row.take();
        let mut row: Vec<Value> = match (&before, insert) {
            (Some(row), _) => row.to_vec(),
            (None, true) => self.defaults(table),
            (None, false) => return Ok(()),
        };
        for (column, value) in values {
            row[*column] = value.clone();
        }
        let row: Row = row.into();
        self.write(table, id, &row)?;
        slot.row = Some(row.clone());
        self.set_slot(table, id, slot);
        self.change(Change { table, id: id.clone(), before, after: Some(row), by: None, cause: Cause::Server });
        Ok(())
    }

    fn defaults(&self, table: usize) -> Vec<Value> {
        let columns = self.rules.tables[table].columns.iter();
        columns
            .map(|column| match &column.default {
                ColumnDefault::Null => Value::Null,
                ColumnDefault::Literal(value) => value.clone(),
                ColumnDefault::Now => Value::Time(self.inner.open.now_us),
                ColumnDefault::Expression => Value::stand_in(column.ty, self.inner.open.now_us),
            })
            .collect()
    }
}
