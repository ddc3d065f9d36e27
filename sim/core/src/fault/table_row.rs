//! What the table of faults says about each of them.

use rand::Rng as _;
use serde::Deserialize;

use super::{Fault, FaultName, Strength};
use crate::device::DeviceKind;
use crate::range::Range;
use crate::seed::Rng;

/// One row of the table of faults.
#[derive(Clone, Copy, Debug)]
pub struct FaultSpec {
    /// Which fault.
    pub fault: FaultName,
    /// Its name in scenario files, plan files and reports.
    pub name: &'static str,
    /// Where it is injected.
    pub carrier: Carrier,
    /// How it ends.
    pub end: End,
    /// The worlds in which it can be injected.
    pub worlds: &'static [World],
    /// Whether a world whose servers are not its own can inject it only with a key that signs tokens.
    pub needs_signing_key: bool,
    /// The parameters that a scenario file may give under `with`.
    pub settings: &'static [&'static str],
    /// What reports say when it strikes; `{device}`, `{time}` and other parameters are filled in.
    pub begins: &'static str,
    /// What holds while it lasts, in two or three words; `None` if it is over at once.
    pub during: Option<&'static str>,
    /// What reports say when it ends; `None` if nothing is worth saying.
    pub ends: Option<&'static str>,
    /// What holds from the moment it strikes, where that is not `during`.
    pub armed: Option<&'static str>,
    /// Whether the app's own stop and start in a history show it already.
    pub shown_by_lifecycle: bool,
    /// Whether what starts afterwards is another installation of the app.
    pub new_installation: bool,
    /// How long it lasts by default, in seconds.
    pub(crate) for_s: Range,
    /// When it strikes by default.
    pub(crate) aim: Aim,
    /// Whether it is aimed at the time before an upload, because it must be in place when the upload begins.
    pub(crate) before_upload: bool,
    /// The kinds of device that have it; empty: all.
    pub(crate) device_kinds: &'static [DeviceKind],
    /// The longest time that it waits for its moment, once it is armed.
    pub(crate) waits_us: u64,
    /// Changes may fail to pass while it waits, for its time, and for this long afterwards; `None`: they always pass.
    pub(crate) hinders_us: Option<u64>,
    /// Nobody uses the app for its time and for this long afterwards; `None`: the app stays usable.
    pub(crate) app_down_us: Option<u64>,
    /// Draws one with a strength.
    pub(crate) draw: fn(&mut Draw<'_>) -> Fault,
    /// Faults that are simpler to understand and may fail the same way, the simplest first.
    pub(crate) simpler: fn(&Fault) -> Vec<Fault>,
}

/// Where a fault is injected: who or what carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// The installation of the app: its process, its clock, its storage.
    Device,
    /// The network between the device and one or both servers.
    Network,
    /// The tokens that the device fetches.
    Tokens,
    /// The upload backend.
    Backend,
    /// The sync service.
    Service,
    /// The replication from the database to the sync service.
    Replication,
    /// The database.
    Database,
    /// The cache.
    Cache,
    /// The container that the fault names.
    Container,
}

impl Carrier {
    /// Whether it belongs to one device, rather than to a server that all devices use.
    #[must_use]
    pub fn is_of_a_device(self) -> bool {
        matches!(self, Self::Device | Self::Network | Self::Tokens)
    }
}

/// How a fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The run ends it after its time, or earlier when it heals.
    ByRun,
    /// It ends by itself after its time.
    ByItself,
    /// It strikes in a moment and has no end.
    AtOnce,
}

/// A world that plans run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// Everything is simulated in one process.
    Deterministic,
    /// The servers are processes.
    Embedded,
    /// The servers are containers.
    Containers,
    /// The servers run already and belong to somebody else.
    External,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deterministic, Self::Embedded, Self::Containers, Self::External];

    /// Its name on the command line and in scenario files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::Embedded => "embedded",
            Self::Containers => "containers",
            Self::External => "external",
        }
    }
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Aim {
    /// At any time of the workload.
    Anywhere,
    /// Around a transaction of the device that it strikes, when its upload is near.
    Transaction,
}

/// What one fault is drawn from.
#[derive(Debug)]
pub(crate) struct Draw<'a> {
    /// The generator of random numbers.
    pub(crate) rng: &'a mut Rng,
    /// How hard it strikes.
    pub(crate) strength: &'a Strength,
    /// The device that it strikes, if it strikes one.
    pub(crate) device: u32,
    /// How long it lasts, drawn already.
    pub(crate) for_us: u64,
}

impl Draw<'_> {
    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())]
    }
}
