//! The worlds that there are.

use std::sync::Arc;

use fixtures::App;
use sim_core::history::Time;
use sim_core::{Plan, Seed};

use crate::{containers, embedded, external};

/// A world, with what its workers keep from plan to plan.
#[derive(Clone, Debug, Default)]
pub enum WorldKind {
    /// Everything in this process, in virtual time.
    #[default]
    Deterministic,
    /// Processes on loopback.
    Embedded(Arc<embedded::EmbeddedPool>),
    /// A deployment in containers.
    Containers(Arc<containers::ContainersPool>),
    /// A stack that somebody else runs.
    External(Arc<external::ExternalPool>),
}

/// Their names.
pub const NAMES: [&str; 4] = ["deterministic", "embedded", "containers", "external"];
/// Those in which everything is ours, so that defects can be planted.
pub const OWN_NAMES: [&str; 3] = ["deterministic", "embedded", "containers"];

impl WorldKind {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::Embedded(_) => "embedded",
            Self::Containers(_) => "containers",
            Self::External(_) => "external",
        }
    }

    /// What the times of its histories are.
    #[must_use]
    pub fn time(&self) -> Time {
        match self {
            Self::Deterministic => Time::Virtual,
            Self::Embedded(_) | Self::Containers(_) | Self::External(_) => Time::Real,
        }
    }

    /// Whether others use its database as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::External(_))
    }

    /// The plan as it runs there: among the rows of others, with ids that nobody else has.
    ///
    /// # Panics
    /// When the machine gives no randomness where ids must be new.
    #[must_use]
    pub fn adapt(&self, plan: &Plan, app: &App) -> Plan {
        let Self::External(pool) = self else { return plan.clone() };
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("a machine has randomness");
        external::isolate(plan, app, pool.only_user(), Seed(u64::from_le_bytes(bytes)))
    }
}
