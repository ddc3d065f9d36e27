//! What replication shows to probes and metrics.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::clock::Clock;

/// How replication gets on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Whether changes stream in now.
    pub streaming: AtomicBool,
    /// Sessions that began to stream.
    pub sessions: AtomicU64,
    /// Snapshots applied.
    pub snapshots: AtomicU64,
    /// Transactions with changes.
    pub transactions: AtomicU64,
    /// Row changes.
    pub changes: AtomicU64,
    /// When it last did something, or saw that there was nothing to do: microseconds of the service's clock.
    pub touched_us: AtomicI64,
}

impl Progress {
    /// Notes that replication is alive.
    pub fn touch(&self, clock: &Clock) {
        self.touched_us.store(clock(), Ordering::Relaxed);
    }
}
