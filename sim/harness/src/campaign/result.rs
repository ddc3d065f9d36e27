//! What a campaign found out about each scenario: sums that do not depend on the order of plans, and of failing plans the
//! lowest numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sim_core::Plan;
use sim_core::checker::latency::Samples;
use sim_core::history::{What, Who};
use sim_core::plan::RESUMED_ACTIVITY;
use sim_core::run::{CheckerCount, Division, Totals};
use sim_core::verdict::{Class, Signature, Verdict};

use super::judge::Judged;
use crate::databases::DatabaseError;

/// How many failing plans of a scenario are remembered.
const FAILURES_KEPT: usize = 64;

/// A plan that was not judged valid.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Its number within the scenario.
    pub index: u32,
    /// The plan, as it was drawn.
    pub plan: Arc<Plan>,
    /// How it fails: one a distinct signature.
    pub ways: Vec<FailedWay>,
    /// What was seen, where another run of the plan may see something else.
    pub seen: Option<Arc<Judged>>,
}

/// One way in which a plan fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedWay {
    /// Checker, code and roles.
    pub signature: Signature,
    /// The kind of promise.
    pub class: Class,
    /// Whether the operations concerned are all of the traffic that is resumed when everything has settled.
    pub is_of_resumed_traffic: bool,
}

/// What was found out about one scenario.
#[derive(Clone, Debug, Default)]
pub struct ScenarioResult {
    /// Plans judged.
    pub plans: u32,
    /// The worst verdict.
    pub verdict: Verdict,
    /// How each checker judged.
    pub checkers: BTreeMap<String, CheckerCount>,
    /// Pairs of concurrent writes.
    pub conflicts: u64,
    /// Accepted writes overridden by rule.
    pub overridden: BTreeMap<String, u64>,
    /// What occurred.
    pub occurred: BTreeMap<String, u64>,
    /// Latency.
    pub latency: Samples,
    /// What could not be judged, by plan.
    pub unknown: BTreeMap<u32, Vec<String>>,
    /// Plans that failed, those with the lowest numbers.
    pub failing: Vec<Failing>,
    /// How many failed.
    pub failed: u32,
    /// What the harness itself could not do, by plan.
    pub broken: BTreeMap<u32, String>,
    /// What plans have left in somebody else's database, by plan.
    pub left_behind: BTreeMap<u32, String>,
    /// Sums.
    pub totals: Totals,
}

impl ScenarioResult {
    pub(super) fn add(&mut self, index: u32, plan: &Arc<Plan>, judged: Result<Judged, DatabaseError>, spent: Duration) {
        let judged = match judged {
            Ok(judged) => judged,
            Err(error) => {
                self.broken.insert(index, error.to_string());
                return;
            }
        };
        if let Some(failure) = &judged.failure {
            self.broken.insert(index, failure.clone());
        }
        if let Some(left) = &judged.left_behind {
            self.left_behind.insert(index, left.clone());
        }
        self.plans += 1;
        let report = &judged.examined.report;
        self.verdict = self.verdict.max(report.verdict());
        for (name, finding) in &report.findings {
            let count = self.checkers.entry((*name).to_owned()).or_default();
            match finding.verdict {
                Verdict::Valid => count.valid += 1,
                Verdict::Unknown => count.unknown += 1,
                Verdict::Invalid => count.invalid += 1,
            }
            if !finding.unknown.is_empty() {
                let why = finding.unknown.iter().map(|why| format!("{name}: {why}"));
                self.unknown.entry(index).or_default().extend(why);
            }
        }
        let mut failing = None;
        if report.verdict() == Verdict::Invalid {
            self.failed += 1;
            failing = Some(Failing { index, plan: plan.clone(), ways: ways(&judged), seen: None });
        }
        self.conflicts += judged.examined.stats.conflicts;
        merge(&mut self.overridden, &judged.examined.stats.overridden);
        merge(&mut self.occurred, &judged.examined.occurred);
        self.latency.merge(&judged.examined.latency);
        let totals = &mut self.totals;
        totals.plans += 1;
        for event in &judged.history.events {
            if let (Who::Client(_), What::Tx(tx)) = (event.who, &event.what)
                && tx.tx_id.is_some()
            {
                totals.transactions += 1;
                totals.operations += tx.ops.len() as u64;
            }
        }
        totals.simulated_seconds += judged.simulated.as_secs_f64();
        let other = spent.saturating_sub(judged.sqlite_time).saturating_sub(judged.checker_time);
        totals.time.sqlite_seconds += judged.sqlite_time.as_secs_f64();
        totals.time.checkers_seconds += judged.checker_time.as_secs_f64();
        totals.time.other_seconds += other.as_secs_f64();
        if let Some(failing) = failing {
            let seen = (!judged.history.header.time.is_virtual()).then(|| Arc::new(judged));
            self.failing.push(Failing { seen, ..failing });
            self.failing.sort_by_key(|failing| failing.index);
            self.failing.truncate(FAILURES_KEPT);
        }
    }
}

/// The ways in which a plan failed.
fn ways(judged: &Judged) -> Vec<FailedWay> {
    let resumed: BTreeSet<(u32, i64)> = judged
        .history
        .events
        .iter()
        .filter_map(|event| match (event.who, &event.what) {
            (Who::Client(device), What::Tx(tx)) if tx.activity == RESUMED_ACTIVITY => Some((device, tx)),
            _ => None,
        })
        .flat_map(|(device, tx)| tx.ops.iter().map(move |op| (device, op.op_id)))
        .collect();
    let mut ways: Vec<FailedWay> = Vec::new();
    for anomaly in judged.examined.report.anomalies() {
        let of = &anomaly.operations;
        let is_of_resumed_traffic = !of.is_empty() && of.iter().all(|operation| resumed.contains(operation));
        let signature = anomaly.signature();
        match ways.iter_mut().find(|way| way.signature == signature) {
            Some(way) => way.is_of_resumed_traffic &= is_of_resumed_traffic,
            None => ways.push(FailedWay { signature, class: anomaly.class, is_of_resumed_traffic }),
        }
    }
    ways
}

fn merge(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *into.entry(name.clone()).or_default() += count;
    }
}

/// Adds up the totals of all scenarios.
#[must_use]
pub fn totals(results: &[ScenarioResult], wall: Duration) -> Totals {
    let mut sum = Totals::default();
    for result in results {
        let one = &result.totals;
        sum.plans += one.plans;
        sum.transactions += one.transactions;
        sum.operations += one.operations;
        sum.simulated_seconds += one.simulated_seconds;
        sum.time = Division {
            sqlite_seconds: sum.time.sqlite_seconds + one.time.sqlite_seconds,
            checkers_seconds: sum.time.checkers_seconds + one.time.checkers_seconds,
            other_seconds: sum.time.other_seconds + one.time.other_seconds,
        };
    }
    sum.wall_seconds = wall.as_secs_f64();
    sum.plans_per_second = if sum.wall_seconds > 0.0 { sum.plans as f64 / sum.wall_seconds } else { 0.0 };
    sum
}
