//! Deletions, and what they do to children.

use std::collections::VecDeque;
use std::sync::Arc;

use fixtures::{OnParentDelete, Reference, Value};

use crate::policy::Conflict;
use crate::record::{Author, Cause, Stored, StoredRow, Tombstone, Writer};
use crate::rules::TableRules;
use crate::store::Session;
use crate::upload::execution::{DeferredChild, Execution, OperationError};

impl<S: Session> Execution<'_, S> {
    /// Deletes a live row, and its descendants as their references say.
    ///
    /// A child that would be deleted too, or would forbid the deletion, is left alone if a later operation of the same
    /// transaction deletes it.
    pub(super) async fn delete(
        &mut self,
        table: usize,
        id: &Arc<str>,
        stored: &StoredRow,
        at_us: i64,
        writer: &Arc<Writer>,
        cause: Cause,
    ) -> Result<(), OperationError> {
        let rules = self.engine.rules.clone();
        let mut pending: VecDeque<(usize, Arc<str>, StoredRow, i64, Cause)> = VecDeque::new();
        pending.push_back((table, id.clone(), stored.clone(), at_us, cause));
        while let Some((table, id, row, at_us, cause)) = pending.pop_front() {
            // It was reached a second time through another reference.
            if self.session.stored(table, &id).await?.live().is_none() {
                continue;
            }
            if cause == Cause::Cascade {
                for loser in authors(&rules.tables[table], &row) {
                    let winner = Author::Client(writer.clone());
                    let conflict = Conflict { column: None, rule: "cascade".into(), loser, winner };
                    self.record_conflict(table, &id, conflict).await?;
                }
            }
            let tombstone = Tombstone {
                at_us,
                received_us: self.received_us,
                writer: writer.clone(),
                image: row.row.clone(),
                meta: row.meta.clone(),
            };
            self.session.delete(table, &id, Some(tombstone), writer.op, cause).await?;
            for index in &rules.tables[table].children {
                let reference = &rules.references[*index];
                for child in self.session.children(*index, &id).await? {
                    let Stored::Live(row) = self.session.stored(reference.table, &child).await? else { continue };
                    if reference.on_parent_delete == OnParentDelete::Keep {
                        continue;
                    }
                    let is_deleted_later = self
                        .deletes
                        .get(&(reference.table, child.clone()))
                        .is_some_and(|position| *position > self.position);
                    if is_deleted_later && !loses_parent(&rules.tables[reference.table], reference) {
                        self.deferred.push(DeferredChild {
                            reference: *index,
                            child,
                            parent: id.clone(),
                            position: self.position,
                            writer: writer.clone(),
                        });
                        continue;
                    }
                    if self.release_child(*index, &child, &row, writer).await? {
                        let at_us =
                            self.received_us.max(row.last_stamp_us().map_or(i64::MIN, |at| at.saturating_add(1)));
                        pending.push_back((reference.table, child, row, at_us, Cause::Cascade));
                    }
                }
            }
        }
        Ok(())
    }

    /// Handles one child of a deleted parent. `true`: the child has to be deleted too.
    async fn release_child(
        &mut self,
        reference: usize,
        child: &Arc<str>,
        row: &StoredRow,
        writer: &Arc<Writer>,
    ) -> Result<bool, OperationError> {
        let rules = self.engine.rules.clone();
        let reference = &rules.references[reference];
        let table = &rules.tables[reference.table];
        let column = reference.column;
        match reference.on_parent_delete {
            OnParentDelete::Keep => Ok(false),
            OnParentDelete::Cascade => Ok(true),
            OnParentDelete::Null if loses_parent(table, reference) => {
                self.lose_parent(reference.table, child, row, column, writer, Author::Client(writer.clone())).await?;
                Ok(false)
            }
            OnParentDelete::Refuse | OnParentDelete::Null => {
                let register = table.register_of[column];
                let by = row.author(register, &table.registers[register].columns);
                Err(OperationError::rejected(
                    format!("has-children: {}.{}", table.name, table.columns[column].name),
                    Some(by),
                ))
            }
        }
    }

    /// Sets a reference to NULL, with a conflict record if its author is unseen by the winner.
    async fn lose_parent(
        &mut self,
        table: usize,
        id: &Arc<str>,
        row: &StoredRow,
        column: usize,
        writer: &Arc<Writer>,
        winner: Author,
    ) -> Result<(), OperationError> {
        let rules = self.engine.rules.clone();
        let register_index = rules.tables[table].register_of[column];
        let register = &rules.tables[table].registers[register_index];
        let loser = row.author(register_index, &register.columns);
        self.set_column(table, id, row, column, Value::Null, writer, Cause::ParentMissing).await?;
        let was_seen = winner.writer().is_some_and(|winner| loser.is_earlier_of(winner));
        if loser != winner && !was_seen {
            let column = Some(register.name.clone());
            self.record_conflict(table, id, Conflict { column, rule: "parent-missing".into(), loser, winner }).await?;
        }
        Ok(())
    }

    /// Checks the children that were left to a later operation, now that all have run.
    pub(super) async fn resolve_deferred(&mut self) -> Result<(), (usize, OperationError)> {
        for deferred in std::mem::take(&mut self.deferred) {
            self.resolve(&deferred).await.map_err(|error| (deferred.position, error))?;
        }
        Ok(())
    }

    async fn resolve(&mut self, deferred: &DeferredChild) -> Result<(), OperationError> {
        let rules = self.engine.rules.clone();
        let reference = &rules.references[deferred.reference];
        let Stored::Live(row) = self.session.stored(reference.table, &deferred.child).await? else { return Ok(()) };
        let still_named = row.value(reference.column).as_text() == Some(&deferred.parent);
        if !still_named || self.session.stored(reference.parent, &deferred.parent).await?.live().is_some() {
            return Ok(());
        }
        let writer = &deferred.writer;
        if self.release_child(deferred.reference, &deferred.child, &row, writer).await? {
            let at_us = self.received_us.max(row.last_stamp_us().map_or(i64::MIN, |at| at.saturating_add(1)));
            self.delete(reference.table, &deferred.child, &row, at_us, writer, Cause::Cascade).await?;
        }
        Ok(())
    }
}

/// Whether a child stays without its parent.
fn loses_parent(table: &TableRules, reference: &Reference) -> bool {
    reference.on_parent_delete == OnParentDelete::Null && !table.columns[reference.column].not_null
}

/// The authors of the row's registers, each once.
fn authors(table: &TableRules, row: &StoredRow) -> Vec<Author> {
    let mut authors: Vec<Author> = Vec::new();
    for (index, register) in table.registers.iter().enumerate() {
        for author in row.authors(index, register) {
            if !authors.contains(&author) {
                authors.push(author);
            }
        }
    }
    authors
}
