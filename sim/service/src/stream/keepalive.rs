//! When a stream says how long its token is still good for: at every keepalive interval, 20 s before expiry, and at
//! expiry, when it ends. Times are microseconds of the service's clock.

use std::time::Duration;

const WARNING_US: i64 = 20_000_000;

/// The keepalives of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepaliveSchedule {
    expires_us: i64,
    interval_us: i64,
    /// When the next one is due.
    due_us: i64,
}

/// A keepalive that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keepalive {
    /// How many seconds it says.
    pub(crate) seconds: i64,
    /// Whether the stream ends with it.
    pub(crate) last: bool,
}

impl KeepaliveSchedule {
    pub(crate) fn new(now_us: i64, expires_s: i64, interval: Duration) -> Self {
        let interval_us = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let mut schedule = Self { expires_us: expires_s.saturating_mul(1_000_000), interval_us, due_us: now_us };
        if now_us < schedule.expires_us {
            schedule.schedule(now_us);
        }
        schedule
    }

    /// When to poll again.
    pub(crate) fn due_us(&self) -> i64 {
        self.due_us
    }

    /// The keepalive that is due, if one is.
    pub(crate) fn poll(&mut self, now_us: i64) -> Option<Keepalive> {
        if now_us < self.due_us {
            return None;
        }
        let left_us = self.expires_us.saturating_sub(now_us);
        if left_us <= 0 {
            self.due_us = i64::MAX;
            return Some(Keepalive { seconds: 0, last: true });
        }
        self.schedule(now_us);
        // Timers are a little late: 19.999 s is sent as 20.
        Some(Keepalive { seconds: ((left_us + 500_000) / 1_000_000).max(1), last: false })
    }

    fn schedule(&mut self, now_us: i64) {
        let warning_us = self.expires_us.saturating_sub(WARNING_US);
        let next_us = now_us.saturating_add(self.interval_us).min(self.expires_us);
        self.due_us = if now_us < warning_us { next_us.min(warning_us) } else { next_us };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expires_s: i64, interval_s: u64, expect: &[(i64, i64)]) {
        let mut schedule = KeepaliveSchedule::new(0, expires_s, Duration::from_secs(interval_s));
        let mut sent = Vec::new();
        loop {
            let at = schedule.due_us().max(0);
            let keepalive = schedule.poll(at).expect("it is due");
            sent.push((at / 1_000_000, keepalive.seconds));
            if keepalive.last {
                break;
            }
        }
        assert_eq!(sent, expect, "token of {expires_s} s");
    }

    #[test]
    fn keepalives() {
        check(-30, 20, &[(0, 0)]);
        check(12, 20, &[(12, 0)]);
        check(28, 20, &[(8, 20), (28, 0)]);
        check(50, 20, &[(20, 30), (30, 20), (50, 0)]);
        check(20, 20, &[(20, 0)]);
    }
}
