//! What the device's user does: local transactions, and rows that somebody looks at.

use sim_core::history::{LocalTx, Scope, What};
use sim_core::plan::Intent;
use tokio::time::Instant;

use super::state::{Actor, AfterStep};
use crate::error::DeviceError;
use crate::interpreter::Interpreter;

impl Actor {
    pub(super) fn run_tx(&mut self, step: u32, activity: String, intents: &[Intent]) -> Result<AfterStep, DeviceError> {
        let clock_us = self.clock_us();
        let total = u32::try_from(intents.len()).unwrap_or(u32::MAX);
        let mut tx = LocalTx {
            step,
            activity,
            tx_id: None,
            ops: Vec::new(),
            skipped: total,
            intents: total,
            failed: None,
            clock_us,
        };
        let (app, plan, device) = (self.context.app.clone(), self.context.plan.clone(), self.context.device);
        let row_aliases = std::mem::take(&mut self.row_aliases);
        let interpreter = Interpreter { app: &app, plan: &plan, row_aliases: &row_aliases, device, clock_us };
        let result = match self.session() {
            Some(session) if !session.is_suspended => {
                Some(session.host.transaction(|connection| interpreter.run(connection, intents)))
            }
            _ => None,
        };
        self.row_aliases = row_aliases;
        let Some(result) = result else {
            // The app does not run: nobody could do this.
            self.record(What::Tx(tx));
            return Ok(AfterStep::Continue);
        };
        let mut reads = Vec::new();
        match result {
            Ok((results, tx_id, ops)) => {
                for (row, id) in results.aliases {
                    self.row_aliases.set(row, id);
                }
                reads = results.reads;
                tx.tx_id = tx_id;
                self.last_tx = tx_id.unwrap_or(self.last_tx);
                tx.ops = ops;
                tx.skipped = results.skipped;
            }
            Err(error) => tx.failed = Some(error.to_string()),
        }
        let is_queued = tx.tx_id.is_some();
        self.record(What::Tx(tx));
        if !reads.is_empty() {
            self.read_rows(&reads)?;
        }
        if !is_queued {
            return Ok(AfterStep::Continue);
        }
        self.note_progress();
        if self.count_step() == AfterStep::Crash {
            return Ok(AfterStep::Crash);
        }
        let throttle = self.platform.upload_throttle;
        if let Some(session) = self.session()
            && !session.is_uploading()
            && session.upload_at.is_none()
        {
            session.upload_at = Some(Instant::now() + throttle);
        }
        Ok(AfterStep::Continue)
    }

    fn read_rows(&mut self, reads: &[(usize, String)]) -> Result<(), DeviceError> {
        let recorder = self.context.recorder.clone();
        let Some(session) = self.session() else { return Ok(()) };
        let mut rows = Vec::with_capacity(reads.len());
        for (table, id) in reads {
            rows.push((recorder.row(*table, id), session.host.visible_row(*table, id)?));
        }
        self.record(What::Read { scope: Scope::Look, rows });
        Ok(())
    }

    pub(super) fn final_read(&mut self) -> Result<(), DeviceError> {
        let (recorder, tables) = (self.context.recorder.clone(), self.context.app.schema.tables.len());
        let Some(session) = self.session() else { return Ok(()) };
        let mut rows = Vec::new();
        for table in 0..tables {
            for (id, row) in session.host.visible_rows(table)? {
                rows.push((recorder.row(table, &id), Some(row)));
            }
        }
        rows.sort_by_key(|(row, _)| *row);
        self.record(What::Read { scope: Scope::Final, rows });
        Ok(())
    }
}
