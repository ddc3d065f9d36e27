//! What a run found, each told once: the ways in which plans of all scenarios fail, gathered by what is wrong, with one case
//! for each, and whose claim it breaks.
//!
//! A finding is a scenario's own if the scenario's claims say so, or if its own faults or conflicts brought it about. What the
//! stack does wrong whatever the scenario is told once and takes no scenario's claim.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fixtures::{App, Rule};
use reports::Failure;
use sim_core::fault::FaultName;
use sim_core::plan::Action;
use sim_core::promise::Claim;
use sim_core::run::{FindingRun, MetIn};
use sim_core::scenario::Scenario;
use sim_core::verdict::{Class, Signature};
use sim_core::{Plan, shrink};
use sim_world::TrialConfig;

use super::SHRINKING_MAX;
use super::exit_code::CommandError;
use super::failure::{ShrunkFailure, Written, write_failure};
use crate::campaign::{self, FailedWay, Failing, ScenarioResult};

/// The checker of scenarios' own claims.
const CLAIMS: &str = "claims";

/// How findings are made ready for a report.
pub(super) struct Gathering<'a> {
    pub(super) config: &'a TrialConfig,
    pub(super) scenarios: &'a [(Scenario, u32)],
    /// Where the run's files go.
    pub(super) folder: &'a Path,
    pub(super) workers: usize,
    /// Whether smaller plans are searched for.
    pub(super) searches: bool,
    /// The application, as the user named it.
    pub(super) app: &'a str,
    pub(super) note: &'a (dyn Fn(&str) + Sync),
}

/// What is wrong in the same way: checker, code, and what kind of column or row it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    checker: String,
    code: String,
    about: String,
}

/// The plans that failed in one way.
struct Group<'r> {
    class: Class,
    roles: BTreeSet<String>,
    /// By scenario: the plan, and how it failed.
    plans: Vec<(usize, &'r Failing, &'r FailedWay)>,
}

/// What was found, in the order of the report: first what breaks the claim of a scenario. Each with its case; and which
/// scenarios are called invalid, with the class.
pub(super) struct Findings<'a> {
    pub(super) runs: Vec<FindingRun>,
    pub(super) failures: Vec<Failure<'a>>,
    pub(super) invalid: BTreeMap<usize, Class>,
}

impl<'a> Gathering<'a> {
    /// Gathers what the results hold, and writes a folder for each finding.
    ///
    /// # Errors
    /// When a folder cannot be written.
    pub(super) fn gather(&self, results: &[ScenarioResult]) -> Result<Findings<'a>, CommandError> {
        let mut groups = self.groups(results);
        let mut found: Vec<(FindingRun, Failure<'a>)> = Vec::new();
        let mut invalid: BTreeMap<usize, Class> = BTreeMap::new();
        let mut folders: BTreeSet<String> = BTreeSet::new();
        while let Some(way) = first(&groups) {
            let group = groups.remove(&way).expect("it is one of them");
            let Some((scenario, failing, shown)) = smallest(&group) else { continue };
            let written = self.write(scenario, failing, &shown.signature, &mut folders)?;
            let mut finding = FindingRun {
                checker: way.checker.clone(),
                code: way.code.clone(),
                class: group.class,
                roles: Vec::new(),
                also: Vec::new(),
                shown_from: self.scenario(scenario).name.clone(),
                breaks: Vec::new(),
                met_in: Vec::new(),
                anomalies: written.failure.anomalies.clone(),
                shrunk: written.shrunk.clone(),
            };
            // What else is wrong with the smallest case comes from the same cause.
            let mut same = vec![(way, group)];
            for signature in &written.signatures {
                let way = self.way(signature);
                if let Some(group) = groups.remove(&way) {
                    finding.also.push(format!("{}/{}", way.checker, way.code));
                    same.push((way, group));
                }
            }
            finding.also.dedup();
            finding.roles =
                same.iter().flat_map(|(_, group)| group.roles.clone()).collect::<BTreeSet<_>>().into_iter().collect();
            self.judge(&mut finding, &same, &written.failure.plan, &mut invalid);
            found.push((finding, written.failure));
        }
        found
            .sort_by_key(|(finding, _)| (finding.breaks.is_empty(), finding.class, std::cmp::Reverse(finding.plans())));
        let (runs, failures) = found.into_iter().unzip();
        Ok(Findings { runs, failures, invalid })
    }

    fn scenario(&self, index: usize) -> &'a Scenario {
        &self.scenarios[index].0
    }

    /// All ways in which plans failed.
    fn groups<'r>(&self, results: &'r [ScenarioResult]) -> BTreeMap<Way, Group<'r>> {
        let mut groups: BTreeMap<Way, Group<'r>> = BTreeMap::new();
        for (scenario, result) in results.iter().enumerate() {
            for failing in &result.failing {
                for failed in &failing.ways {
                    let group = groups.entry(self.way(&failed.signature)).or_insert_with(|| Group {
                        class: failed.class,
                        roles: BTreeSet::new(),
                        plans: Vec::new(),
                    });
                    group.class = group.class.min(failed.class);
                    group.roles.insert(failed.signature.role.clone());
                    group.plans.push((scenario, failing, failed));
                }
            }
        }
        groups
    }

    fn way(&self, signature: &Signature) -> Way {
        Way {
            checker: signature.checker.clone(),
            code: signature.code.clone(),
            about: about(&self.config.system.app, &signature.role),
        }
    }

    /// Searches for the smallest plan that fails like this one, and writes its folder.
    fn write(
        &self,
        index: usize,
        failing: &Failing,
        signature: &Signature,
        folders: &mut BTreeSet<String>,
    ) -> Result<Written<'a>, CommandError> {
        let (scenario, plan) = (self.scenario(index), &*failing.plan);
        let config = self.config;
        let smallest = if self.searches {
            (self.note)(&format!("shrinking {}: {} {}", scenario.name, signature.checker, signature.code));
            let (promises, stop) = (&scenario.promises, &config.stop);
            campaign::search_smaller(config, promises, plan, signature, self.workers, SHRINKING_MAX, stop)
        } else {
            shrink::Shrunk { plan: plan.clone(), evaluations: 0, finished: false }
        };
        let names = [
            scenario.name.clone(),
            format!("{}-{}", scenario.name, signature.code),
            format!("{}-{}-{}", scenario.name, signature.checker, signature.code),
        ];
        let numbered = (2..).map(|number| format!("{}-{}-{number}", scenario.name, signature.code));
        let folder = names.into_iter().chain(numbered).find(|name| folders.insert(name.clone()));
        let found = ShrunkFailure {
            scenario,
            folder: folder.expect("some number is free"),
            plan,
            smallest: smallest.plan,
            searched: self.searches,
            signature: signature.clone(),
            seen: failing.seen.clone(),
            app: self.app,
        };
        write_failure(config, self.folder, &found)
    }

    /// Whose claim the finding breaks, and who else met it.
    fn judge(
        &self,
        finding: &mut FindingRun,
        same: &[(Way, Group<'_>)],
        smallest: &Plan,
        invalid: &mut BTreeMap<usize, Class>,
    ) {
        let mut met: BTreeMap<usize, Vec<(&Failing, &FailedWay)>> = BTreeMap::new();
        for (scenario, failing, failed) in same.iter().flat_map(|(_, group)| &group.plans) {
            met.entry(*scenario).or_default().push((failing, failed));
        }
        for (index, failed) in met {
            let plans: BTreeSet<u32> = failed.iter().map(|(failing, _)| failing.index).collect();
            let entry = MetIn { scenario: self.scenario(index).name.clone(), plans: plans.len() };
            if self.is_own(index, &failed, smallest) {
                let worst = failed.iter().map(|(_, failed)| failed.class).min().unwrap_or(finding.class);
                let class = invalid.entry(index).or_insert(worst);
                *class = (*class).min(worst);
                finding.breaks.push(entry);
            } else {
                finding.met_in.push(entry);
            }
        }
    }

    /// Whether the scenario's claims say that it is wrong, or its own faults or conflicts brought it about: what the
    /// smallest case still needs. What keeps devices apart, or makes them late, is no fault in this sense where two of them
    /// write: it is how they come to a conflict.
    fn is_own(&self, index: usize, failed: &[(&Failing, &FailedWay)], smallest: &Plan) -> bool {
        let scenario = self.scenario(index);
        let claims = &scenario.promises.claims;
        if claims.contains(&Claim::EveryChecker)
            || failed.iter().any(|(_, way)| way.signature.checker == CLAIMS || way.class == Class::Latency)
        {
            return true;
        }
        if failed.iter().all(|(_, way)| way.is_of_resumed_traffic) {
            return false;
        }
        let is_conflict = writers(smallest) > 1;
        let own = without(scenario.fault_names(), &SEPARATIONS);
        let needed = without(faults(smallest), if is_conflict { &DELAYS } else { &SEPARATIONS });
        if !needed.is_empty() {
            return !needed.is_disjoint(&own);
        }
        // A scenario without faults is about conflicts; one that claims nothing in particular, about all that it meets.
        own.is_empty() && (claims.is_empty() || is_conflict)
    }
}

/// The kind of column that a role names, or of row: what is wrong with one column of a kind is wrong with all.
fn about(app: &App, role: &str) -> String {
    let kind = role.split_once('.').and_then(|(table, column)| {
        let table = app.schema.table_index(table)?;
        let column = app.schema.tables[table].column_index(column);
        Some(column.map_or("group", |column| match &app.policy.tables[table].rules[column] {
            Rule::Latest => "latest",
            Rule::Max => "max",
            Rule::KeepServer => "keep-server",
            Rule::Counter { .. } => "counter",
            Rule::Set => "set",
        }))
    });
    match kind {
        Some(kind) => kind.to_owned(),
        None if app.schema.table_index(role).is_some() => "row".to_owned(),
        None => role.to_owned(),
    }
}

/// The next way to look at: claims of scenarios first, then by class, then the most frequent.
fn first(groups: &BTreeMap<Way, Group<'_>>) -> Option<Way> {
    let rank = |(way, group): &(&Way, &Group<'_>)| {
        (way.checker != CLAIMS, group.class, std::cmp::Reverse(group.plans.len()), (*way).clone())
    };
    groups.iter().min_by_key(rank).map(|(way, _)| way.clone())
}

/// The smallest plan of a group.
fn smallest<'r>(group: &Group<'r>) -> Option<(usize, &'r Failing, &'r FailedWay)> {
    group
        .plans
        .iter()
        .min_by_key(|(scenario, failing, way)| {
            (failing.plan.operations(), *scenario, failing.index, way.signature.clone())
        })
        .copied()
}

/// The names of the faults in a plan.
fn faults(plan: &Plan) -> BTreeSet<&'static str> {
    let fault = |action: &Action| match action {
        Action::Fault(fault) => Some(fault.name()),
        Action::Tx { .. } => None,
    };
    plan.steps.iter().filter_map(|step| fault(&step.action)).collect()
}

/// What keeps devices apart, so that they come to a conflict.
const SEPARATIONS: [FaultName; 2] = [FaultName::Offline, FaultName::Partition];
/// What merely makes something late: two devices that write come to a conflict by it as well.
const DELAYS: [FaultName; 15] = [
    FaultName::Offline,
    FaultName::Partition,
    FaultName::Slow,
    FaultName::StreamCut,
    FaultName::HalfOpen,
    FaultName::Suspend,
    FaultName::TabClose,
    FaultName::WrongAudience,
    FaultName::KeyRotated,
    FaultName::BackendDown,
    FaultName::ServiceDown,
    FaultName::ServicePaused,
    FaultName::ReplicationStalled,
    FaultName::ReplicationCut,
    FaultName::PostgresPaused,
];

fn without(names: BTreeSet<&'static str>, these: &[FaultName]) -> BTreeSet<&'static str> {
    let these: Vec<&str> = these.iter().map(|name| name.spec().name).collect();
    names.into_iter().filter(|name| !these.contains(name)).collect()
}

/// How many devices write.
fn writers(plan: &Plan) -> usize {
    let devices = plan.steps.iter().chain(&plan.resume).filter_map(|step| match &step.action {
        Action::Tx { device, .. } => Some(*device),
        Action::Fault(_) => None,
    });
    devices.collect::<BTreeSet<u32>>().len()
}
