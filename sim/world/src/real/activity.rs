//! What is under way in the servers, so that plan time waits for it. Both runtimes see it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long plan time waits for a server that gives no sign of life in the middle of its work, in real time. After that
/// plan time passes faster, devices run into their own timeouts, and the run settles late or not at all: that is slow or
/// stuck, and never a failure of the harness.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The same, after waiting for work of this kind was in vain and none of it has ended since; and for the service while a
/// fault holds it up.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);

/// Something that takes real time, by what it may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A request that the service answers by itself.
    ServiceRequest,
    /// A sync stream: from its request, or from a checkpoint line, until the checkpoint is complete.
    Stream,
    /// A request for which the service asks the database.
    WriteCheckpoint,
    /// A write checkpoint that was given to a client, until its open stream has brought it.
    Acknowledgement,
    /// Replication that has not reached what was committed.
    Replication,
    BackendRequest,
    /// The reading of commits.
    LogReading,
    /// Something that waits for no server.
    Harness,
}

/// What can be unavailable for long, so that nothing that depends on it is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependency {
    Service,
    Database,
    /// The history's slot.
    CommitLog,
}

impl Work {
    const ALL: [Self; 8] = [
        Self::ServiceRequest,
        Self::Stream,
        Self::WriteCheckpoint,
        Self::Acknowledgement,
        Self::Replication,
        Self::BackendRequest,
        Self::LogReading,
        Self::Harness,
    ];

    fn needs(self) -> &'static [Dependency] {
        match self {
            Self::ServiceRequest | Self::Stream | Self::Acknowledgement | Self::Replication => &[Dependency::Service],
            Self::WriteCheckpoint => &[Dependency::Service, Dependency::Database],
            Self::BackendRequest => &[Dependency::Database],
            Self::LogReading => &[Dependency::CommitLog],
            Self::Harness => &[],
        }
    }

    /// What did not come, where a server is waited for; `None` where the harness works, which ends by itself.
    fn awaited(self) -> Option<&'static str> {
        match self {
            Self::ServiceRequest => Some("the service did not answer a request"),
            Self::Stream => Some("the service did not go on with a sync stream before its checkpoint was complete"),
            Self::WriteCheckpoint => Some("the service did not answer a request for a write checkpoint"),
            Self::Acknowledgement => Some("the service did not bring a write checkpoint on its client's stream"),
            Self::Replication => Some("the service did not replicate what was committed"),
            Self::BackendRequest => Some("the backend did not answer an upload"),
            Self::LogReading | Self::Harness => None,
        }
    }
}

/// One piece of work.
struct Open {
    work: Work,
    /// When the server was last seen to work on it.
    last_sign: Instant,
}

/// Everything that is under way.
pub(super) struct Activity {
    open: Mutex<BTreeMap<u64, Open>>,
    next_key: AtomicU64,
    is_blocked: [AtomicBool; 3],
    /// By kind of work: whether waiting for it was in vain, and none has ended since.
    is_in_vain: [AtomicBool; Work::ALL.len()],
    /// Whether a fault holds the service up.
    is_service_held_up: AtomicBool,
    quiet_from: Mutex<Instant>,
    changed: Notify,
}

/// Work under way, until it is dropped.
pub(super) struct OpenWork {
    activity: Arc<Activity>,
    work: Work,
    key: u64,
}

impl OpenWork {
    /// The server goes on with it.
    pub(super) fn sign_of_life(&self) {
        if let Some(open) = self.activity.open().get_mut(&self.key) {
            open.last_sign = Instant::now();
        }
        self.activity.changed.notify_one();
    }

    /// The server has done it: the next work of this kind is worth waiting for.
    pub(super) fn done(self) {
        self.activity.is_in_vain[self.work as usize].store(false, Ordering::Release);
    }

    /// Whether it is still waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.activity.open().get(&self.key).is_some_and(|open| self.activity.is_awaited(open, Instant::now()))
    }
}

impl Drop for OpenWork {
    fn drop(&mut self) {
        self.activity.open().remove(&self.key);
    }
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            next_key: AtomicU64::new(0),
            is_blocked: Default::default(),
            is_in_vain: Default::default(),
            is_service_held_up: AtomicBool::new(false),
            quiet_from: Mutex::new(Instant::now()),
            changed: Notify::new(),
        })
    }

    /// Work is under way until the handle is dropped.
    pub(super) fn begin(self: &Arc<Self>, work: Work) -> OpenWork {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        self.open().insert(key, Open { work, last_sign: Instant::now() });
        self.changed.notify_one();
        OpenWork { activity: self.clone(), work, key }
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

    /// Sets whether a fault holds the service up. It may go on with what it has, and is not waited for as long.
    pub(super) fn set_service_held_up(&self, is_held_up: bool) {
        self.is_service_held_up.store(is_held_up, Ordering::Release);
        self.changed.notify_one();
    }

    /// Whether anything is under way that can go on.
    pub(super) fn is_busy(&self) -> bool {
        let now = Instant::now();
        let open = self.open();
        let mut is_busy = false;
        for one in open.values() {
            if self.is_awaited(one, now) {
                is_busy = true;
            } else if now >= one.last_sign + PATIENCE
                && !self.is_blocked(one.work)
                && !self.is_in_vain[one.work as usize].swap(true, Ordering::AcqRel)
            {
                let what = one.work.awaited().unwrap_or_default();
                tracing::warn!(patience_s = PATIENCE.as_secs(), "{what}; plan time waits no longer");
            }
        }
        is_busy || now < *self.quiet_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was waited for in vain and has not come since, in words.
    pub(super) fn waits_in_vain(&self) -> Vec<String> {
        let in_vain = Work::ALL.into_iter().filter(|work| self.is_in_vain[*work as usize].load(Ordering::Acquire));
        let said = |what: &str| format!("{what} within {} s of real time, the most that is waited", PATIENCE.as_secs());
        in_vain.filter_map(Work::awaited).map(said).collect()
    }

    /// Waits until something changes.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn is_awaited(&self, open: &Open, now: Instant) -> bool {
        if self.is_blocked(open.work) {
            return false;
        }
        if open.work.awaited().is_none() {
            return true;
        }
        let is_held_up =
            open.work.needs().contains(&Dependency::Service) && self.is_service_held_up.load(Ordering::Acquire);
        let is_in_vain = self.is_in_vain[open.work as usize].load(Ordering::Acquire);
        now < open.last_sign + if is_held_up || is_in_vain { SHORT_PATIENCE } else { PATIENCE }
    }

    fn is_blocked(&self, work: Work) -> bool {
        work.needs().iter().any(|what| self.is_blocked[*what as usize].load(Ordering::Acquire))
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the last sign of life of all work older.
    fn age(activity: &Activity, by: Duration) {
        for open in activity.open().values_mut() {
            open.last_sign = open.last_sign.checked_sub(by).expect("the machine runs for longer");
        }
    }

    #[test]
    fn a_server_in_the_middle_of_its_work_is_waited_for_as_long_as_is_said() {
        let activity = Activity::new();
        let stream = activity.begin(Work::Stream);
        age(&activity, PATIENCE - Duration::from_secs(2));
        assert!(activity.is_busy());
        stream.sign_of_life();
        age(&activity, PATIENCE - Duration::from_secs(2));
        assert!(activity.is_busy() && activity.waits_in_vain().is_empty());
        age(&activity, Duration::from_secs(2));
        assert!(!activity.is_busy());
        assert!(activity.waits_in_vain()[0].contains("within 30 s of real time"));
        // The next is not waited for as long, until one is done.
        drop(stream);
        let stream = activity.begin(Work::Stream);
        assert!(activity.is_busy());
        age(&activity, SHORT_PATIENCE);
        assert!(!activity.is_busy());
        stream.done();
        let _stream = activity.begin(Work::Stream);
        age(&activity, SHORT_PATIENCE);
        assert!(activity.is_busy() && activity.waits_in_vain().is_empty());
    }

    #[test]
    fn what_a_fault_holds_up_is_not_waited_for() {
        let activity = Activity::new();
        let _stream = activity.begin(Work::Stream);
        let _upload = activity.begin(Work::BackendRequest);
        activity.set_blocked(Dependency::Database, true);
        assert!(activity.is_busy(), "the stream goes on");
        activity.set_service_held_up(true);
        age(&activity, SHORT_PATIENCE);
        assert!(!activity.is_busy());
        activity.set_blocked(Dependency::Database, false);
        assert!(activity.is_busy(), "the upload goes on");
    }
}
