//! Hints about uploads that were applied before, so that a repeated upload takes no locks.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::record::ConflictRecord;
use crate::store::StoreError;
use crate::store::postgres::PostgresStore;
use crate::upload::apply::{apply, recall};
use crate::upload::engine::{Engine, Upload, UploadBody};
use crate::upload::store::{BoxFuture, Store};
use crate::wire::{TransactionOutcome, UploadAnswer};

/// Remembers outside the database which uploads were applied. The ledger has to confirm each hint.
pub trait UploadCache: Send + Sync {
    /// Whether the upload with this digest is known to have been applied.
    fn contains<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, bool>;
    /// Adds an upload that was applied.
    fn insert(&self, digest: String) -> BoxFuture<'_, ()>;
}

/// A store on PostgreSQL with a cache in front of it.
#[derive(Clone)]
pub struct CachedStore {
    store: PostgresStore,
    cache: Arc<dyn UploadCache>,
}

impl CachedStore {
    /// The store, with hints from this cache.
    #[must_use]
    pub fn new(store: PostgresStore, cache: Arc<dyn UploadCache>) -> Self {
        Self { store, cache }
    }

    async fn recall_or_apply(&self, engine: &Engine, upload: &Upload) -> Result<UploadAnswer, StoreError> {
        let mut session = self.store.session().await?;
        let digest = digest(upload);
        if let Some(digest) = &digest
            && self.cache.contains(digest).await
            && let Some(answer) = recall(engine, &mut session, upload).await?
        {
            return Ok(answer);
        }
        let answer = apply(engine, &mut session, upload).await?;
        drop(session);
        let is_whole = answer.transactions.iter().all(|t| t.outcome != TransactionOutcome::NotAttempted);
        if let (Some(digest), true) = (digest, is_whole) {
            self.cache.insert(digest).await;
        }
        Ok(answer)
    }
}

impl Store for CachedStore {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        Box::pin(async move { self.store.finish(self.recall_or_apply(engine, upload).await).await })
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        self.store.conflicts(subject, after, limit)
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        self.store.is_ready()
    }
}

/// Hex SHA-256 over everything that identifies an upload; `None` for the baseline's request format.
fn digest(upload: &Upload) -> Option<String> {
    let UploadBody::Transactions(request) = &upload.body else { return None };
    let mut hash = Sha256::new();
    for name in [&*upload.subject, request.client_id.as_str()] {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
    }
    for transaction in &request.transactions {
        hash.update(transaction.tx_id.to_le_bytes());
        hash.update((transaction.ops.len() as u64).to_le_bytes());
        for op in &transaction.ops {
            hash.update(op.op_id.to_le_bytes());
            hash.update(op.digest());
        }
    }
    Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
