//! What a write owes to other rows: unique keys, references, trees, exclusive invariants.

use std::sync::Arc;

use fixtures::{OnMissingParent, Value};

use crate::operation::{OpKind, Operation};
use crate::policy::{Conflict, Decision, RowWrite, set_written, superseded_by_deletion};
use crate::record::{Author, Cause, RowMeta, Stamp, StoredRow, Writer};
use crate::rules::TableRules;
use crate::store::{Put, Session, StoreError, Stored};
use crate::upload::transaction::{Deferred, Run, Stop, explain};
use crate::wire::Outcome;

impl<S: Session> Run<'_, S> {
    /// The live row that an insert merges into, and the unique key in which they meet.
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

    /// Lets the survivor stand for the losing id: from now on by an alias, and in rows that already name it.
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
        self.record(op.table, &op.id, conflict).await?;
        for index in &table.children {
            let reference = &rules.references[*index];
            for child in self.session.children(*index, &op.id).await? {
                if let Stored::Live(row) = self.session.stored(reference.table, &child).await? {
                    let value = Value::Text(survivor.clone());
                    self.set_column(reference.table, &child, &row, reference.column, value, writer, Cause::Alias).await?;
                }
            }
        }
        Ok(())
    }

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
            let is_coming =
                self.puts.get(&(reference.parent, parent.clone())).is_some_and(|at| *at > self.position);
            if is_coming && reference.on_missing_parent != OnMissingParent::Keep {
                self.deferred.push(Deferred {
                    reference: *index,
                    child: op.id.clone(),
                    parent,
                    position: self.position,
                    writer: writer.clone(),
                    is_orphan: false,
                });
                continue;
            }
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
                    return Err(Stop::rejected(format!("parent-missing: {}", table.columns[column].name), Some(missing)));
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
            decision.conflicts.retain(|conflict| conflict.column.as_ref() != Some(&register.name) || conflict.winner != own);
            decision.conflicts.push(Conflict {
                column: Some(register.name.clone()),
                rule: "cycle".into(),
                loser: own,
                winner: winner.clone(),
            });
            let is_all = op.kind == OpKind::Patch
                && op.data.iter().all(|(sent, _)| register.columns.contains(sent) || table.clock == Some(*sent));
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

    async fn keep_exclusives(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &mut RowWrite,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<(), Stop> {
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
                    write.meta.beat(*index, self.received_us);
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
                let beat_us = row.meta.as_ref().and_then(|meta| meta.heartbeat_us(*index));
                let lease_us = exclusive.lease_s.saturating_mul(1_000_000);
                if beat_us.is_some_and(|at_us| self.received_us.saturating_sub(at_us) <= lease_us) {
                    holder = Some(row.author(table.register_of[column], &register.columns));
                    break;
                }
                ended.push((id, row));
            }
            let rule = format!("exclusive:{}", exclusive.name);
            if let Some(holder) = holder {
                write.row[column] = Value::Int(0);
                set_written(&mut write.meta, column, &Value::Int(0));
                // What a group carries along unsent is no second start.
                if op.sent(column).is_some() || stored.live().is_none() {
                    decision.conflicts.push(Conflict {
                        column: Some(register.name.clone()),
                        rule: rule.clone().into(),
                        loser: Author::Client(writer.clone()),
                        winner: holder.clone(),
                    });
                }
                lower(decision, Outcome::Merged);
                explain(decision, rule);
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
                self.record(op.table, &id, conflict).await?;
            }
            write.meta.beat(*index, self.received_us);
        }
        Ok(())
    }

    /// A heartbeat that changes nothing in the row was received all the same.
    pub(super) async fn beat(&mut self, op: &Operation, stored: &Stored) -> Result<(), StoreError> {
        let rules = self.engine.rules.clone();
        let (Some(row), false) = (stored.live(), op.kind == OpKind::Delete) else { return Ok(()) };
        let Some(meta) = &row.meta else { return Ok(()) };
        let mut beaten: Option<RowMeta> = None;
        for index in &rules.tables[op.table].exclusives {
            let exclusive = &rules.exclusives[*index];
            if op.sent(exclusive.heartbeat).is_some() && *row.value(exclusive.running) == Value::Int(1) {
                beaten.get_or_insert_with(|| RowMeta::clone(meta)).beat(*index, self.received_us);
            }
        }
        match beaten {
            Some(meta) => self.session.touch(op.table, &op.id, meta).await,
            None => Ok(()),
        }
    }

    async fn keep_uniques(&mut self, op: &Operation, stored: &Stored, write: &RowWrite) -> Result<(), Stop> {
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
            return Err(Stop::rejected(format!("unique: {}", key_name(table, columns)), Some(by)));
        }
        Ok(())
    }
}

/// An outcome only ever gets worse.
fn lower(decision: &mut Decision, outcome: Outcome) {
    if decision.outcome == Outcome::Applied || outcome == Outcome::Superseded {
        decision.outcome = outcome;
    }
}

/// The names of a key's columns.
pub(super) fn key_name(table: &TableRules, columns: &[usize]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| table.columns[*column].name.as_str()).collect();
    names.join(", ")
}
