//! What will be done: timed intents of devices, and faults. A function of (scenario, seed) alone.
//!
//! Times are microseconds of plan time, from 0. Every step has a key that shrinking never changes, so that its
//! messages meet the same fate when other steps are removed.

use serde::{Deserialize, Serialize};

pub use crate::device::{Device, DeviceKind};
pub use crate::fault::{ContainerFault, Direction, Fault, KILL_WAITS_US, KillInstant, Server, StackPart};
pub use crate::intent::{Expr, Intent};
use crate::seed::Seed;

/// The instant that plan time 0 stands for: 2026-01-05T08:00:00Z, in microseconds since 1970.
pub const EPOCH_US: i64 = 1_767_600_000_000_000;

/// A token lifetime, in seconds, that is longer than any plan.
pub const TOKEN_OUTLIVES_S: u32 = 600;

/// The format that [`Plan::version`] names.
pub const VERSION: u32 = 1;

/// One plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// The application's name.
    pub app: String,
    /// The scenario's name.
    pub scenario: String,
    /// The seed of this plan. Ids, client ids and the fate of messages are drawn from it during execution.
    pub seed: Seed,
    /// Ids and client ids are drawn from this seed in its place, where those of the plan's own may have been there
    /// before: a database that outlives a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Seed>,
    /// The devices; an index into this list is a device's name.
    pub devices: Vec<Device>,
    /// How every device's link behaves when no fault is active.
    pub link: Link,
    /// Seconds that a token lives after it is issued.
    pub token_lifetime_s: u32,
    /// The table of each symbolic row; an index into this list is the row's name. Its id is [`Plan::row_id`].
    pub rows: Vec<String>,
    /// Rows that are on the server, and on every device, before plan time 0.
    pub seed_rows: Vec<SeedRow>,
    /// What happens, ordered by time, then by key.
    pub steps: Vec<Step>,
    /// The traffic that resumes after healing and settling; times count from its start.
    pub resume: Vec<Step>,
}

/// A link's behaviour, one way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Least delay of a message.
    pub latency_min_us: u64,
    /// Greatest delay of a message; the delay of each is drawn uniformly.
    pub latency_max_us: u64,
}

/// A row that is there before the plan begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRow {
    /// The symbolic row.
    pub row: u32,
    /// Its columns; those not named take their defaults.
    pub set: Vec<(String, Expr)>,
}

/// One timed step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When, in microseconds of plan time.
    pub at_us: i64,
    /// A name that shrinking never changes; unique in the plan.
    pub key: u32,
    /// What.
    pub action: Action,
}

/// What the traffic that is resumed when everything has settled is called.
pub const RESUMED_ACTIVITY: &str = "resume";

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// A device runs one local transaction.
    Tx {
        /// The device.
        device: u32,
        /// What people call it, for the story: `complete-task`.
        activity: String,
        /// What it does, in order.
        intents: Vec<Intent>,
    },
    /// A fault begins. It ends by itself after its duration, or when the run heals.
    Fault(Fault),
}

impl Plan {
    /// The id of a symbolic row: a UUID drawn from the fork `ids`.
    #[must_use]
    pub fn row_id(&self, row: u32) -> String {
        self.identity().uuid("ids", &[u64::from(row)])
    }

    fn identity(&self) -> Seed {
        self.identity.unwrap_or(self.seed)
    }

    /// The client id of a device, for its first database.
    #[must_use]
    pub fn client_id(&self, device: u32) -> String {
        self.identity().uuid("client", &[u64::from(device)])
    }

    /// The client id that a device makes after this many losses of its database.
    #[must_use]
    pub fn client_id_again(&self, device: u32, losses: u32) -> String {
        self.identity().uuid("client", &[u64::from(device), u64::from(losses)])
    }

    /// How many operations it holds, resumed traffic included: one an intent, reads not counted.
    #[must_use]
    pub fn operations(&self) -> usize {
        let steps = self.steps.iter().chain(&self.resume);
        let transactions = steps.filter(|step| matches!(step.action, Action::Tx { .. }));
        let intents = transactions.flat_map(|step| step.action.intents());
        intents.filter(|intent| !matches!(intent, Intent::Read { .. })).count()
    }

    /// Every client id that its devices may have, in turn.
    #[must_use]
    pub fn client_ids(&self) -> Vec<String> {
        let again = |device: u32| {
            let is_loss = |step: &&Step| match &step.action {
                Action::Fault(fault) => fault.spec().new_installation && fault.device() == Some(device),
                Action::Tx { .. } => false,
            };
            let losses = self.steps.iter().chain(&self.resume).filter(is_loss).count();
            (1..=u32::try_from(losses).unwrap_or(u32::MAX)).map(move |losses| self.client_id_again(device, losses))
        };
        let devices = 0..u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        devices.flat_map(|device| std::iter::once(self.client_id(device)).chain(again(device))).collect()
    }

    /// How many faults it holds.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.action, Action::Fault(_))).count()
    }
}

impl Action {
    /// What a transaction of a device, or of the server's own, does.
    #[must_use]
    pub fn intents(&self) -> &[Intent] {
        match self {
            Self::Tx { intents, .. } | Self::Fault(Fault::ServerWrite { intents }) => intents,
            Self::Fault(_) => &[],
        }
    }

    /// The same, to be changed; `None` for what is no transaction.
    pub fn intents_mut(&mut self) -> Option<&mut Vec<Intent>> {
        match self {
            Self::Tx { intents, .. } | Self::Fault(Fault::ServerWrite { intents }) => Some(intents),
            Self::Fault(_) => None,
        }
    }
}

impl Step {
    /// Whether the step names only devices and rows that the plan has: plans that come from files are checked.
    ///
    /// # Errors
    /// What it names that is not there.
    pub fn check(&self, plan: &Plan) -> Result<(), String> {
        let devices = u32::try_from(plan.devices.len()).unwrap_or(u32::MAX);
        let rows = u32::try_from(plan.rows.len()).unwrap_or(u32::MAX);
        let device = match &self.action {
            Action::Tx { device, .. } => Some(*device),
            Action::Fault(fault) => fault.device(),
        };
        if let Some(device) = device.filter(|device| *device >= devices) {
            return Err(format!("device {device} is not in devices, which has {devices}"));
        }
        if self.at_us < 0 || self.at_us > 400 * 86_400 * 1_000_000 {
            return Err(format!("at_us is {}; a plan lasts from 0 to 400 days", self.at_us));
        }
        match self.action.intents().iter().flat_map(Intent::rows).find(|row| *row >= rows) {
            Some(row) => Err(format!("row {row} is not in rows, which has {rows}")),
            None => Ok(()),
        }
    }
}
