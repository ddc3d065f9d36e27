//! The host around the real sync core: what an SDK does, as steps of at most one SQLite commit each.
//!
//! It knows no network, no clock and no task: [`crate::actor`] drives it. Every method that commits says so; a crash may
//! strike after any of them.

mod crud_entry;
mod instruction;
mod pending_changes;
mod sql;
mod stream_line;
mod upload_queue;
mod visible_rows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fixtures::{App, Row};
use rusqlite::Connection;
use sim_core::history::{Apply, LocalOp, RowId};

use crate::database::Database;
use crate::error::DeviceError;
use crate::recorder::Recorder;
use pending_changes::PendingChanges;
use stream_line::StreamLine;

pub use instruction::{ControlResult, Instruction};
pub use upload_queue::{QueuedTx, StoredOutcome};

/// The host of one device.
pub struct Host {
    database: Database,
    app: Arc<App>,
    recorder: Recorder,
    pending: PendingChanges,
    /// How many operations are queued, once counted.
    queued: Option<u32>,
    sqlite_time: Duration,
}

impl Host {
    /// Starts the app on a database. `is_fresh`: it is empty.
    #[must_use]
    pub fn start(database: Database, app: Arc<App>, recorder: Recorder, is_fresh: bool) -> Self {
        Self {
            database,
            app,
            recorder,
            pending: PendingChanges::new(is_fresh),
            queued: if is_fresh { Some(0) } else { None },
            sqlite_time: Duration::ZERO,
        }
    }

    /// The storage.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Kills the app; gives its database back, and the time spent in SQLite and the core.
    #[must_use]
    pub fn kill(mut self) -> (Database, Duration) {
        self.database.kill();
        (self.database, self.sqlite_time)
    }

    /// The same at the end of a plan: the database keeps its connection for the next one.
    #[must_use]
    pub fn stop(self) -> (Database, Duration) {
        (self.database, self.sqlite_time)
    }

    /// Calls the core. One commit.
    ///
    /// # Errors
    /// The core's; the iteration is then over.
    pub fn control(&mut self, op: &str, payload: Option<&str>) -> Result<ControlResult, DeviceError> {
        let json = self.timed(|connection| sql::call_core(connection, op, payload))?;
        let mut result = ControlResult { instructions: serde_json::from_str(&json)?, applied: None };
        if result.instructions.iter().any(|instruction| matches!(instruction, Instruction::DidCompleteSync(_))) {
            result.applied = Some(self.collect_apply(None)?);
        }
        Ok(result)
    }

    /// Hands one line of the stream to the core. One commit.
    ///
    /// # Errors
    /// The core's; the iteration is then over.
    pub fn line(&mut self, line: &str) -> Result<ControlResult, DeviceError> {
        let parsed = StreamLine::parse(line)?;
        let partial = match parsed {
            StreamLine::PartialComplete { priority } => Some(priority),
            _ => None,
        };
        self.pending.note(&self.app, &parsed, self.recorder.now_us());
        let is_applied = match partial {
            Some(0) => true,
            Some(_) => self.timed(upload_queue::is_apply_allowed)?,
            None => false,
        };
        let mut result = self.control("line_text", Some(line))?;
        let is_closed =
            result.instructions.iter().any(|instruction| matches!(instruction, Instruction::CloseSyncStream { .. }));
        if is_closed {
            self.pending.forget();
        } else if is_applied {
            result.applied = Some(self.collect_apply(partial)?);
        }
        Ok(result)
    }

    /// Runs a local transaction; gives also its id in the upload queue and what it queued. One commit, or none if the
    /// body fails.
    ///
    /// # Errors
    /// SQLite's; nothing of the transaction then stays.
    pub fn transaction<T>(
        &mut self,
        body: impl FnOnce(&Connection) -> Result<T, DeviceError>,
    ) -> Result<(T, Option<i64>, Vec<LocalOp>), DeviceError> {
        let (value, entries) = self.timed(|connection| {
            let last_op_id = upload_queue::last_op_id(connection)?;
            let value = sql::in_transaction(connection, || body(connection))?;
            Ok((value, upload_queue::entries_after(connection, last_op_id)?))
        })?;
        self.queued = self.queued.map(|queued| queued + u32::try_from(entries.len()).unwrap_or(u32::MAX));
        let tx_id = entries.first().map(|(_, tx_id, _)| *tx_id);
        let mut ops = Vec::with_capacity(entries.len());
        for (op_id, _, data) in &entries {
            let (op, table, id) = crud_entry::local_op(&self.app, &self.recorder, *op_id, data)?;
            ops.push(op);
            self.pending.touch(table, id);
        }
        Ok((value, tx_id, ops))
    }

    /// The oldest transaction of the upload queue, in wire form.
    ///
    /// # Errors
    /// SQLite's.
    pub fn next_queued(&mut self) -> Result<Option<QueuedTx>, DeviceError> {
        let Some((tx_id, entries)) = self.timed(upload_queue::oldest)? else { return Ok(None) };
        Ok(Some(QueuedTx {
            tx_id,
            last_op_id: entries.last().map_or(0, |(id, _)| *id),
            op_ids: entries.iter().map(|(id, _)| *id).collect(),
            ops_json: crud_entry::wire_ops(&self.app, &entries)?,
        }))
    }

    /// How many operations are queued.
    ///
    /// # Errors
    /// SQLite's.
    pub fn queue_length(&mut self) -> Result<u32, DeviceError> {
        if let Some(queued) = self.queued {
            return Ok(queued);
        }
        let queued = self.timed(upload_queue::length)?;
        self.queued = Some(queued);
        Ok(queued)
    }

    /// Removes an answered transaction from the queue and stores its outcomes. One commit.
    ///
    /// # Errors
    /// SQLite's.
    pub fn complete(&mut self, tx: &QueuedTx, outcomes: &[StoredOutcome]) -> Result<(), DeviceError> {
        self.queued = None;
        self.timed(|connection| upload_queue::complete(connection, tx, outcomes))
    }

    /// Whether the device must learn its write checkpoint: the queue is empty and the write checkpoint unknown. Gives the
    /// queue's sequence number to compare with afterwards.
    ///
    /// # Errors
    /// SQLite's.
    pub fn write_checkpoint_needed(&mut self) -> Result<Option<i64>, DeviceError> {
        self.timed(upload_queue::write_checkpoint_needed)
    }

    /// Sets the write checkpoint that the next full apply must include, unless something was queued meanwhile.
    /// One commit. Returns whether it was set.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_write_checkpoint(&mut self, sequence: i64, number: u64) -> Result<bool, DeviceError> {
        self.timed(|connection| upload_queue::set_write_checkpoint(connection, sequence, number))
    }

    /// Every row of a table as the app's view shows it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn visible_rows(&mut self, table: usize) -> Result<Vec<(Arc<str>, Row)>, DeviceError> {
        let app = self.app.clone();
        self.timed(|connection| visible_rows::read_all(connection, &app, table))
    }

    /// One row as the app's view shows it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn visible_row(&mut self, table: usize, id: &str) -> Result<Option<Row>, DeviceError> {
        let app = self.app.clone();
        self.timed(|connection| visible_rows::read_one(connection, &app, table, id))
    }

    fn timed<T>(&mut self, body: impl FnOnce(&Connection) -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        let start = Instant::now();
        let result = self.database.connection().and_then(body);
        self.sqlite_time += start.elapsed();
        result
    }

    /// What the apply that just happened made visible. `priority`: of a partial one.
    fn collect_apply(&mut self, priority: Option<u32>) -> Result<Apply, DeviceError> {
        let is_full = priority.is_none();
        let is_whole = self.pending.is_unknown() && is_full;
        let mut rows: Vec<(RowId, Option<Row>)> = Vec::new();
        if is_whole {
            for table in 0..self.app.schema.tables.len() {
                for (id, row) in self.visible_rows(table)? {
                    rows.push((self.recorder.row(table, &id), Some(row)));
                }
            }
        } else {
            let app = self.app.clone();
            let mut touched = self.pending.touched(is_full);
            // What lines of an earlier session brought becomes visible with this apply as well. With own edits in the
            // queue, rows hold these.
            if self.pending.is_unknown() && self.timed(upload_queue::target_and_length)?.1 == 0 {
                for table in 0..app.schema.tables.len() {
                    touched.extend(self.visible_rows(table)?.into_iter().map(|(id, _)| (table, id)));
                }
            }
            for (table, id) in touched {
                let name = &app.schema.tables[table].name;
                let json = self.timed(|connection| visible_rows::synced_json(connection, name, &id))?;
                let image = json.and_then(|json| self.recorder.image(table, &json));
                rows.push((self.recorder.row(table, &id), image));
            }
        }
        if is_full {
            self.pending.clear();
        }
        let (target, queued) = self.timed(upload_queue::target_and_length)?;
        rows.sort_by_key(|(row, _)| *row);
        Ok(Apply {
            priority,
            last_op_id: self.pending.checkpoint_op(),
            write_checkpoint: self.pending.write_checkpoint(),
            target: target.and_then(|target| u64::try_from(target).ok()),
            queued,
            rows,
            arrived_us: self.pending.take_first_arrival_us().unwrap_or_else(|| self.recorder.now_us()),
            whole: is_whole,
        })
    }
}
