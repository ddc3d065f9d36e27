//! A device of a plan: its platform, its user, its clock.

use serde::{Deserialize, Serialize};

/// One installation of the app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its platform.
    pub kind: DeviceKind,
    /// The `sub` of its tokens.
    pub user: String,
    /// How far its clock is ahead, in microseconds.
    pub clock_skew_us: i64,
}

/// A platform: timer constants and lifecycle (see `sim-device`'s platforms).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A browser with tabs that share one database.
    Web,
    /// A desktop program.
    Tauri,
    /// A phone.
    Mobile,
}
