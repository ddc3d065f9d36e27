//! Faults of replication: stalled, cut, its slot dropped. The walsender is PostgreSQL's process that sends it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio_postgres::Client;

use super::state::{DeferredWork, StateGuard};
use crate::real::sql::error_text;

/// How long the walsender may take to be there when it is to be paused, or to be gone when it is ended. Machines stand
/// still at times.
const WALSENDER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(5);

/// The service's slot, as a condition.
const SLOT: &str = "slot_name LIKE 'powersync%'";

impl StateGuard {
    /// Stalls replication, by pausing the walsender.
    pub(crate) async fn stall(mut self) -> Result<(), String> {
        self.state.stalls += 1;
        self.context.set_progressing_service(None);
        let held = self.pause_walsender().await;
        if held.is_err() {
            self.state.stalls -= 1;
            self.expect_progress();
        }
        held
    }

    /// One fault fewer stalls replication.
    pub(crate) async fn unstall(mut self) -> Result<(), String> {
        self.state.stalls = self.state.stalls.saturating_sub(1);
        if self.state.stalls == 0 && self.state.postgres_pauses == 0 {
            self.resume_walsender().await;
        }
        self.expect_progress();
        Ok(())
    }

    /// Cuts the connection of replication. The service connects again by itself, and gets nothing before the fault
    /// ends.
    pub(crate) async fn cut(mut self) -> Result<(), String> {
        if self.state.is_database_away() {
            self.state.deferred.push(DeferredWork::CutReplication);
        } else {
            self.end_walsender().await?;
        }
        self.stall().await
    }

    /// Drops the service's slot. The service makes another by itself, which waits for every transaction that was open
    /// before: one is kept open until the fault ends.
    pub(crate) async fn drop_slot(mut self) -> Result<(), String> {
        if self.state.is_database_away() {
            self.state.slot_losses += 1;
            self.state.deferred.push(DeferredWork::DropSlot);
            return Ok(());
        }
        self.context.set_progressing_service(None);
        let dropped = self.drop_slot_now().await;
        match dropped {
            Ok(()) => self.state.slot_losses += 1,
            Err(_) => {
                self.unblock_slot_creation();
                self.expect_progress();
            }
        }
        dropped
    }

    /// One fault fewer keeps the service without a slot.
    pub(crate) async fn restore_slot(mut self) -> Result<(), String> {
        self.state.slot_losses = self.state.slot_losses.saturating_sub(1);
        self.unblock_slot_creation();
        self.expect_progress();
        Ok(())
    }

    /// Ends the transaction for which a new slot waits, unless a fault needs it.
    pub(super) fn unblock_slot_creation(&mut self) {
        if self.state.slot_losses == 0 {
            // The transaction ends with its session.
            self.state.slot_blocker = None;
        }
    }

    pub(super) async fn drop_slot_now(&mut self) -> Result<(), String> {
        self.block_slot_creation().await?;
        // A service that connects again at once may take the slot before it is dropped.
        let runs = self.state.service_pauses == 0;
        if let Some(service) = self.state.service.as_ref().filter(|_| runs) {
            service.pause().await?;
        }
        let dropped = self.drop_idle_slot().await;
        if let Some(service) = self.state.service.as_ref().filter(|_| runs) {
            service.resume().await?;
        }
        dropped?;
        self.pause_walsender().await
    }

    async fn drop_idle_slot(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + WALSENDER_TIMEOUT;
        loop {
            self.end_walsender().await?;
            let sql = format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE {SLOT}");
            match self.context.log.execute(&sql).await {
                Ok(()) => return Ok(()),
                // The service had asked for the slot again before it was paused.
                Err(_) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the transaction for which a new slot waits.
    pub(super) async fn block_slot_creation(&mut self) -> Result<(), String> {
        if self.state.slot_blocker.as_ref().is_none_or(Client::is_closed) {
            let blocker = self.environment.connect().await?;
            blocker.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.map_err(|error| error_text(&error))?;
            self.state.slot_blocker = Some(blocker);
        }
        Ok(())
    }

    /// Ends the walsender, if there is one.
    pub(super) async fn end_walsender(&mut self) -> Result<(), String> {
        // A paused process does not react.
        self.resume_walsender().await;
        let wait_ms = WALSENDER_TIMEOUT.as_millis();
        let sql = format!(
            "SELECT pg_terminate_backend(active_pid, {wait_ms}) FROM pg_replication_slots \
             WHERE {SLOT} AND active_pid IS NOT NULL"
        );
        self.context.log.execute(&sql).await
    }

    /// Pauses the walsender, if a fault stalls replication and there can be one.
    pub(super) async fn pause_walsender(&mut self) -> Result<(), String> {
        let state = &*self.state;
        let can_be_there = state.service.is_some() && state.service_pauses == 0 && !state.is_database_away();
        if state.stalls == 0 || !can_be_there || state.paused_walsender.is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + WALSENDER_TIMEOUT;
        loop {
            if let Some(pid) = self.walsender().await? {
                self.environment.signal_database_process(pid, Signal::SIGSTOP).await?;
                self.state.paused_walsender = Some(pid);
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err("nothing replicates that could be held up".to_owned());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) async fn walsender(&self) -> Result<Option<i32>, String> {
        let sql =
            format!("SELECT active_pid FROM pg_replication_slots WHERE {SLOT} ORDER BY active_pid NULLS LAST LIMIT 1");
        self.context.log.query_number(&sql).await
    }

    pub(super) async fn resume_walsender(&mut self) {
        // One that has ended meanwhile stalls nothing.
        if let Some(pid) = self.state.paused_walsender.take() {
            let _ = self.environment.signal_database_process(pid, Signal::SIGCONT).await;
        }
    }
}
