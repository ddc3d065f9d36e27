//! How a fault ends, how long it waits, and how long it may keep changes from passing.

use std::time::Duration;

use super::{ContainerFault, End, Fault};

/// How long a container may take to restart.
const RESTART_US: u64 = 10_000_000;

impl Fault {
    /// How it ends. A container's restart has no end of its own.
    #[must_use]
    pub fn end(&self) -> End {
        match self {
            Self::Container { how: ContainerFault::Restart, .. } => End::AtOnce,
            _ => self.spec().end,
        }
    }

    /// How long it lasts until the run ends it; `None` if the run need not end it.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let for_us = self.time_us().filter(|_| self.end() == End::ByRun);
        for_us.map(Duration::from_micros)
    }

    /// The longest time that it waits for its moment; 0: it strikes at once.
    #[must_use]
    pub fn waits_us(&self) -> u64 {
        match self {
            Self::Crash { after_steps: 0, .. } => 0,
            _ => self.spec().waits_us,
        }
    }

    /// The time during which it may keep changes from passing, if it strikes at `at_us`: whose (`None`: everybody's),
    /// from when, until when.
    pub(crate) fn hindrance(&self, at_us: i64) -> Option<(Option<u32>, i64, i64)> {
        let spec = self.spec();
        let afterwards = spec.hinders_us?;
        let for_us = match self {
            Self::Container { how: ContainerFault::Restart, .. } => RESTART_US,
            _ => self.time_us().unwrap_or(0),
        };
        let until_us = at_us.saturating_add_unsigned(spec.waits_us + for_us + afterwards);
        Some((self.device().filter(|_| spec.carrier.is_of_a_device()), at_us, until_us))
    }
}
