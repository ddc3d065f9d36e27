//! The commits of a real database, in their order, from a logical slot of the harness's own.
//!
//! The backend notes in the log whose effect each row change is (`--annotate-commits`); notes and changes together
//! are the commits that a store in memory tells of. [`Feed::drain`] reads everything that was committed before it was
//! called, so that a commit stands in the history before anything that it caused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backend::Rules;
use backend::record::{Cause, Change, Commit};
use backend::store::postgres::note::{self, CommitNote};
use fixtures::{App, Row, Schema, Table, Value};
use tokio_postgres::Client;

use super::pgoutput::{Cell, Message};
use super::share::{Passage, Share};
use super::writes::{identifier, literal};
use sim_network::RequestTag;

/// The slot, in a database of our own.
pub(crate) const SLOT: &str = "syncstorm_history";
/// Its publication.
pub(super) const PUBLICATION: &str = "syncstorm_history";
/// What stands in the log with a write of the harness's own that bypasses the backend.
pub(super) const MARK: &str = "SELECT pg_logical_emit_message(true, 'syncstorm', '')";
const MARK_PREFIX: &str = "syncstorm";

/// The change feed of one plan. Everything here happens on the real runtime.
pub(crate) struct Feed {
    rules: Arc<Rules>,
    app: Arc<App>,
    /// The statement that reads the slot.
    reading: String,
    /// What of it is the plan's, where others use the database as well.
    share: Option<Share>,
    reader: tokio::sync::Mutex<Reader>,
    told: Mutex<Vec<Told>>,
    /// Why the feed can no longer be believed.
    broken: Mutex<Option<String>>,
    /// Requests that may write, those begun and those ended; and how many of both the last drain came after.
    events: AtomicU64,
    drained: AtomicU64,
    /// Such requests that are under way.
    open: AtomicUsize,
    /// A request ended without an answer: what it may have begun may end at any time.
    unsure: AtomicBool,
    /// The database is away, and whatever the service has seen of it was read before.
    is_sealed: AtomicBool,
    /// The end of the last transaction that was read.
    lsn: AtomicU64,
}

/// A commit, and what is known of its origin besides.
pub(super) struct Told {
    pub(super) commit: Commit,
    /// Whose upload it is, where no note needs to say that.
    pub(super) sent: Option<RequestTag>,
    /// Somebody made it whom the plan does not know.
    pub(super) foreign: bool,
}

/// Where a feed is read.
pub(crate) struct Spring<'a> {
    /// The slot's name.
    pub(crate) slot: &'a str,
    pub(crate) publication: &'a str,
    /// What of it is the plan's, where others use the database as well. The slot then ends with its session.
    pub(crate) share: Option<Share>,
}

impl Spring<'_> {
    /// In a database of our own.
    pub(crate) fn own() -> Self {
        Spring { slot: SLOT, publication: PUBLICATION, share: None }
    }
}

struct Reader {
    /// `None` while the database is away.
    client: Option<Client>,
    seq: u64,
    conflicts: u64,
}

/// A transaction of the log in the making.
#[derive(Default)]
struct Open {
    changes: Vec<Change>,
    note: Option<CommitNote>,
    /// Whether it bears our mark.
    is_marked: bool,
}

/// A request that may write.
pub(super) struct Writing(Arc<Feed>);

impl Reader {
    fn client(&self) -> Result<&Client, String> {
        self.client.as_ref().ok_or_else(|| "the database is away".to_owned())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.events.fetch_add(1, Ordering::AcqRel);
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Feed {
    /// Makes the slot; what is committed from now on is read.
    pub(crate) async fn start(
        app: Arc<App>,
        rules: Arc<Rules>,
        client: Client,
        spring: Spring<'_>,
    ) -> Result<Self, String> {
        let Spring { slot, publication, share } = spring;
        let is_temporary = share.is_some();
        let made = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', {is_temporary})");
        client.batch_execute(&made).await.map_err(|error| said(&error))?;
        let publication = publication.replace('"', "\"\"").replace('\'', "''");
        let reading = format!(
            "SELECT data FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', \
             'publication_names', '\"{publication}\"', 'messages', 'true')"
        );
        Ok(Self {
            rules,
            app,
            reading,
            share,
            reader: tokio::sync::Mutex::new(Reader { client: Some(client), seq: 0, conflicts: 0 }),
            told: Mutex::default(),
            broken: Mutex::default(),
            events: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            unsure: AtomicBool::new(false),
            is_sealed: AtomicBool::new(false),
            lsn: AtomicU64::new(0),
        })
    }

    /// A request that may write begins; it ends when the handle goes.
    pub(super) fn writes(self: &Arc<Self>) -> Writing {
        self.events.fetch_add(1, Ordering::AcqRel);
        self.open.fetch_add(1, Ordering::AcqRel);
        Writing(self.clone())
    }

    /// A request ended without an answer.
    pub(super) fn is_unsure(&self) {
        self.unsure.store(true, Ordering::Release);
    }

    /// Whether a request ended without an answer.
    pub(crate) fn was_unsure(&self) -> bool {
        self.unsure.load(Ordering::Acquire)
    }

    /// Whether the service may show commits that were not read.
    pub(super) fn is_behind(&self) -> bool {
        if self.is_sealed.load(Ordering::Acquire) {
            return false;
        }
        self.open.load(Ordering::Acquire) > 0
            || self.unsure.load(Ordering::Acquire)
            || self.events.load(Ordering::Acquire) != self.drained.load(Ordering::Acquire)
    }

    /// The end of the last transaction that was read.
    pub(super) fn lsn(&self) -> u64 {
        self.lsn.load(Ordering::Acquire)
    }

    /// The commits that were read since this was last asked.
    pub(super) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What of the database is the plan's, where others use it as well.
    pub(crate) fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }

    /// An upload was answered, and the log was read since: one that is committed and changed nothing is a commit, too.
    /// `None`: whether it was acted on is not known.
    pub(super) async fn answered(&self, passage: &Passage, is_committed: Option<bool>, at_us: i64) {
        let Some(share) = &self.share else { return };
        for (origin, sent) in share.answered(passage, is_committed) {
            let mut reader = self.reader.lock().await;
            reader.seq += 1;
            let received_us = backend::server::machine_clock_us();
            let commit = Commit { origin: Some(origin), received_us, ..bare(reader.seq, at_us, Vec::new()) };
            drop(reader);
            self.tell(Told { commit, sent, foreign: false });
        }
    }

    /// An upload was taken, and the log was read since: what notes its commits has noted this one.
    pub(super) fn expects_note(&self) {
        if self.share.as_ref().is_some_and(|share| share.notes() && !share.has_noted()) {
            self.give_up(
                "the backend leaves no notes of its commits there, so that nobody can tell whose they are: start it with \
                 --annotate-commits"
                    .to_owned(),
            );
        }
    }

    fn tell(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    /// Why the feed can no longer be believed.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The database is about to go away: reads what there is, and lets go of the connection. No reading is under way
    /// when this returns, so that none is torn; and what a kill makes the slot tell again is known by its position.
    /// Replication to the service must have been stopped before.
    pub(super) async fn seal(&self, at_us: i64) -> Result<(), String> {
        self.drain(at_us).await?;
        let mut reader = self.reader.lock().await;
        reader.client = None;
        self.is_sealed.store(true, Ordering::Release);
        Ok(())
    }

    /// The database is back.
    pub(super) async fn open(&self, client: Client) {
        let mut reader = self.reader.lock().await;
        reader.client = Some(client);
        self.is_sealed.store(false, Ordering::Release);
    }

    /// Reads everything that was committed before this call. `at_us` is when writes were received that have no note:
    /// those that bypass the backend.
    pub(crate) async fn drain(&self, at_us: i64) -> Result<(), String> {
        let mut reader = self.reader.lock().await;
        let events = self.events.load(Ordering::Acquire);
        let rows = reader.client()?.query(&self.reading, &[]).await.map_err(|error| said(&error))?;
        let mut relations: BTreeMap<u32, Option<(usize, Vec<Option<usize>>)>> = BTreeMap::new();
        let mut open = Open::default();
        for row in &rows {
            let message = Message::parse(row.get(0)).map_err(|error| self.give_up(error.to_string()))?;
            match message {
                Message::Begin => open = Open::default(),
                Message::Commit { end_lsn } => {
                    let transaction = std::mem::take(&mut open);
                    if self.lsn.fetch_max(end_lsn, Ordering::AcqRel) >= end_lsn {
                        // A slot forgets in a crash how far it was read.
                        continue;
                    }
                    self.commit(&mut reader, transaction, at_us)?;
                }
                Message::Relation { id, name, columns } => {
                    relations.insert(id, places(&self.app.schema, &name, &columns));
                }
                Message::Row { relation, old, new } => {
                    let Some(Some((table, columns))) = relations.get(&relation) else { continue };
                    let change = change(&self.app.schema, *table, columns, old, new);
                    open.changes.push(change.map_err(|problem| self.give_up(problem))?);
                }
                Message::Truncate { .. } => return Err(self.give_up("somebody truncated a table".to_owned())),
                Message::Note { prefix, content } if prefix == note::PREFIX => {
                    let note = CommitNote::parse(&content);
                    open.note = Some(note.map_err(|error| self.give_up(format!("a commit's note: {error}")))?);
                }
                Message::Note { prefix, .. } if prefix == MARK_PREFIX => open.is_marked = true,
                Message::Note { .. } | Message::Other => {}
            }
        }
        self.drained.fetch_max(events, Ordering::AcqRel);
        Ok(())
    }

    fn commit(&self, reader: &mut Reader, transaction: Open, at_us: i64) -> Result<(), String> {
        let seq = reader.seq + 1;
        let Open { changes, note, is_marked } = transaction;
        let commit = match note {
            Some(note) => note.commit(&self.rules, seq, reader.conflicts, changes).ok_or_else(|| {
                self.give_up(format!("the note of commit {seq} does not belong to the row changes before it"))
            })?,
            None if changes.is_empty() => return Ok(()),
            None => bare(seq, at_us, changes),
        };
        let told = match &self.share {
            None => Some(Told { commit, sent: None, foreign: false }),
            Some(share) => shared(share, commit, is_marked),
        };
        let Some(told) = told else { return Ok(()) };
        reader.seq = seq;
        reader.conflicts += told.commit.conflicts.len() as u64;
        self.tell(told);
        Ok(())
    }

    fn give_up(&self, problem: String) -> String {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem).clone()
    }

    /// The position at which the database is now.
    pub(super) async fn position(&self) -> Result<u64, String> {
        let reader = self.reader.lock().await;
        let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8";
        let row = reader.client()?.query_one(sql, &[]).await.map_err(|error| said(&error))?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }

    /// Every row of a table, with its id; where others use the database, those of the plan.
    pub(super) async fn rows(&self, table: usize) -> Result<Vec<(String, Row)>, String> {
        let reader = self.reader.lock().await;
        let own = self.share.as_ref().map(|share| share.ids(table));
        table_rows(reader.client()?, &self.app.schema.tables[table], own.as_deref()).await
    }

    /// Runs statements.
    pub(crate) async fn sql(&self, statements: &str) -> Result<(), String> {
        self.reader.lock().await.client()?.batch_execute(statements).await.map_err(|error| said(&error))
    }

    /// One number that a statement answers; `None` when it answers no row.
    pub(crate) async fn number(&self, statement: &str) -> Result<Option<i32>, String> {
        let reader = self.reader.lock().await;
        let row = reader.client()?.query_opt(statement, &[]).await.map_err(|error| said(&error))?;
        Ok(row.and_then(|row| row.get(0)))
    }
}

/// Every row of a table, or those with these ids; with its id.
pub(crate) async fn table_rows(
    client: &Client,
    declared: &Table,
    ids: Option<&[&str]>,
) -> Result<Vec<(String, Row)>, String> {
    let columns: Vec<String> = declared.columns.iter().map(|column| format!(", {}", identifier(&column.name))).collect();
    let those = match ids {
        None => String::new(),
        Some([]) => return Ok(Vec::new()),
        Some(ids) => format!(" WHERE id IN ({})", ids.iter().map(|id| literal(id)).collect::<Vec<_>>().join(", ")),
    };
    let sql = format!("SELECT id{} FROM {}{those} ORDER BY id", columns.concat(), identifier(&declared.name));
    let answer = client.simple_query(&sql).await.map_err(|error| said(&error))?;
    let mut rows = Vec::new();
    for message in &answer {
        let tokio_postgres::SimpleQueryMessage::Row(row) = message else { continue };
        let values = declared.columns.iter().zip(1..).map(|(column, index)| match row.get(index) {
            None => Ok(Value::Null),
            Some(text) => Value::from_text(column.ty, text).map_err(|error| format!("{}: {error}", column.name)),
        });
        rows.push((row.get(0).unwrap_or_default().to_owned(), values.collect::<Result<Vec<_>, _>>()?.into()));
    }
    Ok(rows)
}

/// A commit of which nothing is known but its changes.
fn bare(seq: u64, at_us: i64, changes: Vec<Change>) -> Commit {
    Commit {
        seq,
        at_us,
        received_us: at_us,
        origin: None,
        changes,
        ledger: Vec::new(),
        conflicts: Vec::new(),
        tombstones: Vec::new(),
        aliases: Vec::new(),
    }
}

/// What of a commit is the plan's, and whose it is; `None` when it is none of its business.
fn shared(share: &Share, mut commit: Commit, is_marked: bool) -> Option<Told> {
    let (own, others) = share.divide(std::mem::take(&mut commit.changes));
    commit.changes = own;
    commit.conflicts.retain(|record| share.owns(record.table, &record.id));
    commit.aliases.retain(|(table, losing, survivor)| share.owns(*table, losing) && share.owns(*table, survivor));
    let is_client = commit.origin.as_ref().is_some_and(|origin| share.knows(&origin.client_id));
    if is_client || is_marked {
        share.note(is_client);
        share.stray(&others);
        return Some(Told { commit, sent: None, foreign: false });
    }
    if commit.changes.is_empty() {
        return None;
    }
    if commit.origin.take().is_some() {
        commit.ledger.clear();
        return Some(Told { commit, sent: None, foreign: true });
    }
    // Servers that leave no notes go by the machine's clock.
    commit.received_us = backend::server::machine_clock_us();
    let Some((origin, sent)) = share.attribute(&mut commit.changes) else {
        return Some(Told { commit, sent: None, foreign: true });
    };
    share.stray(&others);
    commit.origin = Some(origin);
    Some(Told { commit, sent, foreign: false })
}

/// What the database said, rather than that it said something.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Where each column of the log goes: the table, and for each column its index, `None` for `id`.
fn places(schema: &Schema, name: &str, columns: &[String]) -> Option<(usize, Vec<Option<usize>>)> {
    let table = schema.table_index(name)?;
    Some((table, columns.iter().map(|column| schema.tables[table].column_index(column)).collect()))
}

fn change(
    schema: &Schema,
    table: usize,
    columns: &[Option<usize>],
    old: Option<Vec<Cell>>,
    new: Option<Vec<Cell>>,
) -> Result<Change, String> {
    let before = old.map(|cells| row(schema, table, columns, cells, None)).transpose()?;
    let after = match new {
        None => None,
        Some(cells) => Some(row(schema, table, columns, cells, before.as_ref().map(|(_, row)| row))?),
    };
    let id = after.as_ref().or(before.as_ref()).map(|(id, _)| id.clone());
    Ok(Change {
        table,
        id: id.ok_or("the log tells of a row without its identity: replica identity FULL is needed")?,
        before: before.map(|(_, row)| row),
        after: after.map(|(_, row)| row),
        by: None,
        cause: Cause::Server,
    })
}

fn row(
    schema: &Schema,
    table: usize,
    columns: &[Option<usize>],
    cells: Vec<Cell>,
    before: Option<&Row>,
) -> Result<(Arc<str>, Row), String> {
    let declared = &schema.tables[table].columns;
    let mut id = None;
    let mut values = vec![Value::Null; declared.len()];
    for (place, cell) in columns.iter().zip(cells) {
        match (place, cell) {
            (None, Some(Some(text))) => id = Some(Arc::from(text)),
            (None, _) => {}
            (Some(column), None) => {
                let known = before.and_then(|before| before.get(*column)).cloned();
                values[*column] = known.ok_or("the log leaves out a value that is not known")?;
            }
            (Some(_), Some(None)) => {}
            (Some(column), Some(Some(text))) => {
                let ty = declared[*column].ty;
                values[*column] = Value::from_text(ty, &text)
                    .map_err(|error| format!("{}.{}: {error}", schema.tables[table].name, declared[*column].name))?;
            }
        }
    }
    Ok((id.ok_or("a row of the log has no id")?, values.into()))
}
