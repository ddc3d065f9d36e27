//! Device platforms as data: the timer constants of each.

use std::time::Duration;

use sim_core::plan;

/// What differs from platform to platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// From a local write to the upload that it triggers.
    pub upload_throttle: Duration,
    /// From a failed upload, or an ended stream, to the next try.
    pub retry: Duration,
    /// The least interval of timers while the app is in the background.
    pub background_timer: Duration,
}

/// How long a request may take before the host gives it up. The host's own value; no SDK states one.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stream may be silent before the host gives it up: three keepalives. The host's own value.
pub const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

impl Platform {
    /// The constants of a platform (`powersync-js` for web and mobile, the Rust SDK for Tauri).
    #[must_use]
    pub const fn of(kind: plan::DeviceKind) -> Self {
        match kind {
            plan::DeviceKind::Web => Self {
                upload_throttle: Duration::from_secs(1),
                retry: Duration::from_secs(5),
                background_timer: Duration::from_secs(1),
            },
            plan::DeviceKind::Tauri => Self {
                upload_throttle: Duration::ZERO,
                retry: Duration::from_secs(5),
                background_timer: Duration::ZERO,
            },
            plan::DeviceKind::Mobile => Self {
                upload_throttle: Duration::from_secs(1),
                retry: Duration::from_secs(5),
                background_timer: Duration::ZERO,
            },
        }
    }
}
