//! The store itself: what tests and simulated worlds write and read beside uploads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fixtures::Row;

use crate::record::{Commit, ConflictRecord};
use crate::rules::Rules;
use crate::store::error::StoreError;
use crate::store::memory::server::ServerOp;
use crate::store::memory::session::MemorySession;
use crate::store::memory::state::Inner;

/// A handle to a store in memory; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    rules: Arc<Rules>,
    inner: Arc<Mutex<Inner>>,
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

    /// Removes everything: rows, ledger, conflict records, commits.
    pub fn reset(&self) {
        *self.lock() = Inner::new(&self.rules);
    }

    /// Runs writes that bypass the backend as one transaction, received and committed at the given time. Like an UPDATE
    /// typed into psql, they leave no stamps and no tombstones.
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
        // A panic with the lock held is reported where it happens; later readers may still look.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subject's conflict records with a number above `after`, in order, at most `limit`.
    pub(crate) fn conflicts_after(&self, subject: &str, after: u64, limit: usize) -> Vec<ConflictRecord> {
        let inner = self.lock();
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(inner.conflicts.len());
        let records = inner.conflicts[from..].iter().filter(|record| &*record.subject == subject);
        records.take(limit).cloned().collect()
    }

    /// Runs something with the store locked. Nothing in it may wait.
    pub(crate) fn with_session<T>(&self, run: impl FnOnce(&mut MemorySession<'_>) -> T) -> T {
        let mut inner = self.lock();
        run(&mut MemorySession { rules: &self.rules, inner: &mut inner })
    }
}
