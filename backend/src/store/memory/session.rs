//! One transaction at a time over the store in memory: writes take effect at once, and an undo log takes them back.

use std::sync::Arc;

use fixtures::{Row, Value};

use crate::policy::Conflict;
use crate::record::{
    Cause, Change, Commit, ConflictRecord, LedgerRow, Origin, RowMeta, Stored, Tombstone, TombstoneRow,
};
use crate::rules::Rules;
use crate::store::error::StoreError;
use crate::store::memory::state::{Inner, Open, Retained, Undo};
use crate::store::session::{ClientLedger, Footprint, NewConflict, Put, Session};
use crate::store::slot::Slot;

/// A session: it holds the store's lock.
pub(crate) struct MemorySession<'a> {
    pub(super) rules: &'a Rules,
    pub(super) inner: &'a mut Inner,
}

impl MemorySession<'_> {
    pub(super) fn open(&mut self, now_us: i64) {
        self.inner.open = Open { now_us, ..Open::default() };
    }

    pub(super) fn slot(&self, table: usize, id: &str) -> Option<&Slot> {
        self.inner.tables[table].slots.get(id)
    }

    pub(super) fn set_slot(&mut self, table: usize, id: &Arc<str>, slot: Slot) {
        let before = self.inner.tables[table].replace(self.rules, table, id, slot);
        self.inner.open.undo.push(Undo::Slot { table, id: id.clone(), slot: before });
    }

    pub(super) fn undo_to(&mut self, mark: usize) {
        while self.inner.open.undo.len() > mark {
            match self.inner.open.undo.pop().expect("the length was just compared") {
                Undo::Slot { table, id, slot } => {
                    self.inner.tables[table].replace(self.rules, table, &id, slot);
                }
                Undo::Alias { key, before: Some(before) } => {
                    self.inner.aliases.insert(key, before);
                    self.inner.open.aliases.pop();
                }
                Undo::Alias { key, before: None } => {
                    self.inner.aliases.remove(&key);
                    self.inner.open.aliases.pop();
                }
                Undo::Change => drop(self.inner.open.changes.pop()),
                Undo::Conflict => drop(self.inner.open.conflicts.pop()),
                Undo::Tombstone => drop(self.inner.open.tombstones.pop()),
                Undo::Ledger => drop(self.inner.open.ledger.pop()),
            }
        }
    }

    /// Commits. A transaction without any effect gets no number.
    pub(super) fn close(&mut self, at_us: i64, origin: Option<Origin>) {
        let open = std::mem::take(&mut self.inner.open);
        let inner = &mut *self.inner;
        let nothing = open.changes.is_empty() && open.ledger.is_empty() && open.conflicts.is_empty();
        if nothing && open.tombstones.is_empty() && open.aliases.is_empty() {
            return;
        }
        for row in &open.tombstones {
            inner.retained.push_back((open.now_us, Retained::Tombstone { table: row.table, id: row.id.clone() }));
        }
        for (table, id, _) in &open.aliases {
            inner.retained.push_back((open.now_us, Retained::Alias { table: *table, id: id.clone() }));
        }
        let mut ledger = Vec::with_capacity(open.ledger.len());
        for (client, entry) in open.ledger {
            if let Some(client) = client {
                let kept = inner.clients.entry(client.clone()).or_default();
                kept.epoch = kept.epoch.max(entry.epoch);
                kept.ledger.entry(entry.op_id).or_default().push(entry.clone());
                let retained = Retained::Ledger { client, op_id: entry.op_id, epoch: entry.epoch };
                inner.retained.push_back((open.now_us, retained));
            }
            ledger.push(entry);
        }
        let first = inner.conflicts.len();
        for new in open.conflicts {
            let seq = inner.conflicts.len() as u64 + 1;
            inner.conflicts.push(numbered(seq, new));
        }
        inner.commits.push(Arc::new(Commit {
            seq: inner.commits.len() as u64 + 1,
            at_us,
            received_us: open.now_us,
            origin,
            changes: open.changes,
            ledger,
            conflicts: inner.conflicts[first..].to_vec(),
            tombstones: open.tombstones,
            aliases: open.aliases,
        }));
    }

    /// Stores a row after the checks that PostgreSQL makes.
    pub(super) fn write(&mut self, table: usize, id: &Arc<str>, row: &Row) -> Result<(), StoreError> {
        let rules = &self.rules.tables[table];
        for (column, value) in rules.columns.iter().zip(row.iter()) {
            if column.not_null && value.is_null() {
                return Err(StoreError::NotNull(column.name.clone()));
            }
        }
        for (within, unique) in rules.uniques.iter().enumerate() {
            let columns = &self.rules.uniques[*unique].columns;
            if self.inner.tables[table].holder(within, columns, row).is_some_and(|holder| holder != *id) {
                return Err(StoreError::Unique(rules.column_names(columns)));
            }
        }
        Ok(())
    }

    pub(super) fn change(&mut self, change: Change) {
        self.inner.open.changes.push(change);
        self.inner.open.undo.push(Undo::Change);
    }

    fn put_now(&mut self, put: Put) -> Result<(), StoreError> {
        let Put { table, id, row, meta, by, cause } = put;
        self.write(table, &id, &row)?;
        let mut slot = self.slot(table, &id).cloned().unwrap_or_default();
        let before = slot.row.take();
        // An UPDATE that changes nothing is not a change, except for the baseline, which sends every statement.
        let visible = meta.is_none() || before.as_ref() != Some(&row);
        let row = match &before {
            Some(before) if !visible => before.clone(),
            _ => row,
        };
        if let Some(meta) = meta {
            slot.meta = Some(Arc::new(meta));
        }
        if before.is_none() {
            slot.tombstone = None;
        }
        slot.row = Some(row.clone());
        self.set_slot(table, &id, slot);
        if visible {
            self.change(Change { table, id, before, after: Some(row), by: Some(by), cause });
        }
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        table: usize,
        id: &str,
        tombstone: Option<Tombstone>,
        by: Option<i64>,
        cause: Cause,
    ) {
        let Some((id, slot)) = self.inner.tables[table].slots.get_key_value(id) else { return };
        let (id, mut slot) = (id.clone(), slot.clone());
        let Some(before) = slot.row.take() else { return };
        if let Some(tombstone) = tombstone {
            slot.meta = None;
            self.note_tombstone(table, &id, tombstone.at_us);
            slot.tombstone = Some(Arc::new(tombstone));
        }
        self.set_slot(table, &id, slot);
        self.change(Change { table, id, before: Some(before), after: None, by, cause });
    }

    fn note_tombstone(&mut self, table: usize, id: &Arc<str>, at_us: i64) {
        self.inner.open.tombstones.push(TombstoneRow { table, id: id.clone(), at_us });
        self.inner.open.undo.push(Undo::Tombstone);
    }

    fn forget_now(&mut self, before_us: i64) {
        while self.inner.retained.front().is_some_and(|(at_us, _)| *at_us < before_us) {
            let (_, retained) = self.inner.retained.pop_front().expect("the front was just looked at");
            match retained {
                Retained::Ledger { client, op_id, epoch } => {
                    let Some(client) = self.inner.clients.get_mut(&client) else { continue };
                    client.forgotten_through = client.forgotten_through.max(Some(op_id));
                    if let Some(entries) = client.ledger.get_mut(&op_id) {
                        entries.retain(|entry| entry.epoch != epoch);
                        if entries.is_empty() {
                            client.ledger.remove(&op_id);
                        }
                    }
                }
                Retained::Tombstone { table, id } => {
                    let Some(mut slot) = self.inner.tables[table].slots.get(&id).cloned() else { continue };
                    if slot.tombstone.as_ref().is_some_and(|tombstone| tombstone.received_us < before_us) {
                        slot.tombstone = None;
                        self.inner.tables[table].replace(self.rules, table, &id, slot);
                    }
                }
                Retained::Alias { table, id } => drop(self.inner.aliases.remove(&(table, id))),
            }
        }
    }
}

fn numbered(seq: u64, new: NewConflict) -> ConflictRecord {
    let subject = new.conflict.subject();
    let NewConflict { at_us, table, id, conflict: Conflict { column, rule, loser, winner } } = new;
    ConflictRecord { seq, at_us, subject, table, id, column, rule, loser, winner }
}

impl Session for MemorySession<'_> {
    async fn begin(&mut self, received_us: i64) -> Result<(), StoreError> {
        self.open(received_us);
        Ok(())
    }

    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.inner.open.savepoint = self.inner.open.undo.len();
        Ok(())
    }

    async fn rollback_to_savepoint(&mut self) -> Result<(), StoreError> {
        self.undo_to(self.inner.open.savepoint);
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.undo_to(0);
        self.inner.open = Open::default();
        Ok(())
    }

    async fn commit(&mut self, at_us: i64, origin: Option<Origin>) -> Result<(), StoreError> {
        self.close(at_us, origin);
        Ok(())
    }

    async fn lock_client(&mut self, _subject: &str, _client: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn lock(&mut self, _footprint: &Footprint) -> Result<(), StoreError> {
        Ok(())
    }

    async fn forget(&mut self, before_us: i64) -> Result<(), StoreError> {
        self.forget_now(before_us);
        Ok(())
    }

    async fn ledger(&mut self, subject: &str, client: &str, op_ids: &[i64]) -> Result<ClientLedger, StoreError> {
        let key = (Arc::from(subject), Arc::from(client));
        let Some(client) = self.inner.clients.get(&key) else { return Ok(ClientLedger::default()) };
        let entries = op_ids.iter().filter_map(|op_id| client.ledger.get(op_id)).flatten().cloned().collect();
        Ok(ClientLedger { epoch: client.epoch, forgotten_through: client.forgotten_through, entries })
    }

    async fn alias(&mut self, table: usize, id: &str) -> Result<Option<Arc<str>>, StoreError> {
        if self.inner.aliases.is_empty() {
            return Ok(None);
        }
        Ok(self.inner.aliases.get(&(table, Arc::from(id))).cloned())
    }

    async fn stored(&mut self, table: usize, id: &str) -> Result<Stored, StoreError> {
        Ok(self.slot(table, id).map_or(Stored::Absent, Slot::stored))
    }

    async fn holder(&mut self, unique: usize, row: &[Value]) -> Result<Option<Arc<str>>, StoreError> {
        let key = &self.rules.uniques[unique];
        let uniques = &self.rules.tables[key.table].uniques;
        let within = uniques.iter().position(|index| *index == unique).expect("a table lists its own unique keys");
        Ok(self.inner.tables[key.table].holder(within, &key.columns, row))
    }

    async fn children(&mut self, reference: usize, parent: &str) -> Result<Vec<Arc<str>>, StoreError> {
        let table = self.rules.references[reference].table;
        let references = &self.rules.tables[table].references;
        let within = references.iter().position(|index| *index == reference).expect("a table lists its own references");
        Ok(self.inner.tables[table].children(within, parent))
    }

    async fn running(&mut self, exclusive: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let table = self.rules.exclusives[exclusive].table;
        let exclusives = &self.rules.tables[table].exclusives;
        let within = exclusives.iter().position(|index| *index == exclusive).expect("a table lists its own invariants");
        Ok(self.inner.tables[table].running(within))
    }

    async fn put(&mut self, put: Put) -> Result<(), StoreError> {
        self.put_now(put)
    }

    async fn put_meta(&mut self, table: usize, id: &str, meta: RowMeta) -> Result<(), StoreError> {
        if let Some((id, slot)) = self.inner.tables[table].slots.get_key_value(id) {
            let (id, mut slot) = (id.clone(), slot.clone());
            slot.meta = Some(Arc::new(meta));
            self.set_slot(table, &id, slot);
        }
        Ok(())
    }

    async fn delete(
        &mut self,
        table: usize,
        id: &str,
        tombstone: Option<Tombstone>,
        by: i64,
        cause: Cause,
    ) -> Result<(), StoreError> {
        self.remove(table, id, tombstone, Some(by), cause);
        Ok(())
    }

    async fn put_tombstone(&mut self, table: usize, id: &str, tombstone: Tombstone) -> Result<(), StoreError> {
        if let Some((id, slot)) = self.inner.tables[table].slots.get_key_value(id) {
            let (id, mut slot) = (id.clone(), slot.clone());
            self.note_tombstone(table, &id, tombstone.at_us);
            slot.tombstone = Some(Arc::new(tombstone));
            self.set_slot(table, &id, slot);
        }
        Ok(())
    }

    async fn add_alias(&mut self, table: usize, losing: &str, survivor: &str) -> Result<(), StoreError> {
        let (losing, survivor): (Arc<str>, Arc<str>) = (Arc::from(losing), Arc::from(survivor));
        let key = (table, losing.clone());
        let before = self.inner.aliases.insert(key.clone(), survivor.clone());
        self.inner.open.undo.push(Undo::Alias { key, before });
        self.inner.open.aliases.push((table, losing, survivor));
        Ok(())
    }

    async fn add_conflict(&mut self, conflict: NewConflict) -> Result<(), StoreError> {
        self.inner.open.conflicts.push(conflict);
        self.inner.open.undo.push(Undo::Conflict);
        Ok(())
    }

    async fn add_ledger(&mut self, subject: &Arc<str>, client: &Arc<str>, entry: LedgerRow) -> Result<(), StoreError> {
        self.inner.open.ledger.push((Some((subject.clone(), client.clone())), entry));
        self.inner.open.undo.push(Undo::Ledger);
        Ok(())
    }

    async fn observe(&mut self, entries: Vec<LedgerRow>) -> Result<(), StoreError> {
        for entry in entries {
            self.inner.open.ledger.push((None, entry));
            self.inner.open.undo.push(Undo::Ledger);
        }
        Ok(())
    }
}
