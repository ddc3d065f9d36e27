//! The summary of a run: what `--json` prints and every report shows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::verdict::{Anomaly, Class, Verdict};

/// The format of the JSON form.
pub const VERSION: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// [`VERSION`].
    pub version: u32,
    /// The run's seed.
    pub seed: String,
    /// `deterministic`, `embedded`, `containers`, `external`.
    pub world: String,
    /// The application.
    pub app: String,
    /// The upload policy.
    pub policy: String,
    /// The commit that the program was built from, or `unknown`.
    pub commit: String,
    /// What was found, each told once: first what contradicts the claim of a scenario.
    pub findings: Vec<FindingRun>,
    /// One entry a scenario, in the order of the names.
    pub scenarios: Vec<ScenarioRun>,
    /// Sums over all scenarios.
    pub totals: Totals,
}

/// One finding: what went wrong in the same way, in whichever scenarios.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingRun {
    /// The checker.
    pub checker: String,
    /// Its stable code.
    pub code: String,
    /// The kind of promise that is broken.
    pub class: Class,
    /// The roles of rows and columns that it was met on, ascending.
    pub roles: Vec<String>,
    /// What else the case that is shown breaks: `checker/code`.
    pub also: Vec<String>,
    /// The scenario whose plan is shown.
    pub shown_from: String,
    /// The scenarios whose claim it breaks.
    pub breaks: Vec<MetIn>,
    /// Scenarios that met it although it is no matter of theirs: their claims stand.
    pub met_in: Vec<MetIn>,
    /// The contradictions of the plan shown, one a signature.
    pub anomalies: Vec<AnomalyText>,
    /// The plan shown: the smallest found that fails the same way, unless nobody searched.
    pub shrunk: Shrunk,
}

impl FindingRun {
    /// In how many plans it was met.
    #[must_use]
    pub fn plans(&self) -> usize {
        self.breaks.iter().chain(&self.met_in).map(|met| met.plans).sum()
    }
}

/// A scenario that met a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetIn {
    /// Its name.
    pub scenario: String,
    /// How many of its plans did; at most 64 failing plans of a scenario are remembered.
    pub plans: usize,
}

/// What came of one scenario.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScenarioRun {
    /// Its name.
    pub name: String,
    /// Its claim, one sentence.
    pub claim: String,
    /// Claims of the scenario that were judged, by name. Where there is none, the checkers of every run judged alone, and
    /// nothing judged the sentence by itself.
    pub claims: Vec<&'static str>,
    /// Claims of the scenario that the policy does not owe, by name: nobody judged them.
    pub not_owed: Vec<&'static str>,
    /// How many plans ran.
    pub plans: u32,
    /// Over all plans, as far as the scenario's own claim goes: what it met that is no matter of its own is among the
    /// findings of the run, and does not make it invalid.
    pub verdict: Verdict,
    /// The kind of promise that was broken first, by exit code.
    pub class: Option<Class>,
    /// Concurrent writes of one register, over all plans.
    pub conflicts: u64,
    /// Accepted writes that were overridden lawfully by a write that had not seen them, by rule.
    pub overridden: BTreeMap<String, u64>,
    /// Everything that coverage counts, by name.
    pub occurred: BTreeMap<String, u64>,
    /// How many plans each checker called invalid, and unknown.
    pub checkers: BTreeMap<String, CheckerCount>,
    /// What could not be judged, or why the scenario is vacuous.
    pub unknown: Vec<String>,
    /// Why the scenario did not run in this world.
    pub not_run: Option<String>,
    /// Simulated end-to-end latency: local commit to applied on each other device, in milliseconds.
    pub latency_ms: Option<Percentiles>,
    /// Per hop: `commit-to-send`, `send-to-server`, `server-to-device`, `arrival-to-apply`.
    pub hops_ms: BTreeMap<String, Percentiles>,
    /// How many plans failed.
    pub failed_plans: u32,
    /// The ways in which they failed, most frequent first.
    pub failures: Vec<FailureKind>,
}

/// One way to fail, and the plans that did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureKind {
    /// The checker.
    pub checker: String,
    /// Its stable code.
    pub code: String,
    /// The roles of row and column.
    pub role: String,
    /// The kind of promise.
    pub class: Class,
    /// The numbers of the plans, ascending; at most 64 failing plans of a scenario are remembered.
    pub plans: Vec<u32>,
}

/// How often one checker did not say valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckerCount {
    /// Plans that it judged valid.
    pub valid: u32,
    /// Plans that it could not judge.
    pub unknown: u32,
    /// Plans that it judged invalid.
    pub invalid: u32,
}

/// An anomaly for people and machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnomalyText {
    /// The checker.
    pub checker: String,
    /// Its stable code.
    pub code: String,
    /// What is wrong.
    pub what: String,
    /// Why that is a contradiction.
    pub because: String,
    /// The events behind it, in words.
    pub evidence: Vec<String>,
    /// Whether a plain convergence check (all devices equal in the end) would have passed this history.
    pub passes_plain_convergence: bool,
    /// Indices of those events in the history of the plan shown, ascending: what diagrams highlight.
    pub events: Vec<usize>,
}

impl AnomalyText {
    /// The words of an anomaly, for the history that it was found in.
    #[must_use]
    pub fn new(anomaly: &Anomaly, passes_plain_convergence: bool) -> Self {
        Self {
            checker: anomaly.checker.to_owned(),
            code: anomaly.code.to_owned(),
            what: anomaly.what.clone(),
            because: anomaly.because.clone(),
            evidence: anomaly.evidence.clone(),
            passes_plain_convergence,
            events: anomaly.events.clone(),
        }
    }
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// 95th.
    pub p95: u64,
    /// 99th.
    pub p99: u64,
    /// Greatest.
    pub max: u64,
}

/// The plan that stands for a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shrunk {
    /// Whether a smaller one was searched for.
    pub searched: bool,
    /// Operations left.
    pub operations: usize,
    /// Faults left.
    pub faults: usize,
    /// Devices left.
    pub devices: usize,
    /// The folder to hand to `replay`.
    pub path: String,
}

/// Sums over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Plans that ran, shrinking not counted.
    pub plans: u64,
    /// Local transactions.
    pub transactions: u64,
    /// Operations queued by them.
    pub operations: u64,
    /// Plan time.
    pub simulated_seconds: f64,
    /// Time on the wall.
    pub wall_seconds: f64,
    /// Plans by wall time.
    pub plans_per_second: f64,
    /// How the workers' time divides, in seconds.
    pub time: Division,
}

/// How the workers' time divides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Division {
    /// Inside SQLite and the sync core.
    pub sqlite_seconds: f64,
    /// Checkers.
    pub checkers_seconds: f64,
    /// Everything else: servers, network, scheduling, histories.
    pub other_seconds: f64,
}

/// What came of one planted defect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MutantResult {
    /// The defect's name.
    pub name: String,
    /// The part that it was planted in.
    #[serde(rename = "where")]
    pub place: Place,
    /// Whether a checker called a plan with it invalid.
    pub caught: bool,
    /// The checker that caught it first.
    pub checker: Option<String>,
    /// Plans that ran until it was caught, or in all.
    pub plans: u32,
    /// The scenario in which it was looked for.
    pub scenario: String,
    /// Every checker that calls the plan that caught it invalid, ascending.
    pub checkers: Vec<String>,
    /// Operations of the smallest plan that fails the same way, where that was searched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smallest: Option<usize>,
}

/// The part of the stack that a defect is planted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// How conflicts are decided.
    Policy,
    /// How the backend stores.
    Store,
    /// The sync service.
    Service,
    /// The client engine.
    Engine,
    /// The network between them.
    Network,
}

impl Place {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Store => "store",
            Self::Service => "service",
            Self::Engine => "engine",
            Self::Network => "network",
        }
    }
}
