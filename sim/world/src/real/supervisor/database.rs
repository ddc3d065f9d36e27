//! Faults of the database, and writes that bypass the backend.
//!
//! What cannot be done while the database is away is deferred until it is back.

use nix::sys::signal::Signal;

use super::state::{DeferredWork, StateGuard};
use crate::real::environment::DatabaseAction;
use crate::real::server_transaction::ServerTransaction;

impl StateGuard {
    /// One fault more keeps the database down; `action` is how it ends.
    pub(crate) async fn stop_postgres(mut self, action: DatabaseAction) -> Result<(), String> {
        if !self.state.is_database_away() {
            self.seal_log().await?;
        }
        self.state.postgres_downs += 1;
        // The walsender ends with it.
        self.state.paused_walsender = None;
        // It is ended once, however many faults do so.
        let is_first = self.state.postgres_downs == 1;
        let stopped = if is_first { self.environment.control_database(action).await } else { Ok(()) };
        self.show_blocked();
        stopped
    }

    pub(crate) async fn start_postgres(mut self) -> Result<(), String> {
        self.state.postgres_downs = self.state.postgres_downs.saturating_sub(1);
        if self.state.postgres_downs > 0 {
            return Ok(());
        }
        self.environment.control_database(DatabaseAction::Start).await?;
        if self.state.postgres_pauses > 0 {
            self.environment.control_database(DatabaseAction::Pause).await?;
        }
        self.reopen().await
    }

    pub(crate) async fn pause_postgres(mut self) -> Result<(), String> {
        if !self.state.is_database_away() {
            self.seal_log().await?;
        }
        self.state.postgres_pauses += 1;
        let is_first = self.state.postgres_pauses == 1 && self.state.postgres_downs == 0;
        let paused = if is_first { self.environment.control_database(DatabaseAction::Pause).await } else { Ok(()) };
        self.show_blocked();
        paused
    }

    /// One fault more disconnects the database.
    pub(crate) async fn disconnect_postgres(mut self) -> Result<(), String> {
        if !self.state.is_database_away() {
            self.seal_log().await?;
        }
        self.state.postgres_disconnects += 1;
        let is_first = self.state.postgres_disconnects == 1;
        let action = DatabaseAction::Disconnect;
        let disconnected = if is_first { self.environment.control_database(action).await } else { Ok(()) };
        self.show_blocked();
        disconnected
    }

    /// One fault fewer disconnects it.
    pub(crate) async fn reconnect_postgres(mut self) -> Result<(), String> {
        self.state.postgres_disconnects = self.state.postgres_disconnects.saturating_sub(1);
        if self.state.postgres_disconnects > 0 {
            return Ok(());
        }
        self.environment.control_database(DatabaseAction::Reconnect).await?;
        self.reopen().await
    }

    pub(crate) async fn resume_postgres(mut self) -> Result<(), String> {
        self.state.postgres_pauses = self.state.postgres_pauses.saturating_sub(1);
        if self.state.postgres_pauses > 0 || self.state.postgres_downs > 0 {
            return Ok(());
        }
        self.environment.control_database(DatabaseAction::Resume).await?;
        self.reopen().await
    }

    /// Before the database goes: reads all that the service can have seen by now, and closes the log's session.
    async fn seal_log(&mut self) -> Result<(), String> {
        self.context.set_progressing_service(None);
        if self.state.paused_walsender.is_none()
            && let Some(pid) = self.walsender().await?
        {
            self.environment.signal_database_process(pid, Signal::SIGSTOP).await?;
            self.state.paused_walsender = Some(pid);
        }
        let sealed = self.context.log.seal(self.context.clock_file.shown_us()).await;
        if sealed.is_err() {
            if self.state.stalls == 0 {
                self.resume_walsender().await;
            }
            self.expect_progress();
        }
        sealed
    }

    /// The database may be back: does what was deferred.
    async fn reopen(&mut self) -> Result<(), String> {
        self.show_blocked();
        if self.state.is_database_away() {
            return Ok(());
        }
        // The walsender was paused before the database went, and not every action that brings the database back resumes
        // it.
        self.resume_walsender().await;
        self.context.log.unseal(self.environment.connect().await?).await;
        if self.state.slot_losses > 0 {
            self.block_slot_creation().await?;
        }
        for work in std::mem::take(&mut self.state.deferred) {
            match work {
                DeferredWork::Write(transaction) => self.write_now(&transaction).await?,
                DeferredWork::DropSlot => self.drop_slot_now().await?,
                DeferredWork::CutReplication => self.end_walsender().await?,
            }
        }
        // The fault that dropped the slot may have ended while the database was away.
        self.unblock_slot_creation();
        self.pause_walsender().await?;
        self.expect_progress();
        Ok(())
    }

    /// A transaction that bypasses the backend.
    pub(crate) async fn write(mut self, transaction: ServerTransaction) -> Result<(), String> {
        if self.state.is_database_away() {
            self.state.deferred.push(DeferredWork::Write(transaction));
            return Ok(());
        }
        self.write_now(&transaction).await
    }

    async fn write_now(&mut self, transaction: &ServerTransaction) -> Result<(), String> {
        let write = self.context.log.begin_write();
        let result = transaction.commit(&*self.environment).await;
        drop(write);
        self.context.log.read_new(self.context.clock_file.shown_us()).await?;
        self.expect_progress();
        result
    }
}
