//! Locks rows and reads what is stored about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::error::StoreError;
use crate::store::postgres::decode::{column, decode_row};
use crate::store::postgres::locks::{self, Lock};
use crate::store::postgres::meta::{read_meta, read_tombstone};
use crate::store::postgres::pipeline::{Params, Step, param};
use crate::store::postgres::session::connection::PostgresSession;
use crate::store::postgres::session::open::Key;
use crate::store::postgres::session::statements::{READ_ALIASES, READ_ROWS, TAKE_LOCKS};
use crate::store::slot::Slot;

impl PostgresSession<'_> {
    /// BEGIN and the client's lock, unless they were sent before. Nothing outside a transaction.
    pub(super) async fn begin_steps(&mut self) -> Result<Vec<Step>, StoreError> {
        if !self.open.is_open || self.open.has_begun {
            return Ok(Vec::new());
        }
        let mut steps = vec![Step::Plain("BEGIN")];
        if let Some(key) = self.open.client_lock {
            steps.push(self.lock_step(&[Lock { key, is_shared: false }]).await?);
        }
        self.open.has_begun = true;
        Ok(steps)
    }

    pub(super) async fn lock_step(&mut self, locks: &[Lock]) -> Result<Step, StoreError> {
        let keys: Vec<i64> = locks.iter().map(|lock| lock.key).collect();
        let shared: Vec<bool> = locks.iter().map(|lock| lock.is_shared).collect();
        self.step(TAKE_LOCKS, vec![param(keys), param(shared)]).await
    }

    pub(super) fn name_params(&self, keys: &[Key]) -> Params {
        let tables: Vec<String> = keys.iter().map(|(table, _)| self.rules.tables[*table].name.to_string()).collect();
        let ids: Vec<String> = keys.iter().map(|(_, id)| id.to_string()).collect();
        vec![param(tables), param(ids)]
    }

    pub(super) fn keep_aliases(&mut self, names: Vec<Key>, rows: &[tokio_postgres::Row]) -> Result<(), StoreError> {
        let mut survivors: BTreeMap<i64, Arc<str>> = BTreeMap::new();
        for row in rows {
            survivors.insert(column(row, 0)?, Arc::from(column::<&str>(row, 1)?));
        }
        for (name, n) in names.into_iter().zip(1..) {
            self.open.aliases.insert(name, survivors.remove(&n));
        }
        Ok(())
    }

    /// Locks and reads rows that were not read yet, and reads the aliases of `names` again. The locks `before` are taken
    /// before the row locks, the locks `after` after them.
    pub(super) async fn read(
        &mut self,
        keys: Vec<Key>,
        before: &[Lock],
        after: &[Lock],
        names: Vec<Key>,
    ) -> Result<(), StoreError> {
        let mut steps = self.begin_steps().await?;
        if !before.is_empty() {
            steps.push(self.lock_step(before).await?);
        }
        let mut by_table: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (table, id) in &keys {
            by_table.entry(*table).or_default().push(id.to_string());
        }
        let first = steps.len();
        let sql = self.sql.clone();
        for (table, ids) in &by_table {
            steps.push(self.step(&sql.tables[*table].lock, vec![param(ids.clone())]).await?);
        }
        if !after.is_empty() {
            steps.push(self.lock_step(after).await?);
        }
        let at = steps.len();
        if !keys.is_empty() {
            let params = self.name_params(&keys);
            steps.push(self.step(READ_ROWS, params).await?);
        }
        let last = steps.len();
        if !names.is_empty() {
            let params = self.name_params(&names);
            steps.push(self.step(READ_ALIASES, params).await?);
        }
        let answers = self.send(steps).await?;
        let mut slots: BTreeMap<Key, Slot> = keys.iter().map(|key| (key.clone(), Slot::default())).collect();
        for (table, rows) in by_table.keys().zip(&answers[first..]) {
            for row in rows {
                let (id, columns) = decode_row(row)?;
                slots.entry((*table, id)).or_default().row = Some(columns);
            }
        }
        if !keys.is_empty() {
            for row in &answers[at] {
                let n: i64 = column(row, 0)?;
                let key = &keys[usize::try_from(n - 1).expect("positions count from 1")];
                let (text, received_us): (&str, Option<i64>) = (column(row, 1)?, column(row, 2)?);
                let slot = slots.get_mut(key).expect("every key has a slot");
                let unreadable =
                    |error: serde_json::Error| StoreError::Unavailable(format!("sync_backend is unreadable: {error}"));
                match received_us {
                    Some(received_us) => {
                        let tombstone = read_tombstone(self.rules, key.0, received_us, text).map_err(unreadable)?;
                        slot.tombstone = Some(Arc::new(tombstone));
                    }
                    None => {
                        let meta = read_meta(self.rules, key.0, text).map_err(unreadable)?;
                        slot.meta = Some(Arc::new(meta));
                    }
                }
            }
        }
        self.open.read.extend(slots);
        if !names.is_empty() {
            self.keep_aliases(names, &answers[last])?;
        }
        Ok(())
    }

    fn slot(&self, key: &Key) -> Option<&Slot> {
        self.open.written.get(key).or_else(|| self.open.read.get(key))
    }

    /// What is stored under an id. Locks and reads it first if that has not been done.
    pub(super) async fn slot_under_lock(&mut self, key: &Key) -> Result<Slot, StoreError> {
        if let Some(slot) = self.slot(key) {
            return Ok(slot.clone());
        }
        let mut before = Vec::new();
        let is_exclusive = self.open.everything.is_some_and(|lock| !lock.is_shared);
        if !is_exclusive && !self.open.found.contains(key) {
            if self.open.everything.is_none() {
                let lock = locks::everything(true);
                self.open.everything = Some(lock);
                before.push(lock);
            }
            before.push(locks::row(&self.rules.tables[key.0].name, &key.1));
        }
        self.read(vec![key.clone()], &before, &[], Vec::new()).await?;
        Ok(self.slot(key).cloned().unwrap_or_default())
    }

    /// The ids that a statement finds and locks. All row changes so far are sent before it.
    pub(super) async fn find(&mut self, table: usize, sql: &str, params: Params) -> Result<Vec<Arc<str>>, StoreError> {
        self.send_changes().await?;
        let mut steps = self.begin_steps().await?;
        steps.push(self.step(sql, params).await?);
        let answers = self.send(steps).await?;
        let rows = answers.last().expect("every step has an answer");
        let ids: Vec<Arc<str>> =
            rows.iter().map(|row| column::<&str>(row, 0).map(Arc::from)).collect::<Result<_, _>>()?;
        self.open.found.extend(ids.iter().map(|id| (table, id.clone())));
        Ok(ids)
    }

    /// Reads rows that `find` has found.
    pub(super) async fn read_found(&mut self, table: usize, ids: &[Arc<str>]) -> Result<(), StoreError> {
        let unread: Vec<Key> =
            ids.iter().map(|id| (table, id.clone())).filter(|key| self.slot(key).is_none()).collect();
        if unread.is_empty() { Ok(()) } else { self.read(unread, &[], &[], Vec::new()).await }
    }
}
