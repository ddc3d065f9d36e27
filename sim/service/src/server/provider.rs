//! What a service on PostgreSQL asks for while it runs: keys, positions, and write checkpoints in the store.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::keyring::Keyring;
use crate::auth::Keys;
use crate::durable::StoreHandle;
use crate::error::WireError;
use crate::replication::postgres::HeadReader;
use crate::service::Provider;

/// Reads positions from PostgreSQL, keys from the keyring, and stores write checkpoints.
#[derive(Debug)]
pub(super) struct PostgresProvider {
    pub(super) heads: HeadReader,
    pub(super) keyring: Arc<Keyring>,
    /// Set once the store is open, which is before any request is answered.
    pub(super) store: watch::Sender<Option<StoreHandle>>,
}

impl Provider for PostgresProvider {
    fn keys<'a>(&'a self, key_id: Option<&'a str>) -> BoxFuture<'a, Arc<Keys>> {
        Box::pin(self.keyring.keys(key_id))
    }

    fn head(&self) -> BoxFuture<'_, Result<u64, WireError>> {
        Box::pin(async {
            self.heads.get().await.map_err(|error| {
                tracing::warn!(%error, "cannot ask PostgreSQL for its position");
                WireError::internal("the source database cannot be asked for its position")
            })
        })
    }

    fn write_checkpoint<'a>(
        &'a self,
        client: &'a str,
        requested: Option<u64>,
        head: u64,
    ) -> BoxFuture<'a, Result<u64, WireError>> {
        Box::pin(async move {
            let store = self.store.borrow().clone();
            let failed = |error: &dyn std::fmt::Display| {
                tracing::warn!(%error, "a write checkpoint could not be stored");
                WireError::internal("the write checkpoint could not be stored")
            };
            let store = store.ok_or_else(|| failed(&"the store is not open"))?;
            store.write_checkpoint(client, requested, head).await.map_err(|error| failed(&error))
        })
    }
}
