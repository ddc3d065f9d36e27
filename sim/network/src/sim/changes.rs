//! Wakes everything that waits for the network to change, in the order in which it began to wait: tokio's `watch` draws that
//! order at random, and one seed must give one history.

use std::cell::Cell;

use tokio::sync::Notify;

/// Counts changes. Waiters compare counts, so they miss none.
#[derive(Default)]
pub(super) struct Changes {
    count: Cell<u64>,
    waiting: Notify,
}

impl Changes {
    pub(super) fn add(&self) {
        self.count.set(self.count.get() + 1);
        self.waiting.notify_waiters();
    }

    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Waits until there were more changes than `seen`. Dropping the future loses nothing.
    pub(super) async fn more_than(&self, seen: u64) {
        loop {
            let notified = self.waiting.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.count() != seen {
                return;
            }
            notified.await;
        }
    }
}
