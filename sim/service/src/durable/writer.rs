//! What the writer's thread works on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fixtures::Schema;
use tokio::sync::watch;

use super::current::CurrentService;
use super::job::{DurablePosition, StoreStatus};
use super::layout::Layout;
use super::store::Store;
use crate::changes::ReplicaIdentity;
use crate::service::Config;
use crate::sync_config::SyncConfig;

/// Makes a service's configuration for these tables.
pub type Configure = Box<dyn Fn(Arc<Schema>, Arc<SyncConfig>, Vec<ReplicaIdentity>) -> Config + Send>;
/// Reads [`Layout::text`]; `None` when it can no longer be used.
pub type ReadLayout = Box<dyn Fn(&str) -> Option<Layout> + Send>;

/// What a writer needs to know.
pub struct WriterSettings {
    /// The sync configuration's text.
    pub sync_config: String,
    /// Makes a service's configuration for these tables.
    pub configure: Configure,
    /// Reads a stored layout.
    pub read_layout: ReadLayout,
}

impl fmt::Debug for WriterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterSettings").finish_non_exhaustive()
    }
}

/// The store, and the service that is served from it.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) settings: WriterSettings,
    pub(super) current: CurrentService,
    pub(super) durable: watch::Sender<DurablePosition>,
    /// The generations that the store holds.
    pub(super) stored: BTreeSet<u32>,
    pub(super) status: StoreStatus,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        settings: WriterSettings,
        current: CurrentService,
        durable: watch::Sender<DurablePosition>,
    ) -> Self {
        Self { store, settings, current, durable, stored: BTreeSet::new(), status: StoreStatus::default() }
    }

    /// Takes nothing more of a replication attempt: the source must be read again.
    pub(super) fn reject_attempt(&self, attempt: u64, snapshot_needed: bool) {
        self.durable.send_modify(|durable| {
            durable.rejected_attempt = durable.rejected_attempt.max(attempt);
            durable.snapshot_needed |= snapshot_needed;
        });
    }
}
