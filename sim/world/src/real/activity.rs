//! What is under way in the servers, so that plan time waits for it. Both runtimes see it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Something that takes real time, by what it may have to wait for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// A request that the service answers by itself.
    ServiceRequest,
    /// One for which it asks the database.
    WriteCheckpoint,
    BackendRequest,
    /// The reading of commits.
    LogReading,
    /// Something that waits for no server.
    Harness,
}

/// What can be unavailable for long, so that nothing that depends on it is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dependency {
    Service,
    Database,
    /// The history's slot.
    CommitLog,
}

impl Work {
    const ALL: [Self; 5] =
        [Self::ServiceRequest, Self::WriteCheckpoint, Self::BackendRequest, Self::LogReading, Self::Harness];

    fn needs(self) -> &'static [Dependency] {
        match self {
            Self::ServiceRequest => &[Dependency::Service],
            Self::WriteCheckpoint => &[Dependency::Service, Dependency::Database],
            Self::BackendRequest => &[Dependency::Database],
            Self::LogReading => &[Dependency::CommitLog],
            Self::Harness => &[],
        }
    }
}

/// Everything that is under way.
pub(super) struct Activity {
    /// How much of each kind of work is open.
    open: [AtomicUsize; Work::ALL.len()],
    is_blocked: [AtomicBool; 3],
    /// Whether the service has not replicated what was committed.
    is_lagging: AtomicBool,
    quiet_from: Mutex<Instant>,
    changed: Notify,
}

/// Work under way, until it is dropped.
pub(super) struct OpenWork {
    activity: Arc<Activity>,
    work: Work,
}

impl Drop for OpenWork {
    fn drop(&mut self) {
        self.activity.open[self.work as usize].fetch_sub(1, Ordering::AcqRel);
    }
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            open: Default::default(),
            is_blocked: Default::default(),
            is_lagging: AtomicBool::new(false),
            quiet_from: Mutex::new(Instant::now()),
            changed: Notify::new(),
        })
    }

    /// Work is under way until the handle is dropped.
    pub(super) fn begin(self: &Arc<Self>, work: Work) -> OpenWork {
        self.open[work as usize].fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
        OpenWork { activity: self.clone(), work }
    }

    /// Something happened that may bring more within this time.
    pub(super) fn expect_more_within(&self, window: Duration) {
        let until = Instant::now() + window;
        let mut quiet_from = self.quiet_from.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet_from = until.max(*quiet_from);
        drop(quiet_from);
        self.changed.notify_one();
    }

    pub(super) fn set_blocked(&self, dependency: Dependency, is_blocked: bool) {
        self.is_blocked[dependency as usize].store(is_blocked, Ordering::Release);
        self.changed.notify_one();
    }

    /// Sets whether the service lags behind the database; gives whether it did.
    pub(super) fn set_lagging(&self, is_lagging: bool) -> bool {
        let did = self.is_lagging.swap(is_lagging, Ordering::AcqRel);
        self.changed.notify_one();
        did
    }

    /// Whether anything is under way that can go on.
    pub(super) fn is_busy(&self) -> bool {
        let is_blocked = |what: &Dependency| self.is_blocked[*what as usize].load(Ordering::Acquire);
        let goes_on =
            |work: &Work| self.open[*work as usize].load(Ordering::Acquire) > 0 && !work.needs().iter().any(is_blocked);
        Work::ALL.iter().any(goes_on)
            || (self.is_lagging.load(Ordering::Acquire) && !is_blocked(&Dependency::Service))
            || Instant::now() < *self.quiet_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something changes.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
