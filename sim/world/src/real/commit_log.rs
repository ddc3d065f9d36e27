//! The commits of a real database in their order, read from a logical slot of the harness's own.
//!
//! The backend annotates in the log whose effect each row change is (`--annotate-commits`). [`CommitLog::read_new`]
//! reads everything that was committed before it was called, so that a commit stands in the history before anything
//! that it caused.

mod pgoutput;
mod row_decoder;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backend::Rules;
use backend::record::{Change, Commit};
use backend::store::postgres::note::{self, CommitNote};
use fixtures::{App, Row};
use sim_network::RequestTag;
use tokio_postgres::Client;

use self::pgoutput::Message;
use self::row_decoder::Relation;
use super::attributed_commit::{AttributedCommit, Entry, bare_commit};
use super::shared_database::SharedDatabase;
use super::sql::{error_text, table_rows};
use super::upload_senders::UploadSenders;
use super::uploads_under_way::{Answer, UploadTurn};

/// The slot in a database of our own.
pub(crate) const OWN_SLOT: &str = "syncstorm_history";
/// Its publication.
pub(super) const OWN_PUBLICATION: &str = "syncstorm_history";
/// Marks a transaction in the log as one of the harness's own, which bypasses the backend.
pub(super) const EMIT_MARK: &str = "SELECT pg_logical_emit_message(true, 'syncstorm', '')";
const MARK_PREFIX: &str = "syncstorm";

/// The commits of one plan. Everything here happens on the real runtime.
pub(crate) struct CommitLog {
    rules: Arc<Rules>,
    app: Arc<App>,
    read_slot: String,
    /// The plan's part, where others use the database as well.
    shared: Option<SharedDatabase>,
    /// Who sent which operation, where several devices share a client id.
    senders: Option<UploadSenders>,
    session: tokio::sync::Mutex<Session>,
    /// What was read and not taken yet.
    entries: Mutex<Vec<Entry>>,
    /// Why the log can no longer be believed.
    failure: Mutex<Option<String>>,
    /// The beginnings and ends of requests that may write; and how many of them the last reading came after.
    write_events: AtomicU64,
    read_after_events: AtomicU64,
    /// Such requests that are under way.
    open_writes: AtomicUsize,
    /// A request ended without an answer: what it has begun may commit at any time.
    has_unanswered: AtomicBool,
    /// The database is away, and whatever the service has seen of it was read before.
    is_sealed: AtomicBool,
    /// The end of the last transaction that was read.
    read_lsn: AtomicU64,
}

/// Where the commits are read, and how they are attributed.
pub(crate) struct LogSource<'a> {
    pub(crate) slot: &'a str,
    pub(crate) publication: &'a str,
    /// The plan's part, where others use the database as well. The slot then ends with its session.
    pub(crate) shared: Option<SharedDatabase>,
    /// Whether several devices share a client id.
    pub(crate) has_copies: bool,
}

impl LogSource<'_> {
    /// In a database of our own.
    pub(crate) fn own_database(has_copies: bool) -> Self {
        LogSource { slot: OWN_SLOT, publication: OWN_PUBLICATION, shared: None, has_copies }
    }
}

struct Session {
    /// `None` while the database is away.
    client: Option<Client>,
    /// The number of the last commit, and of the last conflict record.
    seq: u64,
    conflicts: u64,
}

impl Session {
    fn client(&self) -> Result<&Client, String> {
        self.client.as_ref().ok_or_else(|| "the database is away".to_owned())
    }
}

/// A transaction of the log while it is read.
#[derive(Default)]
struct Transaction {
    changes: Vec<Change>,
    annotation: Option<CommitNote>,
    is_marked: bool,
}

/// A request that may write, until it ends.
pub(super) struct OpenWrite(Arc<CommitLog>);

impl Drop for OpenWrite {
    fn drop(&mut self) {
        self.0.write_events.fetch_add(1, Ordering::AcqRel);
        self.0.open_writes.fetch_sub(1, Ordering::AcqRel);
    }
}

impl CommitLog {
    /// Makes the slot; what is committed from now on is read.
    pub(crate) async fn open(
        app: Arc<App>,
        rules: Arc<Rules>,
        client: Client,
        source: LogSource<'_>,
    ) -> Result<Self, String> {
        let LogSource { slot, publication, shared, has_copies } = source;
        let is_temporary = shared.is_some();
        let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', {is_temporary})");
        client.batch_execute(&create).await.map_err(|error| error_text(&error))?;
        let publication = publication.replace('"', "\"\"").replace('\'', "''");
        let read_slot = format!(
            "SELECT data FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', \
             'publication_names', '\"{publication}\"', 'messages', 'true')"
        );
        Ok(Self {
            rules,
            app,
            read_slot,
            shared,
            senders: has_copies.then(UploadSenders::default),
            session: tokio::sync::Mutex::new(Session { client: Some(client), seq: 0, conflicts: 0 }),
            entries: Mutex::default(),
            failure: Mutex::default(),
            write_events: AtomicU64::new(0),
            read_after_events: AtomicU64::new(0),
            open_writes: AtomicUsize::new(0),
            has_unanswered: AtomicBool::new(false),
            is_sealed: AtomicBool::new(false),
            read_lsn: AtomicU64::new(0),
        })
    }

    /// Reads everything that was committed before this call. `at_us` is when commits without annotation were received:
    /// those that bypass the backend.
    pub(crate) async fn read_new(&self, at_us: i64) -> Result<(), String> {
        let mut session = self.session.lock().await;
        let events = self.write_events.load(Ordering::Acquire);
        let rows = session.client()?.query(&self.read_slot, &[]).await.map_err(|error| error_text(&error))?;
        let schema = &self.app.schema;
        let mut relations: BTreeMap<u32, Option<Relation>> = BTreeMap::new();
        let mut transaction = Transaction::default();
        for row in &rows {
            let message = Message::parse(row.get(0)).map_err(|error| self.fail(error.to_string()))?;
            match message {
                Message::Begin => transaction = Transaction::default(),
                Message::Commit { end_lsn } => {
                    let transaction = std::mem::take(&mut transaction);
                    if self.read_lsn.fetch_max(end_lsn, Ordering::AcqRel) >= end_lsn {
                        // In a crash a slot forgets how far it was read.
                        continue;
                    }
                    self.add(&mut session, transaction, at_us)?;
                }
                Message::Relation { id, name, columns } => {
                    relations.insert(id, Relation::new(schema, &name, &columns));
                }
                Message::Row { relation, old, new } => {
                    let Some(Some(relation)) = relations.get(&relation) else { continue };
                    let change = relation.change(schema, old, new).map_err(|problem| self.fail(problem))?;
                    transaction.changes.push(change);
                }
                Message::Truncate { .. } => return Err(self.fail("somebody truncated a table".to_owned())),
                Message::Emitted { prefix, content } if prefix == note::PREFIX => {
                    let annotation = CommitNote::parse(&content);
                    let annotation = annotation.map_err(|error| self.fail(format!("a commit's note: {error}")))?;
                    transaction.annotation = Some(annotation);
                }
                Message::Emitted { prefix, .. } if prefix == MARK_PREFIX => transaction.is_marked = true,
                Message::Emitted { .. } | Message::Other => {}
            }
        }
        self.read_after_events.fetch_max(events, Ordering::AcqRel);
        Ok(())
    }

    fn add(&self, session: &mut Session, transaction: Transaction, at_us: i64) -> Result<(), String> {
        let seq = session.seq + 1;
        let Transaction { changes, annotation, is_marked } = transaction;
        let commit = match annotation {
            Some(annotation) => annotation.commit(&self.rules, seq, session.conflicts, changes).ok_or_else(|| {
                self.fail(format!("the note of commit {seq} does not belong to the row changes before it"))
            })?,
            None if changes.is_empty() => return Ok(()),
            None => bare_commit(seq, at_us, changes),
        };
        let Some(attributed) = self.attribute(commit, is_marked) else { return Ok(()) };
        session.seq = seq;
        session.conflicts += attributed.commit.conflicts.len() as u64;
        self.push(Entry::Commit(attributed));
        Ok(())
    }

    /// `None` where the plan has nothing to do with the commit.
    fn attribute(&self, commit: Commit, is_marked: bool) -> Option<AttributedCommit> {
        let attributed = match &self.shared {
            None => AttributedCommit { commit, sent: None, is_foreign: false },
            Some(shared) => shared.attribute(commit, is_marked)?,
        };
        let sent = attributed.sent.or_else(|| self.senders.as_ref()?.of(&attributed.commit));
        Some(AttributedCommit { sent, ..attributed })
    }

    fn push(&self, entry: Entry) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// What was read since this was last asked.
    pub(super) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The end of the last transaction that was read.
    pub(super) fn read_lsn(&self) -> u64 {
        self.read_lsn.load(Ordering::Acquire)
    }

    /// Why the log can no longer be believed.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, problem: String) -> String {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem).clone()
    }

    /// Rows of others that commits of the plan changed, in words.
    pub(super) fn stray_rows(&self) -> Vec<String> {
        self.shared.as_ref().map(SharedDatabase::stray_rows).unwrap_or_default()
    }
}

// ---- Requests that write ----

impl CommitLog {
    /// A request that may write begins; it ends when the handle is dropped.
    pub(super) fn begin_write(self: &Arc<Self>) -> OpenWrite {
        self.write_events.fetch_add(1, Ordering::AcqRel);
        self.open_writes.fetch_add(1, Ordering::AcqRel);
        OpenWrite(self.clone())
    }

    /// A request ended without an answer.
    pub(super) fn note_unanswered(&self) {
        self.has_unanswered.store(true, Ordering::Release);
    }

    /// Whether a request ended without an answer.
    pub(crate) fn has_unanswered(&self) -> bool {
        self.has_unanswered.load(Ordering::Acquire)
    }

    /// Whether the service may show commits that were not read.
    pub(super) fn may_be_behind(&self) -> bool {
        if self.is_sealed.load(Ordering::Acquire) {
            return false;
        }
        self.open_writes.load(Ordering::Acquire) > 0
            || self.has_unanswered()
            || self.write_events.load(Ordering::Acquire) != self.read_after_events.load(Ordering::Acquire)
    }

    /// A device sends an upload.
    pub(super) fn note_upload(&self, sent: RequestTag, body: &[u8]) {
        if let Some(senders) = &self.senders {
            senders.note(sent, body);
        }
    }

    /// An upload goes to the backend, as soon as it may; `None` where nothing of it need be known.
    pub(super) async fn begin_upload(&self, sent: Option<RequestTag>, body: &[u8]) -> Option<UploadTurn> {
        self.shared.as_ref()?.begin_upload(sent, body).await
    }

    /// An upload was answered, and the log was read since. One that is accepted and changed nothing is a commit, too.
    pub(super) async fn end_upload(&self, turn: &UploadTurn, answer: Answer, at_us: i64) {
        let Some(shared) = &self.shared else { return };
        let ended = shared.end_upload(turn, answer);
        for claim in ended.claims {
            self.push(Entry::Claim(claim));
        }
        for (origin, sent) in ended.without_commit {
            let mut session = self.session.lock().await;
            session.seq += 1;
            let received_us = backend::server::machine_clock_us();
            let commit = Commit { origin: Some(origin), received_us, ..bare_commit(session.seq, at_us, Vec::new()) };
            drop(session);
            self.push(Entry::Commit(AttributedCommit { commit, sent, is_foreign: false }));
        }
    }

    /// An upload was accepted, and the log was read since: a backend that annotates its commits has annotated this one.
    pub(super) fn expect_annotation(&self) {
        if self.shared.as_ref().is_some_and(SharedDatabase::lacks_annotations) {
            self.fail(
                "the backend leaves no notes of its commits there, so that nobody can tell whose they are: start it with \
                 --annotate-commits"
                    .to_owned(),
            );
        }
    }
}

// ---- The session ----

impl CommitLog {
    /// The database is about to go away: reads what there is, and closes the session. No reading is under way when this
    /// returns, so none is torn. What the slot repeats after a kill is known by its position. Replication to the
    /// service must have been stopped before.
    pub(super) async fn seal(&self, at_us: i64) -> Result<(), String> {
        self.read_new(at_us).await?;
        let mut session = self.session.lock().await;
        session.client = None;
        self.is_sealed.store(true, Ordering::Release);
        Ok(())
    }

    /// The database is back.
    pub(super) async fn unseal(&self, client: Client) {
        let mut session = self.session.lock().await;
        session.client = Some(client);
        self.is_sealed.store(false, Ordering::Release);
    }

    /// The position at which the database is now.
    pub(super) async fn head_lsn(&self) -> Result<u64, String> {
        let session = self.session.lock().await;
        let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8";
        let row = session.client()?.query_one(sql, &[]).await.map_err(|error| error_text(&error))?;
        Ok(row.get::<_, i64>(0).cast_unsigned())
    }

    /// Every row of a table, with its id; where others use the database, those of the plan.
    pub(super) async fn rows(&self, table: usize) -> Result<Vec<(String, Row)>, String> {
        let session = self.session.lock().await;
        let own = self.shared.as_ref().map(|shared| shared.ids(table));
        table_rows(session.client()?, &self.app.schema.tables[table], own.as_deref()).await
    }

    /// Runs statements.
    pub(crate) async fn execute(&self, statements: &str) -> Result<(), String> {
        let session = self.session.lock().await;
        session.client()?.batch_execute(statements).await.map_err(|error| error_text(&error))
    }

    /// The one number that a statement answers; `None` when it answers no row.
    pub(crate) async fn query_number(&self, statement: &str) -> Result<Option<i32>, String> {
        let session = self.session.lock().await;
        let row = session.client()?.query_opt(statement, &[]).await.map_err(|error| error_text(&error))?;
        Ok(row.and_then(|row| row.get(0)))
    }
}
