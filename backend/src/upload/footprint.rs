//! Which rows and invariants a transaction decides on: they are locked before they are read.

use std::collections::BTreeSet;
use std::sync::Arc;

use fixtures::Value;

use crate::operation::{OpKind, Operation};
use crate::rules::Rules;
use crate::store::{Footprint, Session, StoreError};
use crate::upload::execution::Execution;

/// The rows that operations name: their own, and those that they refer to or referred to.
pub(super) fn row_names<'a>(rules: &Rules, ops: impl Iterator<Item = &'a Operation>) -> BTreeSet<(usize, Arc<str>)> {
    let mut names = BTreeSet::new();
    for op in ops {
        names.insert((op.table, op.id.clone()));
        for reference in &rules.tables[op.table].references {
            let reference = &rules.references[*reference];
            for value in [op.sent(reference.column), op.base(reference.column)].into_iter().flatten() {
                if let Value::Text(parent) = value {
                    names.insert((reference.parent, parent.clone()));
                }
            }
        }
    }
    names
}

impl<S: Session> Execution<'_, S> {
    /// Locks everything that the transaction decides on, before it reads any of it.
    ///
    /// Ids are resolved through aliases before and after locking: an alias that another transaction added in between adds
    /// its survivor to the locks. Children that a deletion affects are found, and locked, when it runs.
    pub(super) async fn lock_footprint(&mut self, ops: &[Option<Operation>]) -> Result<(), StoreError> {
        let mut footprint = self.footprint(ops).await?;
        loop {
            self.session.lock(&footprint).await?;
            let again = self.footprint(ops).await?;
            if again == footprint {
                break;
            }
            footprint = again;
        }
        for (position, op) in ops.iter().enumerate() {
            let Some(op) = op else { continue };
            if op.kind == OpKind::Delete {
                let row = (op.table, self.resolve_id(op.table, &op.id).await?);
                self.deletes.insert(row, position);
            }
        }
        self.session.savepoint().await
    }

    async fn footprint(&mut self, ops: &[Option<Operation>]) -> Result<Footprint, StoreError> {
        let rules = &self.engine.rules;
        let mut footprint = Footprint::default();
        for op in ops.iter().flatten() {
            let table = &rules.tables[op.table];
            footprint.rows.insert((op.table, self.resolve_id(op.table, &op.id).await?));
            footprint.rows.insert((op.table, op.id.clone()));
            for reference in &table.references {
                let reference = &rules.references[*reference];
                if let Some(Value::Text(parent)) = op.sent(reference.column) {
                    footprint.rows.insert((reference.parent, self.resolve_id(reference.parent, parent).await?));
                }
            }
            for unique in &table.uniques {
                let columns = &rules.uniques[*unique].columns;
                if columns.iter().any(|column| op.sent(*column).is_some()) {
                    let values = columns.iter().map(|column| op.sent(*column).cloned()).collect();
                    footprint.uniques.push((*unique, values));
                }
            }
            // An operation that does not write the column cannot break the invariant. A revived row may bring it back.
            let touches = |column: usize| {
                op.kind == OpKind::Put
                    || table.edit_revives
                    || table.register(column).columns.iter().any(|column| op.sent(*column).is_some())
            };
            footprint.trees.extend(table.trees.iter().filter(|index| touches(rules.trees[**index].column)));
            let starts = table.exclusives.iter().filter(|index| touches(rules.exclusives[**index].running));
            footprint.exclusives.extend(starts);
        }
        Ok(footprint)
    }
}
