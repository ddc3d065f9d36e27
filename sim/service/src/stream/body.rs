//! A stream as a response body: one line in each chunk. Polling drives everything, including timers, so dropping the
//! body ends the stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::keepalive::KeepaliveSchedule;
use super::machine::{Step, SyncStream};
use super::permit::Permit;
use crate::protocol::line::keepalive_line;
use crate::service::Shared;

/// The pause after each completed checkpoint, so that diffs coalesce.
const PAUSE: Duration = Duration::from_millis(10);

/// An open stream.
#[derive(Debug)]
pub(crate) struct StreamBody {
    shared: Arc<Shared>,
    machine: SyncStream,
    keepalives: KeepaliveSchedule,
    seen: u64,
    pause_until: Option<Instant>,
    ended: bool,
    /// Counts the stream while it is open.
    _permit: Permit,
}

impl StreamBody {
    pub(crate) fn new(shared: Arc<Shared>, machine: SyncStream, keepalives: KeepaliveSchedule, permit: Permit) -> Self {
        let seen = shared.changes.version();
        Self { shared, machine, keepalives, seen, pause_until: None, ended: false, _permit: permit }
    }

    /// The next line, with its newline; `None` when the stream has ended.
    pub(crate) async fn next_line(&mut self) -> Option<Bytes> {
        while !self.ended {
            if self.shared.stopped() {
                break;
            }
            let now_us = (self.shared.config.clock)();
            if let Some(keepalive) = self.keepalives.poll(now_us) {
                self.ended = keepalive.last;
                return Some(Bytes::from(keepalive_line(keepalive.seconds)));
            }
            if self.pause_until.is_some_and(|until| until <= Instant::now()) {
                self.pause_until = None;
            }
            if self.pause_until.is_none() {
                self.seen = self.shared.changes.version();
                self.shared.activate_when_due();
                let step = self.machine.step(&self.shared.storage.lock());
                match step {
                    Step::Line(line) => return Some(Bytes::from(line)),
                    Step::Pause => self.pause_until = Some(Instant::now() + PAUSE),
                    Step::Idle => {}
                    Step::End(reason) => {
                        tracing::debug!(reason, "stream ended");
                        break;
                    }
                }
            }
            self.wait(now_us).await;
        }
        self.ended = true;
        None
    }

    /// Waits until the storage may have changed, a pause ends, or a keepalive is due.
    async fn wait(&mut self, now_us: i64) {
        // At least a millisecond, because the clock and the timer may run at different speeds.
        let left_us = u64::try_from(self.keepalives.due_us().saturating_sub(now_us)).unwrap_or(0).max(1000);
        let left = Duration::from_micros(left_us.min(86_400_000_000));
        let keepalive = Instant::now() + self.shared.config.clock_poll_interval.map_or(left, |every| left.min(every));
        if let Some(until) = self.pause_until {
            // An activation that becomes due during the pause is noticed after it.
            tokio::time::sleep_until(until.min(keepalive)).await;
            return;
        }
        let deadline = self.shared.activation_due().map_or(keepalive, |due| due.min(keepalive));
        tokio::select! {
            biased;
            () = self.shared.changes.changed_since(self.seen) => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}
