//! How plan time passes where servers take the time that they take.
//!
//! The plan's thread runs on tokio's paused clock. While anything is really under way (a request at a server, a
//! process that starts, replication that has not caught up, lines that arrived a moment ago), plan time follows real
//! time; when nothing is, it goes from timer to timer as in the deterministic world, for a leap at a time, after
//! which the servers are given a moment to look at the clock. So plan time is never behind real time, pauses cost
//! next to nothing, and no timer constant is scaled.
//!
//! tokio does not advance a paused clock while a blocking task runs: that is how it is held.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::ground::Pace;
use crate::clock::{Clock, ClockFile};

/// How long plan time is held at a time, while it follows real time.
const TICK: Duration = Duration::from_millis(1);
/// No tick counts for more. When so much has passed, the plan's own thread stood still: nobody in the plan could take an
/// answer that had come, and to let every timeout strike at once would blame the servers for it.
const TICK_MAX: Duration = Duration::from_millis(100);

/// Something that takes real time, by what it may have to wait for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// A request that the service answers by itself.
    Service,
    /// One for which it asks the database.
    Checkpoint,
    /// A request at the backend.
    Backend,
    /// The reading of commits.
    Reading,
    /// Ours alone.
    Own,
}

/// What can stand still, so that nothing is waited for that depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Still {
    /// The service is frozen.
    Service,
    /// The database is frozen: whoever asks it waits.
    Database,
    /// Commits cannot be read.
    Commits,
}

impl Work {
    fn needs(self) -> &'static [Still] {
        match self {
            Self::Service => &[Still::Service],
            Self::Checkpoint => &[Still::Service, Still::Database],
            Self::Backend => &[Still::Database],
            Self::Reading => &[Still::Commits],
            Self::Own => &[],
        }
    }
}

const ALL_WORK: [Work; 5] = [Work::Service, Work::Checkpoint, Work::Backend, Work::Reading, Work::Own];

/// What is under way, as both runtimes see it.
pub(super) struct Pulse {
    clock: Arc<ClockFile>,
    /// How much of each kind of work is under way.
    open: [AtomicUsize; ALL_WORK.len()],
    is_still: [AtomicBool; 3],
    /// Whether the service has not replicated what was committed.
    is_lagging: AtomicBool,
    quiet_from: Mutex<Instant>,
    stirred: Notify,
}

/// Something under way.
pub(super) struct Busy {
    pulse: Arc<Pulse>,
    work: Work,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.pulse.open[self.work as usize].fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pulse {
    pub(super) fn new(clock: Arc<ClockFile>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            open: Default::default(),
            is_still: Default::default(),
            is_lagging: AtomicBool::new(false),
            quiet_from: Mutex::new(Instant::now()),
            stirred: Notify::new(),
        })
    }

    /// Something is under way until the handle goes.
    pub(super) fn begin(self: &Arc<Self>, work: Work) -> Busy {
        self.open[work as usize].fetch_add(1, Ordering::AcqRel);
        self.stirred.notify_one();
        Busy { pulse: self.clone(), work }
    }

    /// Something happened that may bring more within this time.
    pub(super) fn touch(&self, window: Duration) {
        let until = Instant::now() + window;
        let mut quiet_from = self.quiet_from.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet_from = until.max(*quiet_from);
        drop(quiet_from);
        self.stirred.notify_one();
    }

    /// Something stands still, or goes on.
    pub(super) fn stand_still(&self, what: Still, is_still: bool) {
        self.is_still[what as usize].store(is_still, Ordering::Release);
        self.stirred.notify_one();
    }

    /// The service lags behind the database, or does not; whether it did.
    pub(super) fn lag(&self, is_lagging: bool) -> bool {
        let did = self.is_lagging.swap(is_lagging, Ordering::AcqRel);
        self.stirred.notify_one();
        did
    }

    /// The instant that servers see.
    pub(super) fn shown_us(&self) -> i64 {
        self.clock.shown_us()
    }

    /// Lets the servers see this instant.
    pub(super) fn show(&self, at_us: i64) {
        self.clock.show(at_us);
    }

    fn is_busy(&self) -> bool {
        let is_still = |what: &Still| self.is_still[*what as usize].load(Ordering::Acquire);
        let moves = |work: &Work| {
            self.open[*work as usize].load(Ordering::Acquire) > 0 && !work.needs().iter().any(is_still)
        };
        ALL_WORK.iter().any(moves)
            || (self.is_lagging.load(Ordering::Acquire) && !is_still(&Still::Service))
            || Instant::now() < *self.quiet_from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the clock for a moment of real time.
async fn hold() {
    #[expect(clippy::disallowed_methods, reason = "a blocking task is what holds a paused clock; no step of a plan is in it")]
    let held = tokio::task::spawn_blocking(|| std::thread::sleep(TICK));
    // It does nothing that could fail.
    let _ = held.await;
}

/// Lets plan time pass, for ever; with leaps of no length, as real time does. `look` is called when servers should show that they have seen the clock.
/// A plan that takes longer than is borne is `given_up`, and plan time then passes as it likes.
pub(super) async fn drive(pulse: Arc<Pulse>, pace: Pace, now: Clock, look: impl Fn(), given_up: impl Fn(Duration)) {
    let began = Instant::now();
    let mut is_over = false;
    let mut leap_ends = tokio::time::Instant::now() + pace.leap;
    let mut since = Instant::now();
    loop {
        hold().await;
        let passed = since.elapsed();
        since += passed;
        tokio::time::advance(passed.min(TICK_MAX)).await;
        pulse.show(now());
        if !is_over && began.elapsed() > pace.patience {
            is_over = true;
            given_up(pace.patience);
        }
        if !is_over && (pulse.is_busy() || pace.leap.is_zero()) {
            continue;
        }
        tokio::select! {
            biased;
            () = pulse.stirred.notified() => {}
            () = tokio::time::sleep_until(leap_ends) => {}
        }
        since = Instant::now();
        pulse.show(now());
        if tokio::time::Instant::now() >= leap_ends {
            leap_ends = tokio::time::Instant::now() + pace.leap;
            pulse.touch(pace.moment);
            look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that stands still while servers work loses nothing but its own time.
    #[test]
    fn a_standstill_of_our_own_is_not_plan_time() {
        const STANDSTILL: Duration = Duration::from_millis(600);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = ClockFile::create(&folder.path().join("clock"), 0).expect("a file can be written");
        let pulse = Pulse::new(Arc::new(clock));
        let pace = Pace {
            leap: Duration::ZERO,
            moment: Duration::ZERO,
            patience: Duration::from_secs(600),
            coalescing: Duration::ZERO,
            lines: Duration::ZERO,
            is_service_apart: false,
            is_backend_apart: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), async {
            let _busy = pulse.begin(Work::Backend);
            let driver = tokio::task::spawn_local(drive(pulse.clone(), pace, Arc::new(|| 0), || {}, |_| {}));
            let (began, really) = (tokio::time::Instant::now(), Instant::now());
            std::thread::sleep(STANDSTILL);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (passed, really) = (began.elapsed(), really.elapsed());
            assert!(passed + STANDSTILL - TICK_MAX - Duration::from_millis(20) <= really, "{passed:?} of {really:?}");
            assert!(passed >= Duration::from_millis(50), "plan time does pass");
            driver.abort();
        });
    }
}
