//! What a write owes to the rows that it refers to: parents that are there, and no cycle among them.

use std::sync::Arc;

use fixtures::{OnMissingParent, Value};

use crate::operation::{OpKind, Operation};
use crate::policy::{Conflict, Decision, RowWrite, set_written, superseded_by_deletion};
use crate::record::{Author, Cause, RowMeta, Stamp, StoredRow, Writer};
use crate::store::{Put, Session, StoreError, Stored};
use crate::upload::transaction::{Run, Stop, explain};
use crate::wire::Outcome;

impl<S: Session> Run<'_, S> {
    /// Sets one column of another row on behalf of an operation.
    #[expect(clippy::too_many_arguments, reason = "a row's address, its column and its reason are all needed")]
    pub(super) async fn set_column(
        &mut self,
        table: usize,
        id: &Arc<str>,
        stored: &StoredRow,
        column: usize,
        value: Value,
        writer: &Arc<Writer>,
        cause: Cause,
    ) -> Result<(), StoreError> {
        let rules = self.engine.rules.clone();
        let table_rules = &rules.tables[table];
        let register = table_rules.register_of[column];
        let mut row = stored.row.to_vec();
        let mut meta = match &stored.meta {
            Some(meta) => RowMeta::clone(meta),
            None => RowMeta::unknown(table_rules.registers.len(), &stored.row),
        };
        let after_us = stored.stamp(register).map_or(i64::MIN, |stamp| stamp.at_us.saturating_add(1));
        meta.stamps[register] = Some(Stamp::new(self.received_us.max(after_us), writer.clone()));
        meta.defaulted.retain(|defaulted| *defaulted != column);
        set_written(&mut meta, column, &value);
        row[column] = value;
        self.session.put(Put { table, id: id.clone(), row: row.into(), meta: Some(meta), by: writer.op, cause }).await
    }

    /// Brings a write into line with the rest of the database. `false`: it comes to nothing.
    pub(super) async fn keep_integrity(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &mut RowWrite,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<bool, Stop> {
        if !self.keep_references(op, stored, write, decision, writer).await? {
            return Ok(false);
        }
        self.keep_trees(op, stored, write, decision, writer).await?;
        self.keep_exclusives(op, stored, write, decision, writer).await?;
        self.keep_uniques(op, stored, write).await?;
        Ok(true)
    }

    async fn keep_references(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &mut RowWrite,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<bool, Stop> {
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
                    set_written(&mut write.meta, column, &Value::Null);
                    decision.conflicts.push(Conflict {
                        column: Some(table.register(column).name.clone()),
                        rule: "parent-missing".into(),
                        loser: Author::Client(writer.clone()),
                        winner: missing.clone(),
                    });
                    lower(decision, Outcome::Merged);
                    explain(decision, format!("parent-missing: {}", table.columns[column].name));
                    decision.by.get_or_insert(missing);
                }
                // An edit that would bring back a row whose parent is gone as well comes too late for both.
                OnMissingParent::Refuse | OnMissingParent::Null if op.sent(column).is_none() => {
                    if let Stored::Deleted(tombstone) = stored {
                        *decision = superseded_by_deletion(Author::Client(writer.clone()), tombstone);
                        return Ok(false);
                    }
                }
                OnMissingParent::Refuse | OnMissingParent::Null => {
                    return Err(Stop::rejected(
                        format!("parent-missing: {}", table.columns[column].name),
                        Some(missing),
                    ));
                }
            }
        }
        Ok(true)
    }

    /// A write that would close a cycle leaves the parent column as it is. Operations are judged one by one, each
    /// on what the earlier ones of its transaction left; the rest of the operation, and of the transaction, applies.
    async fn keep_trees(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &mut RowWrite,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<(), Stop> {
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
                        set_written(&mut write.meta, *column, &written.clone());
                        if row.is_defaulted(*column) {
                            write.meta.defaulted.push(*column);
                        }
                    }
                    write.meta.stamps[register_index] = row.stamp(register_index).cloned();
                }
                None if table.columns[column].not_null => {
                    return Err(Stop::rejected(format!("cycle: {path}"), Some(winner)));
                }
                None => {
                    write.row[column] = Value::Null;
                    set_written(&mut write.meta, column, &Value::Null);
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
            // Whether what the operation sent beside the parent gave way as well. What became NULL for want of a
            // parent took effect as something else.
            let gave_way = |sent: usize| {
                let name = &table.register(sent).name;
                decision.conflicts.iter().any(|conflict| {
                    conflict.column.as_ref() == Some(name)
                        && conflict.loser == Author::Client(writer.clone())
                        && conflict.rule != "parent-missing"
                })
            };
            let is_all = op.kind == OpKind::Patch
                && op.data.iter().all(|(sent, _)| table.clock == Some(*sent) || gave_way(*sent));
            lower(decision, if is_all { Outcome::Superseded } else { Outcome::Merged });
            explain(decision, format!("cycle: {path}"));
            decision.by.get_or_insert(winner);
        }
        Ok(())
    }

    /// The path by which a new parent leads back to the row, and who last wrote an edge of it.
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
            // A cycle that a bypassing write made further up is not this row's.
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

/// An outcome only ever gets worse.
pub(super) fn lower(decision: &mut Decision, outcome: Outcome) {
    if decision.outcome == Outcome::Applied || outcome == Outcome::Superseded {
        decision.outcome = outcome;
    }
}
