//! The baseline `arrival-order`: whatever arrives is executed, in order.
//!
//! - PUT: insert, and on a conflicting id overwrite every column that was sent. PATCH: update the sent columns where
//!   the id matches; no matching row is a success. DELETE: delete where the id matches.
//! - Any database error rolls back, so that such a transaction makes no commit at all: a column unknown to the
//!   server, a NULL in a required column (PostgreSQL looks at the row to be inserted before it looks for the id), a
//!   unique key taken, a PATCH with no columns, a PUT with nothing but an id.
//! - Nothing else: no stamps, tombstones, aliases, references, ledger or records. A repeated upload is executed
//!   again.

use std::sync::Arc;

use super::execution::Execution;
use super::explain::Why;
use super::prediction::Predicted;
use super::state::key;
use crate::history::{Op, Outcome};

impl Execution<'_, '_> {
    /// Executes the operation.
    ///
    /// # Errors
    /// The database's error, in a word.
    pub(super) fn execute(mut self) -> Result<(), &'static str> {
        if !self.op.unknown.is_empty() {
            return Err("unknown-column-or-bad-value");
        }
        if self.op.op != Op::Delete && self.op.data.is_empty() {
            return Err("no-columns");
        }
        let current = self.state.live(self.row).cloned();
        let image = match (self.op.op, current) {
            (Op::Delete, _) => None,
            (Op::Patch, None) => return self.done(),
            (Op::Put, None) => {
                let (image, _) = self.inserted();
                self.check_not_null(&image)?;
                Some(image)
            }
            (Op::Put | Op::Patch, Some(current)) => {
                if self.op.op == Op::Put {
                    let (inserted, _) = self.inserted();
                    self.check_not_null(&inserted)?;
                }
                let mut image = current.to_vec();
                for (column, value) in self.data.iter().enumerate() {
                    if let Some(value) = value {
                        image[column] = value.clone();
                    }
                }
                self.check_not_null(&image)?;
                Some(image)
            }
        };
        if let Some(image) = &image {
            for (index, unique) in &self.facts.uniques {
                let taken = key(image, &unique.columns).and_then(|key| self.state.holder(*index, key, self.row));
                if taken.is_some() {
                    return Err("unique");
                }
            }
        }
        self.state.write(self.facts, self.row, image.map(Arc::from));
        self.note(self.row, None, Why::Written);
        self.done()
    }

    fn check_not_null(&self, image: &[fixtures::Value]) -> Result<(), &'static str> {
        let columns = &self.app.schema.tables[self.table].columns;
        // What the database fills in is not known before the commit.
        let rules = &self.app.policy.tables[self.table];
        let full = columns.iter().zip(image).enumerate().all(|(at, (column, value))| {
            !(column.not_null && value.is_null()) || (rules.is_server_set(at) && self.data[at].is_none())
        });
        if full { Ok(()) } else { Err("not-null") }
    }

    fn done(self) -> Result<(), &'static str> {
        self.out.ops.push(Predicted {
            op_id: self.op.op_id,
            row: self.row,
            outcome: Outcome::Applied,
            reason: None,
            winners: Vec::new(),
            merged_into: None,
        });
        Ok(())
    }
}
