//! What a history is a history of, and what its devices and rows are called.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::device::DeviceKind;
use crate::seed::Seed;

/// The format of the JSONL form.
pub const VERSION: u32 = 1;

/// What a history is a history of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub v: u32,
    /// The application's name.
    pub app: String,
    /// The scenario's name.
    pub scenario: String,
    /// The plan's seed.
    pub seed: Seed,
    /// The world.
    pub world: String,
    /// What its times are. No checker looks at the world.
    #[serde(default, skip_serializing_if = "Time::is_virtual")]
    pub time: Time,
    /// The upload policy.
    pub policy: String,
    /// The devices.
    pub devices: Vec<DeviceName>,
}

/// What the times of a history are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Time {
    /// Everything took as long as the run decided: what is late is late by its own doing, events stand in their true
    /// order, and latency can be judged.
    #[default]
    Virtual,
    /// Servers took the time that they took, on a machine that they shared: late may be slow, and a server's event
    /// stands where it was noticed.
    Real,
}

impl Time {
    /// Whether it is [`Time::Virtual`].
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        *self == Self::Virtual
    }
}

/// A device as a history names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceName {
    /// Its platform.
    pub kind: DeviceKind,
    /// The subject of its tokens.
    pub user: String,
    /// The client id of its database.
    pub client_id: String,
    /// What it took the place of: a device is one installation, and one whose storage is lost is another from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u32>,
    /// The copy that its database began as; `None`: it began empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyOf>,
}

/// An old copy of a device's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOf {
    /// The device.
    pub device: u32,
    /// The step that restores it: [`Lifecycle::CopyTaken`] says when it was made.
    pub key: u32,
}

/// A row as a history names it: `tasks#12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowName {
    /// The table's index.
    pub table: usize,
    /// Its `id` on every device and on the server.
    pub id: Arc<str>,
}

/// An index into [`History::rows`].
pub type RowId = u32;
