//! A scenario: the claim, the devices, what they do, what goes wrong. Every name is looked up.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::round::{ActivityRef, ActorSet, Rounds};
use crate::activity::{Activity, Term};
use crate::device::DeviceKind;
use crate::fault::StackPart;
use crate::layout::Layout;
use crate::nemesis::FaultGenerator;
use crate::plan::TOKEN_OUTLIVES_S;
use crate::promise::Promises;
use crate::range::Range;

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// One sentence.
    pub claim: String,
    /// The application that it is about; `None`: any.
    pub app: Option<String>,
    /// The known failures that it can bring about, by their number in the catalogue.
    pub reproduces: Vec<String>,
    /// How many plans a run draws by default.
    pub plans: u32,
    /// The only worlds that it is for; empty: all.
    pub worlds: Vec<String>,
    /// What it claims.
    pub promises: Promises,
    pub(crate) devices: Vec<DeviceGroup>,
    pub(crate) latency_ms: Range,
    pub(crate) token_lifetime_s: Range,
    pub(crate) resume: Range,
    pub(crate) seeds: Vec<SeedRows>,
    pub(crate) mixes: Vec<Mix>,
    pub(crate) rounds: Option<Rounds>,
    pub(crate) faults: Vec<FaultGenerator>,
    pub(crate) activities: Arc<[Activity]>,
    pub(crate) layout: Arc<Layout>,
}

/// Some devices.
#[derive(Clone, Debug)]
pub(crate) struct DeviceGroup {
    pub(crate) kind: DeviceChoice,
    pub(crate) count: Range,
    pub(crate) clock_skew_s: Range,
}

/// A kind of device, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeviceChoice {
    Web,
    Tauri,
    Mobile,
    Any,
}

impl DeviceChoice {
    pub(crate) fn fixed(self) -> Option<DeviceKind> {
        match self {
            Self::Web => Some(DeviceKind::Web),
            Self::Tauri => Some(DeviceKind::Tauri),
            Self::Mobile => Some(DeviceKind::Mobile),
            Self::Any => None,
        }
    }
}

/// Rows of a table that are there from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct SeedRows {
    pub(crate) table: usize,
    pub(crate) rows: Range,
    pub(crate) set: Vec<(usize, Term)>,
}

/// Activities at random times.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    pub(crate) by: ActorSet,
    pub(crate) start_s: Range,
    pub(crate) for_s: Range,
    pub(crate) rate: Rate,
    /// What, with its weight; the weights add up to more than 0.
    pub(crate) activities: Vec<(f64, ActivityRef)>,
    /// The chance that a row is one of a few that everybody writes.
    pub(crate) hot: f64,
    /// Whether `crud-mix` has edge cases.
    pub(crate) edges: bool,
    /// The chance that a plan has one transaction of hundreds of statements, or texts over 10 kB.
    pub(crate) large: f64,
    /// The mean number of intents in a transaction of `crud-mix`.
    pub(crate) size: f64,
}

/// How many transactions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rate {
    /// This many in all.
    InAll(Range),
    /// One a device in this many seconds.
    Every(Range),
}

impl Scenario {
    /// The containers of a stack that it names in its faults.
    #[must_use]
    pub fn parts(&self) -> BTreeSet<StackPart> {
        self.faults.iter().filter_map(FaultGenerator::part).collect()
    }

    /// Whether tokens may end in the middle of its plans.
    #[must_use]
    pub fn tokens_expire(&self) -> bool {
        self.token_lifetime_s.min < f64::from(TOKEN_OUTLIVES_S)
    }

    /// The scenario where not every fault can be had: its swarm is drawn from those that can.
    #[must_use]
    pub fn where_possible(&self, is_possible: impl Fn(&str) -> bool) -> Self {
        let mut scenario = self.clone();
        scenario.faults.retain(|fault| !fault.is_swarm || is_possible(fault.fault.spec().name));
        scenario
    }

    /// The names of all faults that its plans may hold.
    #[must_use]
    pub fn fault_names(&self) -> BTreeSet<&'static str> {
        let mut names: BTreeSet<&'static str> = self.faults.iter().map(|fault| fault.fault.spec().name).collect();
        for round in self.rounds.iter().flat_map(|rounds| &rounds.kinds) {
            names.extend(round.faults.iter().map(|(.., fault)| fault.fault.spec().name));
            names.extend(round.apart.iter().map(|separation| separation.fault(0, 0).name()));
        }
        names
    }
}
