//! How plan time passes where servers take real time.
//!
//! The plan's thread runs on tokio's paused clock. While anything is under way (a request at a server, a process that
//! starts, replication that has not caught up, lines that have just arrived), plan time follows real time. When nothing
//! is, it goes from timer to timer as in the deterministic world, one leap at a time, after which the servers get a
//! moment to see the clock. So plan time is never behind real time, waiting costs next to nothing, and no timer
//! constant is scaled.
//!
//! tokio does not advance a paused clock while a blocking task runs: that is how it is held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::activity::Activity;
use super::timing::Timing;
use crate::clock::{Clock, ClockFile};

/// How long plan time is held at a time, while it follows real time.
const TICK: Duration = Duration::from_millis(1);
/// The most plan time that one tick adds. A longer tick means that the plan's own thread stood still: no device could
/// take an answer that had come, and letting every timeout expire at once would blame the servers for it.
const TICK_MAX: Duration = Duration::from_millis(100);

/// Holds the clock for a moment of real time.
async fn hold() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a blocking task is what holds a paused clock; no step of a plan is in it"
    )]
    let held = tokio::task::spawn_blocking(|| std::thread::sleep(TICK));
    // It does nothing that could fail.
    let _ = held.await;
}

/// Lets plan time pass, for ever; with leaps of no length, as real time does. `file` shows it to the servers, and after
/// each leap `look` asks them something, so that they see it. A plan that takes longer than its limit is `given_up`;
/// plan time then waits for nothing.
pub(super) async fn drive(
    activity: Arc<Activity>,
    file: Arc<ClockFile>,
    timing: Timing,
    now: Clock,
    look: impl Fn(),
    given_up: impl Fn(Duration),
) {
    let began = Instant::now();
    let mut is_over = false;
    let mut leap_ends = tokio::time::Instant::now() + timing.leap;
    let mut since = Instant::now();
    loop {
        hold().await;
        let passed = since.elapsed();
        since += passed;
        tokio::time::advance(passed.min(TICK_MAX)).await;
        file.show(now());
        if !is_over && began.elapsed() > timing.plan_limit {
            is_over = true;
            given_up(timing.plan_limit);
        }
        if !is_over && (activity.is_busy() || timing.leap.is_zero()) {
            continue;
        }
        tokio::select! {
            biased;
            () = activity.changed() => {}
            () = tokio::time::sleep_until(leap_ends) => {}
        }
        since = Instant::now();
        file.show(now());
        if tokio::time::Instant::now() >= leap_ends {
            leap_ends = tokio::time::Instant::now() + timing.leap;
            activity.expect_more_within(timing.moment);
            look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::activity::Work;

    /// A thread that stands still while servers work loses nothing but its own time.
    #[test]
    fn a_standstill_of_our_own_is_not_plan_time() {
        const STANDSTILL: Duration = Duration::from_millis(600);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = ClockFile::create(&folder.path().join("clock"), 0).expect("a file can be written");
        let activity = Activity::new();
        let timing = Timing {
            leap: Duration::ZERO,
            moment: Duration::ZERO,
            plan_limit: Duration::from_secs(600),
            replication_poll: Duration::ZERO,
            replication_poll_max: Duration::ZERO,
            lines_after_replication: Duration::ZERO,
            lines_after_lines: Duration::ZERO,
            service_uses_machine_clock: false,
            backend_uses_machine_clock: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), async {
            let _work = activity.begin(Work::BackendRequest);
            let driver = drive(activity.clone(), Arc::new(clock), timing, Arc::new(|| 0), || {}, |_| {});
            let driver = tokio::task::spawn_local(driver);
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
