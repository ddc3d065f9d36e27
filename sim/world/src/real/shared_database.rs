//! A database that others use as well: which rows are the plan's own, and whose a commit is.
//!
//! Our own backend annotates its commits in the log. Those of other backends are attributed to the uploads that were
//! under way. A commit that changes a row of the plan's and belongs to none of its uploads is foreign.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backend::record::{Change, Commit};
use fixtures::App;
use sim_network::RequestTag;

use super::attributed_commit::AttributedCommit;
use super::uploads_under_way::{Answer, Ended, UploadTurn, UploadsUnderWay};
use crate::plan_rows::RowKey;

/// How it is known whose a commit of the backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitLabels {
    /// The backend annotates each commit in the log.
    Annotations,
    /// By the uploads that are under way.
    Uploads,
}

/// One plan's part of a database.
pub(crate) struct SharedDatabase {
    app: Arc<App>,
    rows: BTreeSet<RowKey>,
    clients: BTreeSet<String>,
    /// `None` where the backend annotates its commits.
    uploads: Option<UploadsUnderWay>,
    has_seen_annotation: AtomicBool,
    /// Rows of others that a commit of the plan's changed.
    stray_rows: Mutex<BTreeSet<String>>,
}

impl SharedDatabase {
    pub(crate) fn new(
        app: Arc<App>,
        rows: impl IntoIterator<Item = RowKey>,
        clients: impl IntoIterator<Item = String>,
        labels: CommitLabels,
    ) -> Self {
        let uploads = match labels {
            CommitLabels::Annotations => None,
            CommitLabels::Uploads => Some(UploadsUnderWay::new(app.clone())),
        };
        Self {
            app,
            rows: rows.into_iter().collect(),
            clients: clients.into_iter().collect(),
            uploads,
            has_seen_annotation: AtomicBool::new(false),
            stray_rows: Mutex::default(),
        }
    }

    /// Whose a commit is, and which of its changes are the plan's; `None` when the plan has nothing to do with it.
    /// `is_marked` says that the harness itself wrote it.
    pub(super) fn attribute(&self, mut commit: Commit, is_marked: bool) -> Option<AttributedCommit> {
        let changes = std::mem::take(&mut commit.changes).into_iter();
        let (own, others): (Vec<Change>, Vec<Change>) = changes.partition(|change| self.owns(change.table, &change.id));
        commit.changes = own;
        commit.conflicts.retain(|record| self.owns(record.table, &record.id));
        commit.aliases.retain(|(table, losing, survivor)| self.owns(*table, losing) && self.owns(*table, survivor));
        let is_of_client = commit.origin.as_ref().is_some_and(|origin| self.clients.contains(&*origin.client_id));
        if is_of_client || is_marked {
            self.has_seen_annotation.fetch_or(is_of_client, Ordering::AcqRel);
            self.note_stray_rows(&others);
            return Some(AttributedCommit { commit, sent: None, is_foreign: false });
        }
        if commit.changes.is_empty() {
            return None;
        }
        if commit.origin.take().is_some() {
            // Annotated, and by a client that the plan does not have.
            commit.ledger.clear();
            return Some(AttributedCommit { commit, sent: None, is_foreign: true });
        }
        // Backends that do not annotate go by the machine's clock.
        commit.received_us = backend::server::machine_clock_us();
        let uploads = self.uploads.as_ref();
        let Some((origin, sent)) = uploads.and_then(|uploads| uploads.attribute(commit.seq, &mut commit.changes))
        else {
            return Some(AttributedCommit { commit, sent: None, is_foreign: true });
        };
        self.note_stray_rows(&others);
        commit.origin = Some(origin);
        Some(AttributedCommit { commit, sent, is_foreign: false })
    }

    /// The ids of the plan's rows of a table.
    pub(super) fn ids(&self, table: usize) -> Vec<&str> {
        self.rows.iter().filter(|(of, _)| *of == table).map(|(_, id)| &**id).collect()
    }

    /// Whether the backend was to annotate its commits, and annotated none.
    pub(super) fn lacks_annotations(&self) -> bool {
        self.uploads.is_none() && !self.has_seen_annotation.load(Ordering::Acquire)
    }

    /// Rows of others that commits of the plan changed, in words.
    pub(super) fn stray_rows(&self) -> Vec<String> {
        self.stray_rows.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// An upload goes to the backend, as soon as it may; `None` where annotations say whose its commits are.
    pub(super) async fn begin_upload(&self, sent: Option<RequestTag>, body: &[u8]) -> Option<UploadTurn> {
        match &self.uploads {
            Some(uploads) => Some(uploads.begin(sent, body).await),
            None => None,
        }
    }

    /// An upload was answered, and the log was read since.
    pub(super) fn end_upload(&self, turn: &UploadTurn, answer: Answer) -> Ended {
        self.uploads.as_ref().map(|uploads| uploads.end(turn, answer)).unwrap_or_default()
    }

    fn owns(&self, table: usize, id: &str) -> bool {
        self.rows.contains(&(table, Arc::from(id)))
    }

    fn note_stray_rows(&self, others: &[Change]) {
        let name = |change: &Change| format!("{} {}", self.app.schema.tables[change.table].name, change.id);
        self.stray_rows.lock().unwrap_or_else(PoisonError::into_inner).extend(others.iter().map(name));
    }
}
