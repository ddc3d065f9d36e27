//! The clock that a server goes by.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;

/// The clock of a service.
#[derive(Clone)]
pub struct Time {
    /// Microseconds since 1970-01-01 UTC.
    pub clock: Clock,
    /// How often timers read the clock again, for a clock that may jump.
    pub clock_poll_interval: Option<Duration>,
}

/// The machine's clock.
impl Default for Time {
    fn default() -> Self {
        Self { clock: Arc::new(now_us), clock_poll_interval: None }
    }
}

#[expect(clippy::disallowed_methods, reason = "a server on a real clock: this is where the machine is asked")]
fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
