//! When a run is late to settle, and whether it is worth to wait longer.

use std::time::Duration;

use sim_core::Plan;
use sim_core::promise::Promises;
use sim_device::platform::{Platform, STREAM_IDLE_TIMEOUT};
use sim_device::status::Status;
use tokio::time::Instant;

/// When something is late.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    /// From when it was set to the usual one.
    pub(super) patience: Duration,
    pub(super) usual: Instant,
    /// For a device that may wait on a silent stream, or gets on slowly; not for one whose uploads are refused.
    pub(super) longest: Instant,
}

impl Deadline {
    /// That of docs/semantics.md, section 2: 3 x (retry + throttle + longest timeout) + queued transactions x 4 x worst
    /// round trip + 60 s; a scenario may tighten it. `idle_timeout` is how long devices bear with a silent stream.
    pub(super) fn of(plan: &Plan, promises: &Promises, queued: u32, idle_timeout: Duration) -> Self {
        if let Some(micros) = promises.deadline_us {
            let patience = Duration::from_micros(micros);
            let at = Instant::now() + patience;
            return Self { patience, usual: at, longest: at };
        }
        let slowest = plan
            .devices
            .iter()
            .map(|device| Platform::of(device.kind))
            .map(|platform| platform.retry + platform.upload_throttle)
            .max()
            .unwrap_or_default();
        let round_trip = Duration::from_micros(2 * plan.link.latency_max_us);
        let patience = 3 * (slowest + STREAM_IDLE_TIMEOUT) + queued * 4 * round_trip + Duration::from_secs(60);
        let usual = Instant::now() + patience;
        // A silent stream may end late, once, where devices wait longer for one.
        Self { patience, usual, longest: usual + idle_timeout.saturating_sub(STREAM_IDLE_TIMEOUT) }
    }
}

/// A time in which a device should have got on.
pub(super) struct Window {
    pub(super) began: Instant,
    pub(super) began_us: i64,
}

impl Window {
    /// Whether the device may get on yet: its stream was silent all the time, or it has got on meanwhile.
    pub(super) fn may_come(&self, status: &Status) -> bool {
        let is_silent = status.last_received.is_some_and(|last_received| last_received <= self.began);
        is_silent || status.last_progress_us >= self.began_us
    }
}
