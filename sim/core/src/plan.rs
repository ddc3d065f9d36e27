//! What will be done: timed intents of devices, and faults. A function of (scenario, seed) alone.
//!
//! Intents name symbolic rows (`#12`), never ids or values that a device would have to know; the device turns an
//! intent into SQL from what it sees at that moment. Times are microseconds of plan time, from 0. Every step has
//! a key that shrinking never changes, so that the fate of its messages stays the same when others are removed.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::seed::Seed;

mod fault;

pub use fault::{Befalls, Direction, Fault, Instant, Part, Server};

/// The instant that plan time 0 stands for: 2026-01-05T08:00:00Z, in microseconds since 1970.
pub const EPOCH_US: i64 = 1_767_600_000_000_000;

/// A kill that waits for an upload strikes at last so long after it was told to.
pub const KILL_WAITS_US: u64 = 10_000_000;

/// Tokens that live so many seconds outlive any plan.
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

/// One installation of the app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its platform.
    pub kind: Kind,
    /// The `sub` of its tokens.
    pub user: String,
    /// How far its clock is ahead, in microseconds.
    pub clock_skew_us: i64,
}

/// A platform: timer constants and lifecycle (see the harness's device kinds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A browser with tabs that share one database.
    Web,
    /// A desktop program.
    Tauri,
    /// A phone.
    Mobile,
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

/// One operation that a person or program intends, in terms of symbolic rows.
///
/// If the row that it acts on is not visible on the device at that moment, the intent is recorded as skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Intent {
    /// `INSERT` the row. Skipped if a row with its id is visible, unless `replace` (then `INSERT OR REPLACE`).
    Insert {
        /// The symbolic row.
        row: u32,
        /// Columns to name; the others take no value on the device and their default on the server.
        set: Vec<(String, Expr)>,
        /// Whether a visible row is replaced whole.
        replace: bool,
    },
    /// `INSERT` the row unless a row with the same values in `key` is visible; then `UPDATE` that one. The device
    /// takes the visible row for this symbolic row from then on.
    Ensure {
        /// The symbolic row.
        row: u32,
        /// The columns of the unique key, each of which is in `set`.
        key: Vec<String>,
        /// Columns to name.
        set: Vec<(String, Expr)>,
    },
    /// `UPDATE` columns of the row.
    Set {
        /// The symbolic row.
        row: u32,
        /// Columns and their new values.
        set: Vec<(String, Expr)>,
    },
    /// Adds an element to a JSON array of strings, read and written whole as apps do.
    Add {
        /// The symbolic row.
        row: u32,
        /// The set column.
        column: String,
        /// The element; a no-op write if it is there already.
        element: Expr,
    },
    /// Removes an element from a JSON array of strings.
    Remove {
        /// The symbolic row.
        row: u32,
        /// The set column.
        column: String,
        /// The element; skipped if it is not there.
        element: Expr,
    },
    /// `column = coalesce(column, 0) + by`.
    Increment {
        /// The symbolic row.
        row: u32,
        /// The integer column.
        column: String,
        /// The difference.
        by: i64,
    },
    /// Moves the row right behind another in the list of its table by renumbering: every visible row of `list`
    /// gets its position, as one `UPDATE` a row whose position changes.
    MoveAfter {
        /// The symbolic row that moves.
        row: u32,
        /// The row that it then follows; `None` moves it to the front.
        after: Option<u32>,
        /// The integer position column.
        column: String,
        /// The rows of the list.
        list: Vec<u32>,
    },
    /// `DELETE` the row.
    Delete {
        /// The symbolic row.
        row: u32,
    },
    /// Reads the rows (by id), each whole; rows that are not visible are recorded as absent.
    Read {
        /// The symbolic rows.
        rows: Vec<u32>,
    },
}

/// A value that a device computes when it runs the intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expr {
    /// This JSON scalar.
    Value(Json),
    /// The id of a symbolic row, as the device knows it.
    Id(u32),
    /// The device's clock, as ISO 8601 with milliseconds and `Z`.
    Now,
    /// The device's own name, such as `device-2`.
    Device,
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

    /// The client id that a device makes after it lost its database so many times.
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
            let is_loss = |step: &&Step| matches!(step.action, Action::Fault(Fault::StorageLost { device: of, .. } | Fault::CopyRestored { device: of, .. }) if of == device);
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

impl Intent {
    /// Every symbolic row that it names.
    #[must_use]
    pub fn rows(&self) -> Vec<u32> {
        let ids = |set: &[(String, Expr)]| {
            set.iter().filter_map(|(_, expr)| if let Expr::Id(row) = expr { Some(*row) } else { None }).collect()
        };
        let mut rows: Vec<u32> = match self {
            Self::Insert { set, .. } | Self::Ensure { set, .. } | Self::Set { set, .. } => ids(set),
            Self::Add { element, .. } | Self::Remove { element, .. } => {
                if let Expr::Id(row) = element { vec![*row] } else { Vec::new() }
            }
            Self::MoveAfter { after, list, .. } => list.iter().copied().chain(*after).collect(),
            Self::Read { rows } => rows.clone(),
            Self::Increment { .. } | Self::Delete { .. } => Vec::new(),
        };
        match self {
            Self::Insert { row, .. }
            | Self::Ensure { row, .. }
            | Self::Set { row, .. }
            | Self::Add { row, .. }
            | Self::Remove { row, .. }
            | Self::Increment { row, .. }
            | Self::MoveAfter { row, .. }
            | Self::Delete { row } => rows.push(*row),
            Self::Read { .. } => {}
        }
        rows
    }
}
