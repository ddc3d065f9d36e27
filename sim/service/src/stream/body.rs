//! A stream as a response body: one line a chunk. The consumer's polling drives it, waiting included, so that
//! dropping the body ends everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::expiry::Expiry;
use super::{Step, SyncStream};
use crate::service::Shared;

/// After each completed checkpoint, so that diffs coalesce.
const PAUSE: Duration = Duration::from_millis(10);

/// An open stream.
#[derive(Debug)]
pub(crate) struct StreamBody {
    shared: Arc<Shared>,
    machine: SyncStream,
    expiry: Expiry,
    seen: u64,
    pause_until: Option<Instant>,
    ended: bool,
    /// Counts the stream while it is open.
    _permit: Permit,
}

/// A place among the streams that may be open at once.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Permit {
    /// Takes a place, if fewer than `max` are taken.
    pub(crate) fn take(open: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count: usize| (count < max).then_some(count + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(open)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl StreamBody {
    pub(crate) fn new(shared: Arc<Shared>, machine: SyncStream, expiry: Expiry, permit: Permit) -> Self {
        let seen = shared.changes.version();
        Self { shared, machine, expiry, seen, pause_until: None, ended: false, _permit: permit }
    }

    /// The next line, with its newline; `None` when the stream has ended.
    pub(crate) async fn next_line(&mut self) -> Option<Bytes> {
        while !self.ended {
            if self.shared.stopped() {
                break;
            }
            let now_us = (self.shared.config.clock)();
            if let Some(keepalive) = self.expiry.poll(now_us) {
                self.ended = keepalive.last;
                return Some(Bytes::from(crate::protocol::keepalive_line(keepalive.seconds)));
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

    /// Until something may have changed: the storage, the end of a pause, or a keepalive that is due.
    async fn wait(&mut self, now_us: i64) {
        // At least a millisecond, should the clock and the timer run at different speeds.
        let left_us = u64::try_from(self.expiry.due_us().saturating_sub(now_us)).unwrap_or(0).max(1000);
        let left = Duration::from_micros(left_us.min(86_400_000_000));
        let keepalive = Instant::now() + self.shared.config.look_every.map_or(left, |every| left.min(every));
        if let Some(until) = self.pause_until {
            // An activation that falls due meanwhile waits for the end of the pause: nothing looks at it before.
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
