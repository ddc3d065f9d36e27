//! One connection with one transaction at a time.
//!
//! A transaction takes three round trips when nothing stands in its way. The first begins, locks the client and
//! reads the ledger; the second locks everything that the transaction decides on and reads it; decisions are then
//! made on what was read, and the third sends the effects and the commit. A question about other rows (children,
//! holders of a key, running rows) costs one more, for which the row changes so far are sent before it.
//!
//! So a row that the database refuses would be noticed late. When that happens the transaction is run again with
//! every change awaited (`is_eager`), so that the refusal is told of the operation that it belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deadpool_postgres::Object;
use fixtures::{Row, Value};
use tokio_postgres::{Client, Statement};

use crate::record::{Cause, LedgerRow, Origin, RowMeta, StoredRow, Tombstone};
use crate::rules::Rules;
use crate::store::postgres::Shared;
use crate::store::postgres::error::told;
use crate::store::postgres::locks::{self, LOCKS_MAX, Lock};
use crate::store::postgres::meta::{author_json, read_meta, read_tombstone, write_meta, write_tombstone};
use crate::store::postgres::note::cause_name;
use crate::store::postgres::note::{AuthorNote, ChangeNote, CommitNote, ConflictNote, LedgerNote, OriginNote, PREFIX};
use crate::store::postgres::pipeline::{Params, Step, param, pipeline};
use crate::store::postgres::sql::Sql;
use crate::store::postgres::value::{Bound, Cell};
use crate::store::{ClientLedger, Footprint, NewConflict, Put, Session, StoreError, Stored, record_subject};
use crate::wire::OpAnswer;

const LOCK: &str = "SELECT count(CASE WHEN shared THEN pg_advisory_xact_lock_shared(key)::text
         ELSE pg_advisory_xact_lock(key)::text END)
     FROM unnest($1::bigint[], $2::boolean[]) AS asked (key, shared)";
const LEDGER: &str = "SELECT c.epoch, c.forgotten_through, l.op_id, l.epoch, l.digest, l.answer::text
     FROM (SELECT $1::text AS subject, $2::text AS client) AS asked
     LEFT JOIN sync_backend.clients c ON c.subject = asked.subject AND c.client = asked.client
     LEFT JOIN sync_backend.ledger l
         ON l.subject = asked.subject AND l.client = asked.client AND l.op_id = ANY($3::bigint[])
     ORDER BY l.op_id, l.epoch";
const ALIASES: &str = "SELECT asked.n, a.survivor
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tbl, id, n)
     JOIN sync_backend.aliases a ON a.tbl = asked.tbl AND a.losing = asked.id";
const REMEMBERED: &str = "SELECT asked.n, s.meta::text, NULL::bigint
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tbl, id, n)
     JOIN sync_backend.stamps s ON s.tbl = asked.tbl AND s.id = asked.id
     UNION ALL SELECT asked.n, t.tombstone::text, t.received_us
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tbl, id, n)
     JOIN sync_backend.tombstones t ON t.tbl = asked.tbl AND t.id = asked.id";
const STAMP: &str = "INSERT INTO sync_backend.stamps (tbl, id, meta)
     SELECT tbl, id, meta::json FROM unnest($1::text[], $2::text[], $3::text[]) AS new (tbl, id, meta)
     ON CONFLICT (tbl, id) DO UPDATE SET meta = excluded.meta";
const UNSTAMP: &str = "DELETE FROM sync_backend.stamps s USING unnest($1::text[], $2::text[]) AS gone (tbl, id)
     WHERE s.tbl = gone.tbl AND s.id = gone.id";
const BURY: &str = "INSERT INTO sync_backend.tombstones (tbl, id, received_us, tombstone)
     SELECT tbl, id, received_us, tombstone::json
     FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS new (tbl, id, received_us, tombstone)
     ON CONFLICT (tbl, id) DO UPDATE SET received_us = excluded.received_us, tombstone = excluded.tombstone";
const UNBURY: &str = "DELETE FROM sync_backend.tombstones t USING unnest($1::text[], $2::text[]) AS gone (tbl, id)
     WHERE t.tbl = gone.tbl AND t.id = gone.id";
const ADD_ALIASES: &str = "INSERT INTO sync_backend.aliases (tbl, losing, survivor, received_us)
     SELECT tbl, losing, survivor, $4 FROM unnest($1::text[], $2::text[], $3::text[]) AS new (tbl, losing, survivor)
     ON CONFLICT (tbl, losing) DO UPDATE SET survivor = excluded.survivor, received_us = excluded.received_us";
const ADD_CLIENT: &str = "INSERT INTO sync_backend.clients (subject, client, epoch) VALUES ($1, $2, $3)
     ON CONFLICT (subject, client) DO UPDATE SET epoch = greatest(clients.epoch, excluded.epoch)";
const ADD_LEDGER: &str = "INSERT INTO sync_backend.ledger
         (subject, client, op_id, epoch, tx_id, digest, received_us, answer)
     SELECT $1, $2, op_id, epoch, $3, digest, $4, answer::json
     FROM unnest($5::bigint[], $6::integer[], $7::bytea[], $8::text[]) AS new (op_id, epoch, digest, answer)";
const ADD_CONFLICTS: &str = "WITH counted AS (
         UPDATE sync_backend.counters SET last = last + cardinality($3::text[]) WHERE name = 'conflicts'
         RETURNING last - cardinality($3::text[]) AS before
     )
     INSERT INTO sync_backend.conflicts (seq, at_us, subject, tbl, id, col, rule, loser, winner)
     SELECT before + n, $1, subject, tbl, id, col, rule, loser::json, winner::json
     FROM counted, unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
         WITH ORDINALITY AS new (subject, tbl, id, col, rule, loser, winner, n)";
const ADD_NOTE: &str = "SELECT pg_logical_emit_message(true, $1::text, $2::text)::text";
const FORGET_LEDGER: &str = "WITH gone AS (
         DELETE FROM sync_backend.ledger WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM sync_backend.ledger WHERE received_us < $1 ORDER BY received_us LIMIT 10000))
         RETURNING subject, client, op_id
     ), last AS (SELECT subject, client, max(op_id) AS op_id FROM gone GROUP BY subject, client)
     UPDATE sync_backend.clients c SET forgotten_through = greatest(c.forgotten_through, last.op_id)
     FROM last WHERE c.subject = last.subject AND c.client = last.client";
const FORGET_TOMBSTONES: &str = "DELETE FROM sync_backend.tombstones WHERE received_us < $1";
const FORGET_ALIASES: &str = "DELETE FROM sync_backend.aliases WHERE received_us < $1";

type Key = (usize, Arc<str>);

/// A connection and its transaction.
pub(super) struct PostgresSession<'a> {
    shared: &'a Shared,
    rules: &'a Rules,
    sql: Arc<Sql>,
    /// Only dropping takes it.
    connection: Option<Object>,
    /// Whether every change is awaited, because an earlier attempt was refused.
    is_eager: bool,
    /// Whether the connection is not to be used again.
    is_spoilt: bool,
    open: Open,
}

/// Everything stored under one id.
#[derive(Clone, Debug, Default)]
struct Slot {
    row: Option<Row>,
    meta: Option<Arc<RowMeta>>,
    tombstone: Option<Arc<Tombstone>>,
}

/// A row change that is not sent yet.
#[derive(Debug)]
enum RowChange {
    Insert(Key, Row),
    Update(Key, Row),
    Delete(Key),
}

impl RowChange {
    fn table(&self) -> usize {
        match self {
            Self::Insert((table, _), _) | Self::Update((table, _), _) | Self::Delete((table, _)) => *table,
        }
    }
}

/// The open transaction.
#[derive(Debug, Default)]
struct Open {
    /// Between begin and its end.
    is_open: bool,
    /// Whether BEGIN was sent.
    has_begun: bool,
    received_us: i64,
    client_lock: Option<i64>,
    /// The client and its epoch, as the ledger knows it.
    client_epoch: Option<u32>,
    /// Whether a savepoint is wanted, and whether it was sent.
    wants_savepoint: bool,
    has_savepoint: bool,
    /// Whether the lock on everything is held, and whether alone.
    everything: Option<Lock>,
    /// Names to look aliases up for.
    names: BTreeSet<Key>,
    aliases: BTreeMap<Key, Option<Arc<str>>>,
    /// Rows as they were read, under lock.
    read: BTreeMap<Key, Slot>,
    /// Rows that a question about others found, and locked.
    found: BTreeSet<Key>,
    /// Rows as the transaction leaves them.
    written: BTreeMap<Key, Slot>,
    unsent: Vec<RowChange>,
    changes: Vec<ChangeNote>,
    tombstones: Vec<(String, String, i64)>,
    new_aliases: Vec<(usize, Arc<str>, Arc<str>)>,
    conflicts: Vec<NewConflict>,
    ledger: Vec<LedgerRow>,
    ledger_of: Option<(Arc<str>, Arc<str>)>,
    observed: Vec<LedgerRow>,
}

impl<'a> PostgresSession<'a> {
    pub(super) fn new(shared: &'a Shared, sql: Arc<Sql>, connection: Object) -> Self {
        let rules = &shared.rules;
        let (is_eager, is_spoilt, open) = (false, false, Open::default());
        Self { shared, rules, sql, connection: Some(connection), is_eager, is_spoilt, open }
    }

    fn connection(&self) -> &Object {
        self.connection.as_ref().expect("only dropping takes the connection")
    }

    fn client(&self) -> &Client {
        self.connection()
    }

    fn failed(&mut self, error: &tokio_postgres::Error) -> StoreError {
        if let Some(code) = error.code().map(|code| code.code().to_owned()) {
            // A prepared statement that is gone, or that a change of the schema made useless.
            self.is_spoilt |= code == "26000" || code == "0A000";
        } else {
            self.is_spoilt = true;
        }
        told(error)
    }

    async fn statement(&mut self, sql: &str) -> Result<Statement, StoreError> {
        let prepared = self.connection().prepare_cached(sql).await;
        prepared.map_err(|error| self.failed(&error))
    }

    async fn step(&mut self, sql: &str, params: Params) -> Result<Step, StoreError> {
        Ok(Step::Prepared(self.statement(sql).await?, params))
    }

    async fn send(&mut self, steps: Vec<Step>) -> Result<Vec<Vec<tokio_postgres::Row>>, StoreError> {
        let answers = pipeline(self.client(), steps).await;
        answers.map_err(|(_, error)| self.failed(&error))
    }

    /// BEGIN and the client's lock, unless they were sent; nothing outside a transaction.
    async fn beginning(&mut self) -> Result<Vec<Step>, StoreError> {
        if !self.open.is_open || self.open.has_begun {
            return Ok(Vec::new());
        }
        let mut steps = vec![Step::Plain("BEGIN")];
        if let Some(key) = self.open.client_lock {
            steps.push(self.locking(&[Lock { key, is_shared: false }]).await?);
        }
        self.open.has_begun = true;
        Ok(steps)
    }

    async fn locking(&mut self, locks: &[Lock]) -> Result<Step, StoreError> {
        let keys: Vec<i64> = locks.iter().map(|lock| lock.key).collect();
        let shared: Vec<bool> = locks.iter().map(|lock| lock.is_shared).collect();
        self.step(LOCK, vec![param(keys), param(shared)]).await
    }

    fn names_of(&self, keys: &[Key]) -> Params {
        let tables: Vec<String> = keys.iter().map(|(table, _)| self.rules.tables[*table].name.to_string()).collect();
        let ids: Vec<String> = keys.iter().map(|(_, id)| id.to_string()).collect();
        vec![param(tables), param(ids)]
    }

    fn note_aliases(&mut self, names: Vec<Key>, rows: &[tokio_postgres::Row]) -> Result<(), StoreError> {
        let mut survivors: BTreeMap<i64, Arc<str>> = BTreeMap::new();
        for row in rows {
            survivors.insert(get(row, 0)?, Arc::from(get::<&str>(row, 1)?));
        }
        for (name, n) in names.into_iter().zip(1..) {
            self.open.aliases.insert(name, survivors.remove(&n));
        }
        Ok(())
    }

    /// Locks and reads rows that were not read yet, with `before` and `after` locked around their own locks, and
    /// looks aliases up for all `names` again.
    async fn read(
        &mut self,
        keys: Vec<Key>,
        before: &[Lock],
        after: &[Lock],
        names: Vec<Key>,
    ) -> Result<(), StoreError> {
        let mut steps = self.beginning().await?;
        if !before.is_empty() {
            steps.push(self.locking(before).await?);
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
            steps.push(self.locking(after).await?);
        }
        let at = steps.len();
        if !keys.is_empty() {
            let params = self.names_of(&keys);
            steps.push(self.step(REMEMBERED, params).await?);
        }
        let last = steps.len();
        if !names.is_empty() {
            let params = self.names_of(&names);
            steps.push(self.step(ALIASES, params).await?);
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
                let n: i64 = get(row, 0)?;
                let key = &keys[usize::try_from(n - 1).expect("positions count from 1")];
                let (text, received_us): (&str, Option<i64>) = (get(row, 1)?, get(row, 2)?);
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
            self.note_aliases(names, &answers[last])?;
        }
        Ok(())
    }

    fn slot(&self, key: &Key) -> Option<&Slot> {
        self.open.written.get(key).or_else(|| self.open.read.get(key))
    }

    /// What is stored under an id, read and locked if it was not yet.
    async fn known(&mut self, key: &Key) -> Result<Slot, StoreError> {
        if let Some(slot) = self.slot(key) {
            return Ok(slot.clone());
        }
        let mut before = Vec::new();
        let is_alone = self.open.everything.is_some_and(|lock| !lock.is_shared);
        if !is_alone && !self.open.found.contains(key) {
            if self.open.everything.is_none() {
                let lock = locks::of_everything(true);
                self.open.everything = Some(lock);
                before.push(lock);
            }
            before.push(locks::of_row(&self.rules.tables[key.0].name, &key.1));
        }
        self.read(vec![key.clone()], &before, &[], Vec::new()).await?;
        Ok(self.slot(key).cloned().unwrap_or_default())
    }

    /// The ids that a statement finds and locks, with all row changes so far sent before it.
    async fn find(&mut self, table: usize, sql: &str, params: Params) -> Result<Vec<Arc<str>>, StoreError> {
        self.push().await?;
        let mut steps = self.beginning().await?;
        steps.push(self.step(sql, params).await?);
        let answers = self.send(steps).await?;
        let rows = answers.last().expect("every step has an answer");
        let ids: Vec<Arc<str>> = rows.iter().map(|row| get::<&str>(row, 0).map(Arc::from)).collect::<Result<_, _>>()?;
        self.open.found.extend(ids.iter().map(|id| (table, id.clone())));
        Ok(ids)
    }

    /// Reads rows that a question has just found.
    async fn read_found(&mut self, table: usize, ids: &[Arc<str>]) -> Result<(), StoreError> {
        let unread: Vec<Key> =
            ids.iter().map(|id| (table, id.clone())).filter(|key| self.slot(key).is_none()).collect();
        if unread.is_empty() { Ok(()) } else { self.read(unread, &[], &[], Vec::new()).await }
    }

    async fn change_step(&mut self, change: &RowChange) -> Result<Step, StoreError> {
        let sql = self.sql.clone();
        let statements = &sql.tables[change.table()];
        match change {
            RowChange::Insert((_, id), row) => self.step(&statements.insert, row_params(id, row)).await,
            RowChange::Update((_, id), row) => self.step(&statements.update, row_params(id, row)).await,
            RowChange::Delete((_, id)) => self.step(&statements.delete, vec![param(id.to_string())]).await,
        }
    }

    /// The steps of all unsent changes, with the table of each.
    async fn unsent_steps(&mut self) -> Result<(Vec<Step>, Vec<usize>), StoreError> {
        let changes = std::mem::take(&mut self.open.unsent);
        let mut steps = Vec::with_capacity(changes.len());
        let tables = changes.iter().map(RowChange::table).collect();
        for change in &changes {
            steps.push(self.change_step(change).await?);
        }
        Ok((steps, tables))
    }

    /// Sends the row changes so far.
    async fn push(&mut self) -> Result<(), StoreError> {
        if self.open.unsent.is_empty() {
            return Ok(());
        }
        let mut steps = self.beginning().await?;
        if self.open.wants_savepoint && !self.open.has_savepoint {
            self.open.has_savepoint = true;
            steps.push(Step::Plain("SAVEPOINT operations"));
        }
        let before = steps.len();
        let (changes, tables) = self.unsent_steps().await?;
        steps.extend(changes);
        let answers = pipeline(self.client(), steps).await;
        match answers {
            Ok(_) => Ok(()),
            Err((position, error)) => {
                let table = position.checked_sub(before).and_then(|index| tables.get(index).copied());
                Err(self.change_failed(table, &error))
            }
        }
    }

    /// What a refused row change comes to.
    fn change_failed(&mut self, table: Option<usize>, error: &tokio_postgres::Error) -> StoreError {
        let refusal = match (self.failed(error), table) {
            (StoreError::Unique(constraint), Some(table)) if constraint == self.sql.tables[table].primary => {
                return StoreError::Contended(format!("a row came in between ({constraint})"));
            }
            (StoreError::Unique(constraint), _) => match self.sql.keys.get(&constraint) {
                Some((_, columns)) => StoreError::Unique(columns.join(", ")),
                None => StoreError::Unique(constraint),
            },
            (passing @ (StoreError::Unavailable(_) | StoreError::Contended(_)), _) => return passing,
            (refusal, _) => refusal,
        };
        if std::mem::replace(&mut self.is_eager, true) {
            return refusal;
        }
        StoreError::Contended(format!("to be told which operation is refused: {refusal}"))
    }

    fn note_change(&mut self, table: usize, id: &str, by: i64, cause: Cause) {
        if self.shared.config.annotates {
            let table = self.rules.tables[table].name.to_string();
            self.open.changes.push(ChangeNote { table, id: id.to_owned(), by, cause: cause_name(cause) });
        }
    }

    fn note_tombstone(&mut self, table: usize, id: &str, at_us: i64) {
        if self.shared.config.annotates {
            self.open.tombstones.push((self.rules.tables[table].name.to_string(), id.to_owned(), at_us));
        }
    }

    /// What changed in `sync_backend` about rows.
    async fn memory_steps(&mut self) -> Result<Vec<Step>, StoreError> {
        let (mut stamped, mut metas, mut unstamped) = (Vec::new(), Vec::new(), Vec::new());
        let (mut buried, mut received, mut tombstones, mut unburied) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, slot) in &self.open.written {
            let before = self.open.read.get(key);
            let meta_before = before.and_then(|slot| slot.meta.as_ref());
            match (&slot.meta, meta_before) {
                (Some(meta), Some(before)) if Arc::ptr_eq(meta, before) => {}
                (Some(meta), _) => {
                    stamped.push(key.clone());
                    metas.push(write_meta(self.rules, key.0, meta));
                }
                (None, Some(_)) => unstamped.push(key.clone()),
                (None, None) => {}
            }
            let tombstone_before = before.and_then(|slot| slot.tombstone.as_ref());
            match (&slot.tombstone, tombstone_before) {
                (Some(tombstone), Some(before)) if Arc::ptr_eq(tombstone, before) => {}
                (Some(tombstone), _) => {
                    buried.push(key.clone());
                    received.push(tombstone.received_us);
                    tombstones.push(write_tombstone(self.rules, key.0, tombstone));
                }
                (None, Some(_)) => unburied.push(key.clone()),
                (None, None) => {}
            }
        }
        let mut steps = Vec::new();
        let add = |sql: &'static str, keys: Vec<Key>, more: Params, all: &mut Vec<(&'static str, Params)>| {
            if !keys.is_empty() {
                let mut params = self.names_of(&keys);
                params.extend(more);
                all.push((sql, params));
            }
        };
        let mut all = Vec::new();
        add(STAMP, stamped, vec![param(metas)], &mut all);
        add(UNSTAMP, unstamped, Vec::new(), &mut all);
        add(BURY, buried, vec![param(received), param(tombstones)], &mut all);
        add(UNBURY, unburied, Vec::new(), &mut all);
        if !self.open.new_aliases.is_empty() {
            let losing: Vec<Key> = self.open.new_aliases.iter().map(|(table, id, _)| (*table, id.clone())).collect();
            let survivors: Vec<String> = self.open.new_aliases.iter().map(|(_, _, id)| id.to_string()).collect();
            add(ADD_ALIASES, losing, vec![param(survivors), param(self.open.received_us)], &mut all);
        }
        for (sql, params) in all {
            steps.push(self.step(sql, params).await?);
        }
        Ok(steps)
    }

    async fn ledger_steps(&mut self, tx_id: i64) -> Result<Vec<Step>, StoreError> {
        let mut steps = Vec::new();
        let Some((subject, client)) = self.open.ledger_of.clone() else { return Ok(steps) };
        let ledger = &self.open.ledger;
        let epoch = ledger.iter().map(|entry| entry.epoch).max().unwrap_or(0);
        let op_ids: Vec<i64> = ledger.iter().map(|entry| entry.op_id).collect();
        let epochs: Vec<i32> = ledger.iter().map(|entry| db_epoch(entry.epoch)).collect();
        let digests: Vec<Vec<u8>> = ledger.iter().map(|entry| entry.digest.to_vec()).collect();
        let answers: Vec<String> = ledger
            .iter()
            .map(|entry| serde_json::to_string(&entry.answer).expect("texts and numbers always serialize"))
            .collect();
        let (subject, client) = (subject.to_string(), client.to_string());
        if self.open.client_epoch != Some(epoch) {
            let params = vec![param(subject.clone()), param(client.clone()), param(db_epoch(epoch))];
            steps.push(self.step(ADD_CLIENT, params).await?);
        }
        let params = vec![
            param(subject),
            param(client),
            param(tx_id),
            param(self.open.received_us),
            param(op_ids),
            param(epochs),
            param(digests),
            param(answers),
        ];
        steps.push(self.step(ADD_LEDGER, params).await?);
        Ok(steps)
    }

    async fn conflict_steps(&mut self) -> Result<Vec<Step>, StoreError> {
        if self.open.conflicts.is_empty() {
            return Ok(Vec::new());
        }
        let conflicts = &self.open.conflicts;
        let texts = |of: &dyn Fn(&NewConflict) -> String| param(conflicts.iter().map(of).collect::<Vec<String>>());
        let maybe = |of: &dyn Fn(&NewConflict) -> Option<String>| {
            param(conflicts.iter().map(of).collect::<Vec<Option<String>>>())
        };
        let params = vec![
            param(self.open.received_us),
            texts(&|new| record_subject(&new.conflict).to_string()),
            texts(&|new| self.rules.tables[new.table].name.to_string()),
            texts(&|new| new.id.to_string()),
            maybe(&|new| new.conflict.column.as_deref().map(str::to_owned)),
            texts(&|new| new.conflict.rule.to_string()),
            maybe(&|new| author_json(&new.conflict.loser)),
            maybe(&|new| author_json(&new.conflict.winner)),
        ];
        Ok(vec![self.step(ADD_CONFLICTS, params).await?])
    }

    async fn note_steps(&mut self, at_us: i64, origin: Option<&Origin>) -> Result<Vec<Step>, StoreError> {
        let open = &self.open;
        let is_nothing = open.changes.is_empty() && open.ledger.is_empty() && open.observed.is_empty();
        if !self.shared.config.annotates || (is_nothing && open.conflicts.is_empty() && open.new_aliases.is_empty()) {
            return Ok(Vec::new());
        }
        let name = |table: usize| self.rules.tables[table].name.to_string();
        let conflict = |new: &NewConflict| ConflictNote {
            subject: record_subject(&new.conflict).to_string(),
            table: name(new.table),
            id: new.id.to_string(),
            column: new.conflict.column.as_deref().map(str::to_owned),
            rule: new.conflict.rule.to_string(),
            loser: AuthorNote::of(&new.conflict.loser),
            winner: AuthorNote::of(&new.conflict.winner),
        };
        let note = CommitNote {
            at_us,
            received_us: open.received_us,
            origin: origin.map(|origin| OriginNote {
                subject: origin.subject.to_string(),
                client_id: origin.client_id.to_string(),
                tx_id: origin.tx_id,
            }),
            changes: open.changes.clone(),
            ledger: open.ledger.iter().chain(&open.observed).map(LedgerNote::of).collect(),
            conflicts: open.conflicts.iter().map(conflict).collect(),
            tombstones: open.tombstones.clone(),
            aliases: open
                .new_aliases
                .iter()
                .map(|(table, losing, survivor)| (name(*table), losing.to_string(), survivor.to_string()))
                .collect(),
        };
        let text = serde_json::to_string(&note).expect("texts and numbers always serialize");
        Ok(vec![self.step(ADD_NOTE, vec![param(PREFIX.to_owned()), param(text)]).await?])
    }

    async fn finish(&mut self, at_us: i64, origin: Option<&Origin>) -> Result<(), StoreError> {
        let mut steps = self.beginning().await?;
        let before = steps.len();
        let (changes, tables) = self.unsent_steps().await?;
        steps.extend(changes);
        steps.extend(self.memory_steps().await?);
        steps.extend(self.ledger_steps(origin.map_or(0, |origin| origin.tx_id)).await?);
        steps.extend(self.note_steps(at_us, origin).await?);
        // The counter's row is locked from here to the commit, which comes at once.
        steps.extend(self.conflict_steps().await?);
        steps.push(Step::Plain("COMMIT"));
        match pipeline(self.client(), steps).await {
            Ok(_) => Ok(()),
            Err((position, error)) => match position.checked_sub(before).and_then(|at| tables.get(at).copied()) {
                Some(table) => Err(self.change_failed(Some(table), &error)),
                // Nobody's operation is to blame for what sync_backend refuses.
                None => Err(match self.failed(&error) {
                    passing @ (StoreError::Unavailable(_) | StoreError::Contended(_)) => passing,
                    refusal => StoreError::Unavailable(refusal.to_string()),
                }),
            },
        }
    }
}

/// A transaction that is left open, by a request that timed out, ends with its connection.
impl Drop for PostgresSession<'_> {
    fn drop(&mut self) {
        if (self.open.has_begun || self.is_spoilt)
            && let Some(connection) = self.connection.take()
        {
            drop(Object::take(connection));
        }
    }
}

fn db_epoch(epoch: u32) -> i32 {
    i32::try_from(epoch).unwrap_or(i32::MAX)
}

fn get<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r tokio_postgres::Row, index: usize) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| StoreError::Unavailable(format!("sync_backend is unreadable: {error}")))
}

/// `id` and the columns, in schema order.
pub(super) fn decode_row(row: &tokio_postgres::Row) -> Result<(Arc<str>, Row), StoreError> {
    let id = Arc::from(get::<&str>(row, 0)?);
    let columns = (1..row.len()).map(|index| get::<Cell>(row, index).map(|cell| cell.0)).collect::<Result<Row, _>>()?;
    Ok((id, columns))
}

fn row_params(id: &str, row: &Row) -> Params {
    let mut params = vec![param(id.to_owned())];
    params.extend(row.iter().map(|value| param(Bound(value.clone()))));
    params
}

impl Session for PostgresSession<'_> {
    async fn begin(&mut self, received_us: i64) -> Result<(), StoreError> {
        self.open = Open { is_open: true, received_us, ..Open::default() };
        Ok(())
    }

    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.open.wants_savepoint = true;
        self.open.has_savepoint = false;
        Ok(())
    }

    async fn rollback_to_savepoint(&mut self) -> Result<(), StoreError> {
        let open = &mut self.open;
        // Nothing is written before the savepoint: the transaction plans first.
        open.written.clear();
        open.unsent.clear();
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
        self.open = Open::default();
        Ok(())
    }

    async fn commit(&mut self, at_us: i64, origin: Option<Origin>) -> Result<(), StoreError> {
        if let Err(error) = self.finish(at_us, origin.as_ref()).await {
            // If COMMIT was sent it has ended the transaction; if it was not, this does.
            if self.open.has_begun && !self.is_spoilt && self.send(vec![Step::Plain("ROLLBACK")]).await.is_ok() {
                self.open = Open::default();
            }
            return Err(error);
        }
        self.is_eager = false;
        self.open = Open::default();
        Ok(())
    }

    fn foresee(&mut self, names: BTreeSet<Key>) {
        self.open.names = names;
    }

    async fn lock_client(&mut self, subject: &str, client: &str) -> Result<(), StoreError> {
        self.open.client_lock = Some(locks::of_client(subject, client));
        Ok(())
    }

    async fn lock(&mut self, footprint: &Footprint) -> Result<(), StoreError> {
        let unread: BTreeSet<Key> =
            footprint.rows.iter().filter(|key| !self.open.read.contains_key(*key)).cloned().collect();
        let tables: Vec<Arc<str>> = self.rules.tables.iter().map(|table| table.name.clone()).collect();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let is_alone = self.open.everything.is_some_and(|lock| !lock.is_shared);
        if !is_alone {
            let plan = locks::plan(&tables, &unread, footprint);
            // To share everything and then want it alone would wait for others who want the same.
            let wants_alone = self.open.everything.is_none() && plan.len() > LOCKS_MAX;
            if self.open.everything.is_none() {
                let lock = locks::of_everything(!wants_alone);
                self.open.everything = Some(lock);
                before.push(lock);
            }
            if !wants_alone {
                before.extend(plan.rows);
                after.extend(plan.others);
            }
        }
        self.open.names.extend(footprint.rows.iter().cloned());
        let names: Vec<Key> = self.open.names.iter().cloned().collect();
        self.read(unread.into_iter().collect(), &before, &after, names).await
    }

    async fn forget(&mut self, before_us: i64) -> Result<(), StoreError> {
        if !self.shared.is_time_to_forget(self.open.received_us) {
            return Ok(());
        }
        // In a transaction of its own: what the ledger says about the client is read afterwards.
        let mut steps =
            vec![Step::Plain("BEGIN"), self.locking(&[Lock { key: locks::of_retention(), is_shared: false }]).await?];
        for sql in [FORGET_LEDGER, FORGET_TOMBSTONES, FORGET_ALIASES] {
            steps.push(self.step(sql, vec![param(before_us)]).await?);
        }
        steps.push(Step::Plain("COMMIT"));
        self.send(steps).await.map(|_| ())
    }

    async fn ledger(&mut self, subject: &str, client: &str, op_ids: &[i64]) -> Result<ClientLedger, StoreError> {
        let mut steps = self.beginning().await?;
        let params = vec![param(subject.to_owned()), param(client.to_owned()), param(op_ids.to_vec())];
        steps.push(self.step(LEDGER, params).await?);
        let names: Vec<Key> = self.open.names.iter().cloned().collect();
        let at = steps.len();
        if !names.is_empty() {
            let params = self.names_of(&names);
            steps.push(self.step(ALIASES, params).await?);
        }
        let mut answers = self.send(steps).await?;
        if !names.is_empty() {
            let rows = answers.remove(at);
            self.note_aliases(names, &rows)?;
        }
        let mut ledger = ClientLedger::default();
        for row in &answers[at - 1] {
            let epoch: Option<i32> = get(row, 0)?;
            ledger.epoch = epoch.map_or(0, |epoch| u32::try_from(epoch).unwrap_or(0));
            ledger.forgotten_through = get(row, 1)?;
            let Some(op_id) = get::<Option<i64>>(row, 2)? else { continue };
            let unreadable = |what: &str| StoreError::Unavailable(format!("the ledger is unreadable: {what}"));
            let digest = <[u8; 32]>::try_from(get::<&[u8]>(row, 4)?).map_err(|_| unreadable("a digest"))?;
            let answer: OpAnswer =
                serde_json::from_str(get::<&str>(row, 5)?).map_err(|error| unreadable(&error.to_string()))?;
            let epoch = u32::try_from(get::<i32>(row, 3)?).unwrap_or(0);
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
        let mut steps = self.beginning().await?;
        let names = vec![key.clone()];
        let params = self.names_of(&names);
        steps.push(self.step(ALIASES, params).await?);
        let answers = self.send(steps).await?;
        self.note_aliases(names, answers.last().expect("every step has an answer"))?;
        Ok(self.open.aliases.get(&key).cloned().flatten())
    }

    async fn stored(&mut self, table: usize, id: &str) -> Result<Stored, StoreError> {
        let slot = self.known(&(table, Arc::from(id))).await?;
        Ok(match slot {
            Slot { row: Some(row), meta, .. } => Stored::Live(StoredRow { row, meta }),
            Slot { tombstone: Some(tombstone), .. } => Stored::Deleted(tombstone),
            _ => Stored::Absent,
        })
    }

    async fn holder(&mut self, unique: usize, row: &[Value]) -> Result<Option<Arc<str>>, StoreError> {
        let key = &self.rules.uniques[unique];
        let values: Vec<&Value> = key.columns.iter().map(|column| &row[*column]).collect();
        if values.iter().any(|value| value.is_null()) {
            return Ok(None);
        }
        let params = values.into_iter().map(|value| param(Bound(value.clone()))).collect();
        let sql = self.sql.clone();
        Ok(self.find(key.table, &sql.holders[unique], params).await?.pop())
    }

    async fn children(&mut self, reference: usize, parent: &str) -> Result<Vec<Arc<str>>, StoreError> {
        let table = self.rules.references[reference].table;
        let sql = self.sql.clone();
        let params = vec![param(Bound(Value::text(parent)))];
        let ids = self.find(table, &sql.children[reference], params).await?;
        self.read_found(table, &ids).await?;
        Ok(ids)
    }

    async fn running(&mut self, exclusive: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let table = self.rules.exclusives[exclusive].table;
        let sql = self.sql.clone();
        let ids = self.find(table, &sql.running[exclusive], vec![param(Bound(Value::Int(1)))]).await?;
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
        let mut slot = self.known(&key).await?;
        // An UPDATE that changes nothing is not sent, except by the baseline, which sends all it is given.
        let is_visible = meta.is_none() || slot.row.as_ref() != Some(&row);
        if let Some(meta) = meta {
            slot.meta = Some(Arc::new(meta));
        }
        if is_visible {
            self.open.unsent.push(match &slot.row {
                Some(_) => RowChange::Update(key.clone(), row.clone()),
                None => RowChange::Insert(key.clone(), row.clone()),
            });
            self.note_change(table, &key.1, by, cause);
            if slot.row.is_none() {
                slot.tombstone = None;
            }
            slot.row = Some(row);
        }
        self.open.written.insert(key, slot);
        if self.is_eager { self.push().await } else { Ok(()) }
    }

    async fn touch(&mut self, table: usize, id: &str, meta: RowMeta) -> Result<(), StoreError> {
        let key: Key = (table, Arc::from(id));
        let mut slot = self.known(&key).await?;
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
        let mut slot = self.known(&key).await?;
        if slot.row.take().is_none() {
            return Ok(());
        }
        if let Some(tombstone) = tombstone {
            slot.meta = None;
            self.note_tombstone(table, id, tombstone.at_us);
            slot.tombstone = Some(Arc::new(tombstone));
        }
        self.open.unsent.push(RowChange::Delete(key.clone()));
        self.note_change(table, id, by, cause);
        self.open.written.insert(key, slot);
        if self.is_eager { self.push().await } else { Ok(()) }
    }

    async fn bury(&mut self, table: usize, id: &str, tombstone: Tombstone) -> Result<(), StoreError> {
        let key: Key = (table, Arc::from(id));
        let mut slot = self.known(&key).await?;
        self.note_tombstone(table, id, tombstone.at_us);
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
