//! Policies: pure decisions about one operation against one row.
//!
//! A policy sees what is stored (row, stamps, tombstone), the operation, and the column rules. It says what the
//! row becomes, what the device is told, and which write was overridden. It never sees other rows: references,
//! trees, unique keys and exclusive invariants are the business of [`crate::upload`], which asks a policy again
//! when an insert turns out to concern another row.

pub mod arrival_order;
pub mod field_merge;
mod lifecycle;
mod live;
pub mod row_latest;
pub mod server_wins;
pub mod sets;
pub mod version_check;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fixtures::{Default as ColumnDefault, Row, Value};

use crate::operation::Operation;
use crate::record::{Author, RowMeta, StoredRow, Tombstone, Writer};
use crate::rules::TableRules;
use crate::wire::Outcome;

pub use lifecycle::superseded_by_deletion;
pub(crate) use live::set_written;

/// The policies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    /// Each column resolves by its own rule. The default.
    FieldMerge,
    /// An operation older than the row is superseded whole.
    RowLatest,
    /// An operation whose base differs from the row is superseded whole.
    VersionCheck,
    /// A column changed since base keeps the server's value.
    ServerWins,
    /// The baseline: whatever arrives last stays, and nothing is remembered.
    ArrivalOrder,
}

impl PolicyKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::FieldMerge, Self::RowLatest, Self::VersionCheck, Self::ServerWins, Self::ArrivalOrder];

    /// The name in options and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FieldMerge => "field-merge",
            Self::RowLatest => "row-latest",
            Self::VersionCheck => "version-check",
            Self::ServerWins => "server-wins",
            Self::ArrivalOrder => "arrival-order",
        }
    }

    /// The policy itself.
    #[must_use]
    pub fn policy(self) -> Arc<dyn Policy> {
        Arc::new(Kind(self))
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no policy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no policy is called {0:?}; there are field-merge, row-latest, version-check, server-wins and arrival-order")]
pub struct UnknownPolicy(pub String);

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

/// A source of decisions.
pub trait Policy: Send + Sync {
    /// Which policy this is: [`PolicyKind::ArrivalOrder`] also switches off everything that the baseline lacks
    /// (once-only effect, outcomes, integrity).
    fn kind(&self) -> PolicyKind;

    /// Decides one operation.
    fn decide(&self, situation: &Situation<'_>) -> Decision;
}

struct Kind(PolicyKind);

impl Policy for Kind {
    fn kind(&self) -> PolicyKind {
        self.0
    }

    fn decide(&self, situation: &Situation<'_>) -> Decision {
        match self.0 {
            PolicyKind::FieldMerge => field_merge::decide(situation),
            PolicyKind::RowLatest => row_latest::decide(situation),
            PolicyKind::VersionCheck => version_check::decide(situation),
            PolicyKind::ServerWins => server_wins::decide(situation),
            PolicyKind::ArrivalOrder => arrival_order::decide(situation),
        }
    }
}

/// What a policy decides on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The table's rules.
    pub rules: &'a TableRules,
    /// What is stored under the operation's id.
    pub target: Target<'a>,
    /// The operation.
    pub op: &'a Operation,
    /// Who sent it.
    pub writer: &'a Arc<Writer>,
    /// When its request was received.
    pub received_us: i64,
}

/// What is stored under an id.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A live row.
    Live(&'a StoredRow),
    /// A row that was deleted through the backend, less than the retention ago.
    Deleted(&'a Tombstone),
    /// Nothing that is remembered.
    Absent,
}

/// What a policy decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What becomes of the row.
    pub effect: Effect,
    /// What the device is told.
    pub outcome: Outcome,
    /// Why, where it is not simply applied; its first word is stable.
    pub reason: Option<String>,
    /// Whose write stands in the operation's place.
    pub by: Option<Author>,
    /// Overridden writes.
    pub conflicts: Vec<Conflict>,
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It is inserted or updated.
    Write(RowWrite),
    /// It is deleted, and leaves a tombstone with this stamp.
    Delete {
        /// The stamp.
        at_us: i64,
    },
    /// There is nothing to delete, but the tombstone takes this later stamp.
    Bury {
        /// The stamp.
        at_us: i64,
    },
}

/// A row to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RowWrite {
    /// All columns.
    pub row: Vec<Value>,
    /// Stamps and the like; [`RowMeta::written`] is brought up to date when the row is stored.
    pub meta: RowMeta,
}

/// A write that was overridden, before it is numbered.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The column or the group; `None` = the whole row.
    pub column: Option<Arc<str>>,
    /// The rule that decided.
    pub rule: Cow<'static, str>,
    /// Whose write does not stand.
    pub loser: Author,
    /// Whose does.
    pub winner: Author,
}

impl Decision {
    /// An operation that can never be applied.
    #[must_use]
    pub fn rejected(reason: String) -> Self {
        Self { effect: Effect::None, outcome: Outcome::Rejected, reason: Some(reason), by: None, conflicts: Vec::new() }
    }

    /// Nothing to do, and nothing to say.
    #[must_use]
    pub fn nothing() -> Self {
        Self { effect: Effect::None, outcome: Outcome::Applied, reason: None, by: None, conflicts: Vec::new() }
    }
}

impl Situation<'_> {
    /// The operation's clock: the clock column as sent, capped at receive time; else receive time.
    #[must_use]
    pub fn clock_us(&self) -> i64 {
        let sent = self.rules.clock.and_then(|column| match self.op.sent(column)? {
            Value::Time(at_us) => Some(*at_us),
            Value::Text(text) => fixtures::value::time_from_text(text),
            _ => None,
        });
        sent.map_or(self.received_us, |at_us| at_us.min(self.received_us))
    }

    /// The operation as an author.
    #[must_use]
    pub fn author(&self) -> Author {
        Author::Client(self.writer.clone())
    }

    /// Whether a write with this stamp is older than the operation, by (clock, client).
    #[must_use]
    pub fn is_later_than(&self, stamp_us: i64, writer: &Writer) -> bool {
        (self.clock_us(), &self.writer.client) > (stamp_us, &writer.client)
    }
}

/// The row that an INSERT of the operation's columns stores.
#[must_use]
pub fn inserted_row(rules: &TableRules, op: &Operation, now_us: i64) -> Row {
    rules
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| match op.sent(index) {
            Some(value) => value.clone(),
            None => match &column.default {
                ColumnDefault::Null => Value::Null,
                ColumnDefault::Literal(value) => value.clone(),
                ColumnDefault::Now => Value::Time(now_us),
            },
        })
        .collect()
}
