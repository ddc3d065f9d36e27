//! The policies there are, by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::policy::decision::{Decision, Situation};
use crate::policy::{arrival_order, field_merge, row_latest, server_wins, version_check};

/// A policy: decides one operation at a time.
pub trait Policy: Send + Sync {
    /// Which policy this is. [`PolicyKind::ArrivalOrder`] also switches off what the baseline lacks: once-only effect,
    /// outcomes, integrity.
    fn kind(&self) -> PolicyKind;

    /// Decides one operation.
    fn decide(&self, situation: &Situation<'_>) -> Decision;
}

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
    /// The baseline: the last write to arrive stays, and nothing is remembered.
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

    /// The policy with this name.
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

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no policy is called {0:?}; there are field-merge, row-latest, version-check, server-wins and arrival-order")]
pub struct UnknownPolicy(pub String);

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
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
