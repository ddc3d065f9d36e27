//! What a history means: verdicts that compose, and anomalies that explain themselves.

use serde::{Deserialize, Serialize};

use crate::history::RowId;

/// Whether a claim held. Verdicts compose by their maximum: valid < unknown < invalid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It held.
    #[default]
    Valid,
    /// It could not be judged.
    Unknown,
    /// It did not hold.
    Invalid,
}

/// What kind of promise was broken; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Something bad happened: exit code 1.
    Safety,
    /// Something good did not happen in time: exit code 2.
    Liveness,
    /// It happened too slowly: exit code 3.
    Latency,
}

/// One contradiction, explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Anomaly {
    /// Which checker found it.
    pub checker: &'static str,
    /// What it is called: `lost-update`, `torn-transaction`; stable, for comparing failures.
    pub code: &'static str,
    /// What kind of promise it breaks.
    pub class: Class,
    /// The table and column that it is about: its roles, for comparing failures; empty where there is none.
    pub role: String,
    /// One sentence: what is wrong.
    pub what: String,
    /// One or two sentences: why that is a contradiction.
    pub because: String,
    /// The events behind it, in words, in order.
    pub evidence: Vec<String>,
    /// Indices of those events in the history, ascending.
    pub events: Vec<usize>,
    /// The operations concerned: (device, op id).
    pub operations: Vec<(u32, i64)>,
    /// The rows that it is about, ascending. Empty where it is about none: the protocol, the queue of a device.
    #[serde(skip)]
    pub rows: Vec<RowId>,
}

/// What decides whether two failures are the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature {
    /// The checker.
    pub checker: String,
    /// The code.
    pub code: String,
    /// The roles of row and column.
    pub role: String,
}

impl Anomaly {
    /// What shrinking keeps.
    #[must_use]
    pub fn signature(&self) -> Signature {
        Signature { checker: self.checker.to_owned(), code: self.code.to_owned(), role: self.role.clone() }
    }
}

/// What one checker says of one history.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Finding {
    /// Whether its claim held.
    pub verdict: Verdict,
    /// The contradictions; not empty when invalid.
    pub anomalies: Vec<Anomaly>,
    /// Why it could not judge; not empty when unknown.
    pub unknown: Vec<String>,
}

impl Finding {
    /// Adds a contradiction.
    pub fn invalid(&mut self, anomaly: Anomaly) {
        self.verdict = Verdict::Invalid;
        self.anomalies.push(anomaly);
    }

    /// Adds something that could not be judged.
    pub fn unknown(&mut self, why: String) {
        self.verdict = self.verdict.max(Verdict::Unknown);
        self.unknown.push(why);
    }
}
