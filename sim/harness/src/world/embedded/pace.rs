//! How plan time passes where servers take the time that they take.
//!
//! The plan's thread runs on tokio's paused clock. While anything is really under way (a request at a server, a
//! process that starts, replication that has not caught up, lines that arrived a moment ago), plan time follows real
//! time; when nothing is, it goes from timer to timer as in the deterministic world, for [`LEAP`] at a time, after
//! which the servers are given a moment to look at the clock. So plan time is never behind real time, pauses cost
//! next to nothing, and no timer constant is scaled.
//!
//! tokio does not advance a paused clock while a blocking task runs: that is how it is held.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::network::Target;
use crate::world::clock::{Clock, ClockFile};

/// How long plan time is held at a time, while it follows real time.
const TICK: Duration = Duration::from_millis(1);
/// How far plan time may go by itself before the servers are waited for.
const LEAP: Duration = Duration::from_secs(5);
/// How long they then have, at least.
const MOMENT: Duration = Duration::from_millis(4);

/// What is under way, as both runtimes see it.
pub(super) struct Pulse {
    clock: Arc<ClockFile>,
    /// Requests and other work under way, by whose it is: the service's, the backend's, our own.
    open: [AtomicUsize; 3],
    /// Whether the service or the backend stands still, so that nothing is waited for.
    is_still: [AtomicBool; 2],
    /// Whether the service has not replicated what was committed.
    is_lagging: AtomicBool,
    quiet_from: Mutex<Instant>,
    stirred: Notify,
}

/// Something under way.
pub(super) struct Busy {
    pulse: Arc<Pulse>,
    whose: usize,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.pulse.open[self.whose].fetch_sub(1, Ordering::AcqRel);
    }
}

fn index(target: Target) -> usize {
    match target {
        Target::Service => 0,
        Target::Backend => 1,
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

    /// A request to a server is under way, or work of our own (`None`), until the handle goes.
    pub(super) fn begin(self: &Arc<Self>, target: Option<Target>) -> Busy {
        let whose = target.map_or(2, index);
        self.open[whose].fetch_add(1, Ordering::AcqRel);
        self.stirred.notify_one();
        Busy { pulse: self.clone(), whose }
    }

    /// Something happened that may bring more within this time.
    pub(super) fn touch(&self, window: Duration) {
        let until = Instant::now() + window;
        let mut quiet_from = self.quiet_from.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet_from = until.max(*quiet_from);
        drop(quiet_from);
        self.stirred.notify_one();
    }

    /// A server stands still, or goes on.
    pub(super) fn stand_still(&self, target: Target, is_still: bool) {
        self.is_still[index(target)].store(is_still, Ordering::Release);
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
        let waits = |whose: usize| {
            let is_still = self.is_still.get(whose).is_some_and(|still| still.load(Ordering::Acquire));
            !is_still && self.open[whose].load(Ordering::Acquire) > 0
        };
        (0..self.open.len()).any(waits)
            || (self.is_lagging.load(Ordering::Acquire) && !self.is_still[index(Target::Service)].load(Ordering::Acquire))
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

/// Lets plan time pass, for ever. `look` is called when servers should show that they have seen the clock.
pub(super) async fn drive(pulse: Arc<Pulse>, now: Clock, look: impl Fn()) {
    let mut leap_ends = tokio::time::Instant::now() + LEAP;
    let mut since = Instant::now();
    loop {
        hold().await;
        let passed = since.elapsed();
        since += passed;
        tokio::time::advance(passed).await;
        pulse.show(now());
        if pulse.is_busy() {
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
            leap_ends = tokio::time::Instant::now() + LEAP;
            pulse.touch(MOMENT);
            look();
        }
    }
}
