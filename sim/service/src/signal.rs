//! A signal that something has changed. It wakes waiters in the order in which they began to wait.
//!
//! tokio's `watch` wakes its receivers in random order; here one seed must give one history.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Something that changes. Waiters compare versions, so no change is missed.
#[derive(Debug, Default)]
pub struct Signal {
    version: AtomicU64,
    waiting: Notify,
}

impl Signal {
    /// Says that something has changed.
    pub fn raise(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.waiting.notify_waiters();
    }

    /// How often something has changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Waits until something has changed since the version. Dropping the future loses nothing.
    pub async fn changed_since(&self, version: u64) {
        loop {
            let notified = self.waiting.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.version() != version {
                return;
            }
            notified.await;
        }
    }
}
