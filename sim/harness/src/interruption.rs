//! Ctrl-C and SIGTERM. The first asks for an end: what is under way is given up, and what was judged is reported. The
//! second ends the process at once, after the report of what was judged is written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long the second one waits for the report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(20);

/// What was asked for, and who has a report to write.
#[derive(Debug, Default)]
pub struct Interruption {
    stop: Arc<AtomicBool>,
    reporter: Mutex<Reporter>,
    changed: Condvar,
}

/// Who writes the report at the second Ctrl-C.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reporter {
    /// Nobody: there is nothing to report.
    #[default]
    None,
    /// Somebody waits to be asked.
    Waiting,
    Asked,
    Done,
}

impl Interruption {
    /// Set when the user wants no more.
    #[must_use]
    pub fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// Asks for an end; gives whether that had been asked before.
    #[must_use]
    pub fn ask(&self) -> bool {
        self.stop.swap(true, Ordering::SeqCst)
    }

    /// The process ends: whoever has a report writes it first.
    pub fn report_now(&self) {
        let mut reporter = self.reporter.lock().unwrap_or_else(PoisonError::into_inner);
        if *reporter == Reporter::Waiting {
            *reporter = Reporter::Asked;
            self.changed.notify_all();
            let is_writing = |reporter: &mut Reporter| *reporter == Reporter::Asked;
            drop(self.changed.wait_timeout_while(reporter, REPORT_TIMEOUT, is_writing));
        }
    }

    /// Works, and writes a report of what is known by then when the process has to end meanwhile.
    pub fn with_report<T>(&self, report: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
        self.set(Reporter::Waiting);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let reporter = self.reporter.lock().unwrap_or_else(PoisonError::into_inner);
                let waits = |reporter: &mut Reporter| *reporter == Reporter::Waiting;
                let asked = self.changed.wait_while(reporter, waits).unwrap_or_else(PoisonError::into_inner);
                let is_asked = *asked == Reporter::Asked;
                drop(asked);
                if is_asked {
                    report();
                    self.set(Reporter::Done);
                }
            });
            let _over = WorkOver(self);
            work()
        })
    }

    fn set(&self, to: Reporter) {
        *self.reporter.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.changed.notify_all();
    }
}

/// Lets the reporter go, however the work ends.
struct WorkOver<'a>(&'a Interruption);

impl Drop for WorkOver<'_> {
    fn drop(&mut self) {
        let mut reporter = self.0.reporter.lock().unwrap_or_else(PoisonError::into_inner);
        if *reporter == Reporter::Waiting {
            *reporter = Reporter::None;
        }
        drop(reporter);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_written_before_the_process_ends_and_only_then() {
        let interruption = Interruption::default();
        let written = AtomicBool::new(false);
        let write = || written.store(true, Ordering::SeqCst);
        interruption.report_now();
        interruption.with_report(write, || ());
        assert!(!written.load(Ordering::SeqCst));
        assert!(!interruption.ask() && interruption.ask());
        interruption.with_report(write, || {
            interruption.report_now();
            assert!(written.load(Ordering::SeqCst));
        });
    }
}
