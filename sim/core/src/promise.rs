//! What a scenario claims beyond what every run owes.

use serde::{Deserialize, Serialize};

/// The policies that decide by a rule of their own, which has the policy's name, instead of the rules of policy.toml.
pub const OWN_RULES: [&str; 3] = ["row-latest", "version-check", "server-wins"];

/// The policy of a backend that promises none: it is held to the rules of policy.toml, and has no model.
pub const NO_POLICY: &str = "none";

/// Claims of a scenario on each of its histories; each is judged by the checker `claims`.
///
/// Every run owes convergence, durability and the rest in any case. These say what the scenario's own sentence
/// says, in terms of the history alone, so that it cannot be true by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// No write is overridden by one that had not seen it: edits of different columns all stand in the end.
    NothingOverridden,
    /// Of concurrent writes of one register, the one with the greatest (clock, client) is the final value.
    GreatestStampStays,
    /// A deleted row that nobody created again is on no device and not on the server in the end.
    DeletedStayDeleted,
    /// The columns of a group end as one single operation left them together on some device.
    GroupsWhole,
    /// Each counter ends at its start plus every increment of a committed transaction.
    CountersExact,
    /// In each set, additions that nobody who saw them removed are present, removals of seen elements hold.
    SetsExact,
    /// Each unique key is on one row, with the id that was committed first; losing ids are on no device.
    OneRowPerKey,
    /// All settled devices list the rows of each table that has a position in one sequence, none lost or doubled.
    SameSequence,
    /// Every operation on a child of a deleted parent was refused, or the child's deletion is on record.
    OrphansRefused,
    /// Parent changes that would have closed a cycle are superseded with a record; the first commit stands.
    CyclesSuperseded,
    /// A second start of an exclusive row has a record; at most one is running at each commit.
    OneLeader,
    /// Each committed transaction has exactly one commit, and a repeated upload was given the first answer.
    OneCommitEach,
    /// A device sees at most one 401 an expiry and channel, and then progress.
    OneRefusalPerExpiry,
    /// A token is refused with 401 only by the service, and only until it knows the key that signed it.
    OldTokensStayGood,
    /// No checker finds anything, whatever it is about: the other checkers judge it.
    EveryChecker,
}

impl Claim {
    /// Whether a policy owes the claim. Those with [`OWN_RULES`] give up writes that `field-merge` keeps; any other
    /// policy is held to the rules of policy.toml.
    #[must_use]
    pub fn is_owed_by(self, policy: &str) -> bool {
        let by_its_rules = matches!(
            self,
            Self::NothingOverridden
                | Self::GreatestStampStays
                | Self::CountersExact
                | Self::SetsExact
                | Self::DeletedStayDeleted
        );
        !(by_its_rules && OWN_RULES.contains(&policy))
    }

    /// Whether it says what the writes of devices make of a row, so that it is not true where the server itself writes.
    #[must_use]
    pub fn leaves_out_server_writes(self) -> bool {
        matches!(
            self,
            Self::NothingOverridden
                | Self::GreatestStampStays
                | Self::GroupsWhole
                | Self::CountersExact
                | Self::SetsExact
        )
    }

    /// Its name, as scenario files write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingOverridden => "nothing-overridden",
            Self::GreatestStampStays => "greatest-stamp-stays",
            Self::DeletedStayDeleted => "deleted-stay-deleted",
            Self::GroupsWhole => "groups-whole",
            Self::CountersExact => "counters-exact",
            Self::SetsExact => "sets-exact",
            Self::OneRowPerKey => "one-row-per-key",
            Self::SameSequence => "same-sequence",
            Self::OrphansRefused => "orphans-refused",
            Self::CyclesSuperseded => "cycles-superseded",
            Self::OneLeader => "one-leader",
            Self::OneCommitEach => "one-commit-each",
            Self::OneRefusalPerExpiry => "one-refusal-per-expiry",
            Self::OldTokensStayGood => "old-tokens-stay-good",
            Self::EveryChecker => "every-checker",
        }
    }
}

/// What a scenario promises of each history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Promises {
    /// Its own claims.
    pub claims: Vec<Claim>,
    /// Tightens the deadline after a heal, in microseconds of plan time.
    pub deadline_us: Option<u64>,
    /// The greatest lawful 95th percentile of simulated end-to-end latency, in milliseconds.
    pub latency_p95_ms_max: Option<u64>,
    /// What must occur over all its plans together, such as `unseen-override:latest` or `reply-lost-after-commit`.
    pub must_occur: Vec<String>,
    /// The greatest percentage of transactions that may be refused, where it is not the usual one.
    #[serde(default)]
    pub refused_percent_max: Option<u64>,
}
