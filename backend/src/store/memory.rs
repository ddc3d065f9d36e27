//! A store in memory with PostgreSQL's semantics: types, defaults, NOT NULL, unique keys, transactions that take
//! effect whole or not at all, and a change feed as logical decoding gives it.
//!
//! One lock, so commit order is decision order. Nothing in it waits, and all order is that of ordered maps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use fixtures::{Default as ColumnDefault, Row, Value};

use crate::policy::Conflict;
use crate::record::{
    Author, Cause, Change, Commit, ConflictRecord, LedgerRow, Origin, RowMeta, StoredRow, Tombstone, TombstoneRow,
};
use crate::rules::Rules;
use crate::store::memory_table::{MemoryTable, Slot};
use crate::store::{BoxFuture, ClientLedger, Footprint, NewConflict, Put, Session, Store, StoreError, Stored};
use crate::upload::{self, Engine, Upload};
use crate::wire::UploadAnswer;

/// A handle to a store in memory; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    rules: Arc<Rules>,
    inner: Arc<Mutex<Inner>>,
}

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

/// All rows of all tables, in schema order, each by id.
pub type Snapshot = Vec<Vec<(Arc<str>, Row)>>;

impl MemoryStore {
    /// An empty store for an application.
    #[must_use]
    pub fn new(rules: Arc<Rules>) -> Self {
        let inner = Inner::new(&rules);
        Self { rules, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Forgets everything: rows, ledger, records, commits.
    pub fn reset(&self) {
        *self.lock() = Inner::new(&self.rules);
    }

    /// Runs writes that bypass the backend as one transaction, received and committed at the given time. They
    /// leave no stamps and no tombstones, as an UPDATE typed into psql would not.
    ///
    /// # Errors
    /// What PostgreSQL would refuse; nothing of the transaction takes effect then.
    pub fn server_transaction(&self, at_us: i64, ops: &[ServerOp]) -> Result<u64, StoreError> {
        let mut inner = self.lock();
        let mut session = MemorySession { rules: &self.rules, inner: &mut inner };
        session.open(at_us);
        for op in ops {
            if let Err(error) = session.server_op(op) {
                session.undo_to(0);
                return Err(error);
            }
        }
        session.close(at_us, None);
        Ok(inner.commits.len() as u64)
    }

    /// The live rows of a table, by id.
    #[must_use]
    pub fn rows(&self, table: usize) -> Vec<(Arc<str>, Row)> {
        self.lock().rows(table)
    }

    /// One live row.
    #[must_use]
    pub fn row(&self, table: usize, id: &str) -> Option<Row> {
        self.lock().tables[table].slots.get(id)?.row.clone()
    }

    /// All live rows.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        (0..inner.tables.len()).map(|table| inner.rows(table)).collect()
    }

    /// The commits numbered `seq` and above, in order.
    #[must_use]
    pub fn commits_from(&self, seq: u64) -> Vec<Arc<Commit>> {
        let inner = self.lock();
        let from = usize::try_from(seq.saturating_sub(1)).unwrap_or(usize::MAX).min(inner.commits.len());
        inner.commits[from..].to_vec()
    }

    /// The number of the last commit; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.lock().commits.len() as u64
    }

    /// All conflict records, in order.
    #[must_use]
    pub fn all_conflicts(&self) -> Vec<ConflictRecord> {
        self.lock().conflicts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked with the lock held has reported it; a reader after that may still look.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            let mut inner = self.lock();
            let mut session = MemorySession { rules: &self.rules, inner: &mut inner };
            ready(upload::apply(engine, &mut session, upload))
        })
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(async move {
            let inner = self.lock();
            let from = usize::try_from(after).unwrap_or(usize::MAX).min(inner.conflicts.len());
            let records = inner.conflicts[from..].iter().filter(|record| &*record.subject == subject);
            Ok(records.take(limit).cloned().collect())
        })
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }
}

/// Runs a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a session in memory never waits"),
    }
}

/// Subject and client id.
type ClientKey = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Inner {
    tables: Vec<MemoryTable>,
    aliases: BTreeMap<(usize, Arc<str>), Arc<str>>,
    clients: BTreeMap<ClientKey, Client>,
    conflicts: Vec<ConflictRecord>,
    commits: Vec<Arc<Commit>>,
    /// What retention will remove, oldest first.
    retained: VecDeque<(i64, Retained)>,
    open: Open,
}

#[derive(Debug, Default)]
struct Client {
    epoch: u32,
    forgotten_through: Option<i64>,
    ledger: BTreeMap<i64, Vec<LedgerRow>>,
}

#[derive(Debug)]
enum Retained {
    Ledger { client: ClientKey, op_id: i64, epoch: u32 },
    Tombstone { table: usize, id: Arc<str> },
    Alias { table: usize, id: Arc<str> },
}

/// The open transaction.
#[derive(Debug, Default)]
struct Open {
    now_us: i64,
    undo: Vec<Undo>,
    savepoint: usize,
    changes: Vec<Change>,
    /// Entries, with whose ledger they go to; `None` = they are in the commit alone.
    ledger: Vec<(Option<ClientKey>, LedgerRow)>,
    conflicts: Vec<NewConflict>,
    tombstones: Vec<TombstoneRow>,
    aliases: Vec<(usize, Arc<str>, Arc<str>)>,
}

/// How to take back one write.
#[derive(Debug)]
enum Undo {
    Slot { table: usize, id: Arc<str>, slot: Slot },
    Alias { key: (usize, Arc<str>), before: Option<Arc<str>> },
    Change,
    Conflict,
    Tombstone,
    Ledger,
}

impl Inner {
    fn new(rules: &Rules) -> Self {
        Self {
            tables: rules.tables.iter().map(MemoryTable::new).collect(),
            aliases: BTreeMap::new(),
            clients: BTreeMap::new(),
            conflicts: Vec::new(),
            commits: Vec::new(),
            retained: VecDeque::new(),
            open: Open::default(),
        }
    }

    fn rows(&self, table: usize) -> Vec<(Arc<str>, Row)> {
        let slots = self.tables[table].slots.iter();
        slots.filter_map(|(id, slot)| Some((id.clone(), slot.row.clone()?))).collect()
    }
}

/// The connection: the lock is held as long as it lives.
struct MemorySession<'a> {
    rules: &'a Rules,
    inner: &'a mut Inner,
}

impl MemorySession<'_> {
    fn open(&mut self, now_us: i64) {
        self.inner.open = Open { now_us, ..Open::default() };
    }

    fn slot(&self, table: usize, id: &str) -> Option<&Slot> {
        self.inner.tables[table].slots.get(id)
    }

    fn set_slot(&mut self, table: usize, id: &Arc<str>, slot: Slot) {
        let before = self.inner.tables[table].replace(self.rules, table, id, slot);
        self.inner.open.undo.push(Undo::Slot { table, id: id.clone(), slot: before });
    }

    fn undo_to(&mut self, mark: usize) {
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

    /// Commits. A transaction that did nothing at all has no number.
    fn close(&mut self, at_us: i64, origin: Option<Origin>) {
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
    fn write(&mut self, table: usize, id: &Arc<str>, row: &Row) -> Result<(), StoreError> {
        let rules = &self.rules.tables[table];
        for (column, value) in rules.columns.iter().zip(row.iter()) {
            if column.not_null && value.is_null() {
                return Err(StoreError::NotNull(column.name.clone()));
            }
        }
        for (within, unique) in rules.uniques.iter().enumerate() {
            let columns = &self.rules.uniques[*unique].columns;
            if self.inner.tables[table].holder(within, columns, row).is_some_and(|holder| holder != *id) {
                let names: Vec<&str> = columns.iter().map(|column| rules.columns[*column].name.as_str()).collect();
                return Err(StoreError::Unique(names.join(", ")));
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        self.inner.open.changes.push(change);
        self.inner.open.undo.push(Undo::Change);
    }

    fn put_now(&mut self, put: Put) -> Result<(), StoreError> {
        let Put { table, id, row, meta, by, cause } = put;
        self.write(table, &id, &row)?;
        let mut slot = self.slot(table, &id).cloned().unwrap_or_default();
        let before = slot.row.take();
        // An UPDATE that changes nothing is not sent, except by the baseline, which sends all it is given.
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

    fn server_op(&mut self, op: &ServerOp) -> Result<(), StoreError> {
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
            })
            .collect()
    }

    fn remove(&mut self, table: usize, id: &str, tombstone: Option<Tombstone>, by: Option<i64>, cause: Cause) {
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
    let NewConflict { at_us, table, id, conflict: Conflict { column, rule, loser, winner } } = new;
    let subject = match (&loser, &winner) {
        (Author::Client(writer), _) | (Author::Server, Author::Client(writer)) => writer.subject.clone(),
        (Author::Server, Author::Server) => Arc::from(""),
    };
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
        Ok(match self.slot(table, id) {
            Some(Slot { row: Some(row), meta, .. }) => Stored::Live(StoredRow { row: row.clone(), meta: meta.clone() }),
            Some(Slot { tombstone: Some(tombstone), .. }) => Stored::Deleted(tombstone.clone()),
            _ => Stored::Absent,
        })
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

    async fn touch(&mut self, table: usize, id: &str, meta: RowMeta) -> Result<(), StoreError> {
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

    async fn bury(&mut self, table: usize, id: &str, tombstone: Tombstone) -> Result<(), StoreError> {
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
