//! One connection with one transaction at a time.
//!
//! A transaction takes three round trips unless it conflicts with another. The first begins, locks the client and reads
//! the ledger. The second locks everything that the transaction decides on, and reads it. The third sends the effects and
//! the commit. A question about other rows (children, holders of a key, running rows) costs one more round trip, which
//! sends the row changes so far first.
//!
//! So the database may refuse a row long after the operation that changed it. The transaction is then run again with
//! every change awaited (`is_eager`), so that the right operation is refused.
//!
//! In reading order: `statements` on schema `sync_backend`, `open` the state of a transaction, `connection` round trips,
//! `read` locks and reads, `changes` row changes, `commit` the end.

mod changes;
mod commit;
mod connection;
mod open;
mod read;
mod statements;

use std::collections::BTreeSet;
use std::sync::Arc;

use fixtures::Value;

use crate::record::{Cause, LedgerRow, Origin, RowMeta, Stored, Tombstone};
use crate::store::error::StoreError;
use crate::store::postgres::decode::column;
use crate::store::postgres::locks::{self, LOCKS_MAX, Lock};
use crate::store::postgres::pipeline::{Step, param};
use crate::store::postgres::session::open::{Key, OpenTransaction, RowChange};
use crate::store::postgres::session::statements::{
    FORGET_ALIASES, FORGET_LEDGER, FORGET_TOMBSTONES, READ_ALIASES, READ_LEDGER,
};
use crate::store::postgres::value::BoundValue;
use crate::store::session::{ClientLedger, Footprint, NewConflict, Put, Session};
use crate::wire::OpAnswer;

pub(crate) use connection::PostgresSession;

impl Session for PostgresSession<'_> {
    async fn begin(&mut self, received_us: i64) -> Result<(), StoreError> {
        self.open = OpenTransaction { is_open: true, received_us, ..OpenTransaction::default() };
        Ok(())
    }

    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.open.wants_savepoint = true;
        self.open.has_savepoint = false;
        Ok(())
    }

    async fn rollback_to_savepoint(&mut self) -> Result<(), StoreError> {
        let open = &mut self.open;
        // Nothing is written before the savepoint: the transaction takes its locks first.
        open.written.clear();
        open.unsent_changes.clear();
        open.changes.clear();
        open.tombstones.clear();
        open.new_aliases.clear();
        open.conflicts.clear();
        open.ledger.clear();
        open.observed.clear();
        if std::mem::take(&mut open.has_savepoint) {
            self.send(vec![Step::Plain("ROLLBACK TO SAVEPOINT operations")]).await?;
        }
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        if self.open.has_begun {
            self.send(vec![Step::Plain("ROLLBACK")]).await?;
        }
        self.open = OpenTransaction::default();
        Ok(())
    }

    async fn commit(&mut self, at_us: i64, origin: Option<Origin>) -> Result<(), StoreError> {
        if let Err(error) = self.finish(at_us, origin.as_ref()).await {
            // If COMMIT was sent, it has ended the transaction. If not, this does.
            if self.open.has_begun && !self.is_broken && self.send(vec![Step::Plain("ROLLBACK")]).await.is_ok() {
                self.open = OpenTransaction::default();
            }
            return Err(error);
        }
        self.is_eager = false;
        self.open = OpenTransaction::default();
        Ok(())
    }

    fn prefetch(&mut self, names: BTreeSet<Key>) {
        self.open.names = names;
    }

    async fn lock_client(&mut self, subject: &str, client: &str) -> Result<(), StoreError> {
        self.open.client_lock = Some(locks::client(subject, client));
        Ok(())
    }

    async fn lock(&mut self, footprint: &Footprint) -> Result<(), StoreError> {
        let unread: BTreeSet<Key> =
            footprint.rows.iter().filter(|key| !self.open.read.contains_key(*key)).cloned().collect();
        let tables: Vec<Arc<str>> = self.rules.tables.iter().map(|table| table.name.clone()).collect();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let is_exclusive = self.open.everything.is_some_and(|lock| !lock.is_shared);
        if !is_exclusive {
            let plan = locks::plan(&tables, &unread, footprint);
            // Going from the shared lock to the exclusive one would deadlock with others that do the same.
            let wants_exclusive = self.open.everything.is_none() && plan.len() > LOCKS_MAX;
            if self.open.everything.is_none() {
                let lock = locks::everything(!wants_exclusive);
                self.open.everything = Some(lock);
                before.push(lock);
            }
            if !wants_exclusive {
                before.extend(plan.rows);
                after.extend(plan.others);
            }
        }
        self.open.names.extend(footprint.rows.iter().cloned());
        let names: Vec<Key> = self.open.names.iter().cloned().collect();
        self.read(unread.into_iter().collect(), &before, &after, names).await
    }

    async fn forget(&mut self, before_us: i64) -> Result<(), StoreError> {
        if !self.database.is_retention_due(self.open.received_us) {
            return Ok(());
        }
        // In a transaction of its own, before the client's ledger is read.
        let mut steps =
            vec![Step::Plain("BEGIN"), self.lock_step(&[Lock { key: locks::retention(), is_shared: false }]).await?];
        for sql in [FORGET_LEDGER, FORGET_TOMBSTONES, FORGET_ALIASES] {
            steps.push(self.step(sql, vec![param(before_us)]).await?);
        }
        steps.push(Step::Plain("COMMIT"));
        self.send(steps).await.map(|_| ())
    }

    async fn ledger(&mut self, subject: &str, client: &str, op_ids: &[i64]) -> Result<ClientLedger, StoreError> {
        let mut steps = self.begin_steps().await?;
        let params = vec![param(subject.to_owned()), param(client.to_owned()), param(op_ids.to_vec())];
        steps.push(self.step(READ_LEDGER, params).await?);
        let names: Vec<Key> = self.open.names.iter().cloned().collect();
        let at = steps.len();
        if !names.is_empty() {
            let params = self.name_params(&names);
            steps.push(self.step(READ_ALIASES, params).await?);
        }
        let mut answers = self.send(steps).await?;
        if !names.is_empty() {
            let rows = answers.remove(at);
            self.keep_aliases(names, &rows)?;
        }
        let mut ledger = ClientLedger::default();
        for row in &answers[at - 1] {
            let epoch: Option<i32> = column(row, 0)?;
            ledger.epoch = epoch.map_or(0, |epoch| u32::try_from(epoch).unwrap_or(0));
            ledger.forgotten_through = column(row, 1)?;
            let Some(op_id) = column::<Option<i64>>(row, 2)? else { continue };
            let unreadable = |what: &str| StoreError::Unavailable(format!("the ledger is unreadable: {what}"));
            let digest = <[u8; 32]>::try_from(column::<&[u8]>(row, 4)?).map_err(|_| unreadable("a digest"))?;
            let answer: OpAnswer =
                serde_json::from_str(column::<&str>(row, 5)?).map_err(|error| unreadable(&error.to_string()))?;
            let epoch = u32::try_from(column::<i32>(row, 3)?).unwrap_or(0);
            ledger.entries.push(LedgerRow { op_id, epoch, digest, answer });
        }
        self.open.client_epoch = (ledger.epoch > 0).then_some(ledger.epoch);
        Ok(ledger)
    }

    async fn alias(&mut self, table: usize, id: &str) -> Result<Option<Arc<str>>, StoreError> {
        let key: Key = (table, Arc::from(id));
        if let Some((_, _, survivor)) =
            self.open.new_aliases.iter().rev().find(|(at, losing, _)| *at == table && **losing == *id)
        {
            return Ok(Some(survivor.clone()));
        }
        if let Some(known) = self.open.aliases.get(&key) {
            return Ok(known.clone());
        }
        let mut steps = self.begin_steps().await?;
        let names = vec![key.clone()];
        let params = self.name_params(&names);
        steps.push(self.step(READ_ALIASES, params).await?);
        let answers = self.send(steps).await?;
        self.keep_aliases(names, answers.last().expect("every step has an answer"))?;
        Ok(self.open.aliases.get(&key).cloned().flatten())
    }

    async fn stored(&mut self, table: usize, id: &str) -> Result<Stored, StoreError> {
        let slot = self.slot_under_lock(&(table, Arc::from(id))).await?;
        Ok(slot.stored())
    }

    async fn holder(&mut self, unique: usize, row: &[Value]) -> Result<Option<Arc<str>>, StoreError> {
        let key = &self.rules.uniques[unique];
        let values: Vec<&Value> = key.columns.iter().map(|column| &row[*column]).collect();
        if values.iter().any(|value| value.is_null()) {
            return Ok(None);
        }
        let params = values.into_iter().map(|value| param(BoundValue(value.clone()))).collect();
        let sql = self.sql.clone();
        Ok(self.find(key.table, &sql.holders[unique], params).await?.pop())
    }

    async fn children(&mut self, reference: usize, parent: &str) -> Result<Vec<Arc<str>>, StoreError> {
        let table = self.rules.references[reference].table;
        let sql = self.sql.clone();
        let params = vec![param(BoundValue(Value::text(parent)))];
        let ids = self.find(table, &sql.children[reference], params).await?;
        self.read_found(table, &ids).await?;
        Ok(ids)
    }

    async fn running(&mut self, exclusive: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let table = self.rules.exclusives[exclusive].table;
        let sql = self.sql.clone();
        let ids = self.find(table, &sql.running[exclusive], vec![param(BoundValue(Value::Int(1)))]).await?;
        self.read_found(table, &ids).await?;
        Ok(ids)
    }

    async fn put(&mut self, put: Put) -> Result<(), StoreError> {
        let Put { table, id, row, meta, by, cause } = put;
        for (column, value) in self.rules.tables[table].columns.iter().zip(row.iter()) {
            if column.not_null && value.is_null() {
                return Err(StoreError::NotNull(column.name.clone()));
            }
        }
        let key: Key = (table, id);
        let mut slot = self.slot_under_lock(&key).await?;
        // An UPDATE that changes nothing is not sent, except by the baseline, which sends every statement.
        let is_visible = meta.is_none() || slot.row.as_ref() != Some(&row);
        if let Some(meta) = meta {
            slot.meta = Some(Arc::new(meta));
        }
        if is_visible {
            self.open.unsent_changes.push(match &slot.row {
                Some(_) => RowChange::Update(key.clone(), row.clone()),
                None => RowChange::Insert(key.clone(), row.clone()),
            });
            self.annotate_change(table, &key.1, by, cause);
            if slot.row.is_none() {
                slot.tombstone = None;
            }
            slot.row = Some(row);
        }
        self.open.written.insert(key, slot);
        if self.is_eager { self.send_changes().await } else { Ok(()) }
    }

    async fn put_meta(&mut self, table: usize, id: &str, meta: RowMeta) -> Result<(), StoreError> {
        let key: Key = (table, Arc::from(id));
        let mut slot = self.slot_under_lock(&key).await?;
        slot.meta = Some(Arc::new(meta));
        self.open.written.insert(key, slot);
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
        let key: Key = (table, Arc::from(id));
        let mut slot = self.slot_under_lock(&key).await?;
        if slot.row.take().is_none() {
            return Ok(());
        }
        if let Some(tombstone) = tombstone {
            slot.meta = None;
            self.annotate_tombstone(table, id, tombstone.at_us);
            slot.tombstone = Some(Arc::new(tombstone));
        }
        self.open.unsent_changes.push(RowChange::Delete(key.clone()));
        self.annotate_change(table, id, by, cause);
        self.open.written.insert(key, slot);
        if self.is_eager { self.send_changes().await } else { Ok(()) }
    }

    async fn put_tombstone(&mut self, table: usize, id: &str, tombstone: Tombstone) -> Result<(), StoreError> {
        let key: Key = (table, Arc::from(id));
        let mut slot = self.slot_under_lock(&key).await?;
        self.annotate_tombstone(table, id, tombstone.at_us);
        slot.tombstone = Some(Arc::new(tombstone));
        self.open.written.insert(key, slot);
        Ok(())
    }

    async fn add_alias(&mut self, table: usize, losing: &str, survivor: &str) -> Result<(), StoreError> {
        self.open.new_aliases.push((table, Arc::from(losing), Arc::from(survivor)));
        Ok(())
    }

    async fn add_conflict(&mut self, conflict: NewConflict) -> Result<(), StoreError> {
        self.open.conflicts.push(conflict);
        Ok(())
    }

    async fn add_ledger(&mut self, subject: &Arc<str>, client: &Arc<str>, entry: LedgerRow) -> Result<(), StoreError> {
        self.open.ledger_of.get_or_insert_with(|| (subject.clone(), client.clone()));
        self.open.ledger.push(entry);
        Ok(())
    }

    async fn observe(&mut self, entries: Vec<LedgerRow>) -> Result<(), StoreError> {
        self.open.observed.extend(entries);
        Ok(())
    }
}
