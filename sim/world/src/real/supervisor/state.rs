//! The servers of a plan and its database: what runs, and which faults hold.
//!
//! Faults of a kind may overlap: each is counted, and the last that ends undoes it.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tokio_postgres::Client;

use crate::real::activity::Dependency;
use crate::real::context::RunContext;
use crate::real::environment::Environment;
use crate::real::replication_lag::wait_for_replication;
use crate::real::server::Server;
use crate::real::server_transaction::ServerTransaction;

#[derive(Default)]
pub(super) struct ServerState {
    /// `None` while it is down.
    pub(super) backend: Option<Box<dyn Server>>,
    pub(super) service: Option<Box<dyn Server>>,
    /// How often the sync configuration was changed.
    pub(super) config_changes: u32,
    /// Whether the service compacts when it comes up.
    pub(super) wants_compaction: bool,
    pub(super) backend_downs: u32,
    pub(super) service_downs: u32,
    pub(super) backend_pauses: u32,
    pub(super) service_pauses: u32,
    pub(super) postgres_downs: u32,
    pub(super) postgres_pauses: u32,
    pub(super) postgres_disconnects: u32,
    /// How many faults stall replication, and how many keep the service without a slot.
    pub(super) stalls: u32,
    pub(super) slot_losses: u32,
    /// The process id of the walsender while it is paused (SIGSTOP).
    pub(super) paused_walsender: Option<i32>,
    /// A session with an open transaction, for which the making of a new slot waits.
    pub(super) slot_blocker: Option<Client>,
    /// What cannot be done while the database is away.
    pub(super) deferred: Vec<DeferredWork>,
}

/// What is done when the database is back.
pub(super) enum DeferredWork {
    Write(ServerTransaction),
    DropSlot,
    CutReplication,
}

impl ServerState {
    pub(super) fn is_database_away(&self) -> bool {
        self.postgres_downs > 0 || self.postgres_pauses > 0 || self.postgres_disconnects > 0
    }
}

/// Exclusive access to the state, for one change of it.
pub(crate) struct StateGuard {
    pub(super) environment: Arc<dyn Environment>,
    pub(super) context: Arc<RunContext>,
    pub(super) state: OwnedMutexGuard<ServerState>,
}

impl StateGuard {
    /// Plan time waits for the service to catch up again, unless a fault keeps it from doing so.
    pub(super) fn expect_progress(&self) {
        let state = &*self.state;
        let is_hindered =
            state.service_pauses > 0 || state.stalls > 0 || state.slot_losses > 0 || state.is_database_away();
        if !is_hindered && let Some(service) = &state.service {
            self.context.set_progressing_service(Some(service.address()));
            wait_for_replication(&self.context, self.context.log.read_lsn());
        }
    }

    /// Plan time waits for nothing that depends on what a fault blocks.
    pub(super) fn show_blocked(&self) {
        let (state, activity) = (&*self.state, &self.context.activity);
        activity.set_blocked(Dependency::Service, state.service_pauses > 0);
        let hangs = state.postgres_pauses > 0 || state.postgres_disconnects > 0;
        activity.set_blocked(Dependency::Database, hangs && state.postgres_downs == 0);
        activity.set_blocked(Dependency::CommitLog, state.is_database_away());
    }
}
