//! Many plans on many threads: what a run is made of, folded so that the number of threads never shows.
//!
//! A worker takes the next (scenario, plan), runs it and judges it; what it found is added up per scenario. Sums do
//! not depend on order, and of failing plans the lowest numbers are kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sim_core::checker::{self, Context, Examined, coverage, latency::Samples};
use sim_core::history::{What, Who};
use sim_core::run::{CheckerCount, Division, Totals};
use sim_core::scenario::Scenario;
use sim_core::verdict::{Class, Signature, Verdict};
use sim_core::{History, Plan, Seed, workload};

use crate::device::database::Cabinet;
use crate::trial::{self, Setup};

/// How many failing plans of a scenario are remembered.
const FAILURES_KEPT: usize = 64;

/// How often in a row a plan must fail where time is real, that was shrunk where it is not.
const CONFIRMATIONS: usize = 3;

/// What to run.
pub struct Campaign<'a> {
    /// What the plans run against.
    pub setup: &'a Setup,
    /// The scenarios, with how many plans each gets.
    pub scenarios: &'a [(Scenario, u32)],
    /// The run's seed.
    pub seed: Seed,
    /// The number of each scenario's first plan.
    pub first: u32,
    /// Threads.
    pub workers: usize,
    /// Only these checkers.
    pub checkers: Option<Vec<&'static str>>,
    /// Set when the user wants no more: what was judged by then is reported.
    pub stop: &'a AtomicBool,
}

/// What one plan came to.
#[derive(Debug)]
pub struct Judged {
    /// What was seen.
    pub history: History,
    /// What it means.
    pub examined: Examined,
    /// Time inside SQLite and the core.
    pub sqlite_time: Duration,
    /// Time in the checkers.
    pub checker_time: Duration,
    /// Plan time that passed.
    pub simulated: Duration,
    /// Why this is no evidence.
    pub failure: Option<String>,
}

/// A plan that was not judged valid.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Its number within the scenario.
    pub index: u32,
    /// The operations in it.
    pub operations: usize,
    /// How it fails: one a distinct signature, with the class of each.
    pub signatures: Vec<(Signature, Class)>,
    /// What was seen, where another run of the plan may see something else.
    pub seen: Option<Arc<Judged>>,
}

/// What was found out about one scenario.
#[derive(Clone, Debug, Default)]
pub struct Tally {
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
    /// Sums.
    pub totals: Totals,
}

/// Runs a plan and judges it.
///
/// # Errors
/// When the devices' databases could not be made.
pub fn judge(
    setup: &Setup,
    scenario: &sim_core::promise::Promises,
    plan: &Plan,
    only: Option<&[&str]>,
    cabinet: &mut Cabinet,
) -> Result<Judged, crate::device::host::HostError> {
    let outcome = trial::run(setup, plan, scenario, cabinet)?;
    let began = Instant::now();
    let ctx = Context { app: &setup.app, history: &outcome.history, promises: scenario };
    let examined = checker::examine(&ctx, only);
    Ok(Judged {
        checker_time: began.elapsed(),
        examined,
        history: outcome.history,
        sqlite_time: outcome.sqlite_time,
        simulated: outcome.simulated,
        failure: outcome.failure,
    })
}

/// Runs all plans; `progress` is told the scenario's number after each.
pub fn run(campaign: &Campaign<'_>, progress: &(dyn Fn(usize) + Sync)) -> Vec<Tally> {
    let jobs: Vec<(usize, u32)> = campaign
        .scenarios
        .iter()
        .enumerate()
        .flat_map(|(scenario, (_, plans))| (0..*plans).map(move |index| (scenario, campaign.first.saturating_add(index))))
        .collect();
    let mut tallies = campaign.scenarios.iter().map(|_| Tally::default()).collect();
    work(campaign, &jobs, &mut tallies, progress);
    tallies
}

/// Runs further plans, two at a time and `plans_max` in all, of scenarios that are valid so far and in which not
/// everything has occurred that must: where plans are dear, few are run, and few may miss something by chance.
pub fn further(campaign: &Campaign<'_>, tallies: &mut Vec<Tally>, plans_max: u32, progress: &(dyn Fn(usize) + Sync)) {
    loop {
        let is_vacuous = |scenario: &Scenario, tally: &Tally| {
            tally.verdict == Verdict::Valid
                && !coverage::missing(&scenario.promises.must_occur, &tally.occurred).is_empty()
        };
        let jobs: Vec<(usize, u32)> = (0..)
            .zip(campaign.scenarios.iter().zip(tallies.iter()))
            .filter(|(_, ((scenario, planned), tally))| {
                // One that did not run as often as it was to has another reason to be unknown.
                *planned > 0 && tally.plans >= *planned && tally.plans < plans_max && is_vacuous(scenario, tally)
            })
            .flat_map(|(index, (_, tally))| {
                let plans = tally.plans..plans_max.min(tally.plans + 2);
                plans.map(move |plan| (index, campaign.first.saturating_add(plan)))
            })
            .collect();
        if jobs.is_empty() || campaign.stop.load(Ordering::Relaxed) {
            return;
        }
        work(campaign, &jobs, tallies, progress);
    }
}

fn work(campaign: &Campaign<'_>, jobs: &[(usize, u32)], tallies: &mut Vec<Tally>, progress: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let shared: Vec<Mutex<Tally>> = std::mem::take(tallies).into_iter().map(Mutex::new).collect();
    std::thread::scope(|scope| {
        for _ in 0..campaign.workers.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| worker(campaign, jobs, &next, &shared, progress));
        }
    });
    tallies.extend(shared.into_iter().map(|tally| tally.into_inner().unwrap_or_else(PoisonError::into_inner)));
}

fn worker(
    campaign: &Campaign<'_>,
    jobs: &[(usize, u32)],
    next: &AtomicUsize,
    tallies: &[Mutex<Tally>],
    progress: &(dyn Fn(usize) + Sync),
) {
    let mut cabinet = match Cabinet::new(&campaign.setup.app) {
        Ok(cabinet) => Some(cabinet),
        Err(error) => {
            if let Some(first) = tallies.first() {
                lock(first).broken.insert(0, format!("the client schema: {error}"));
            }
            None
        }
    };
    while let Some(cabinet) = cabinet.as_mut() {
        let job = next.fetch_add(1, Ordering::Relaxed);
        let Some((scenario, index)) = jobs.get(job).copied() else { return };
        if campaign.stop.load(Ordering::Relaxed) {
            return;
        }
        let began = Instant::now();
        let (definition, _) = &campaign.scenarios[scenario];
        let seed = workload::plan_seed(campaign.seed, &definition.name, u64::from(index));
        let plan = workload::generate(definition, &campaign.setup.app, seed);
        let judged = judge(campaign.setup, &definition.promises, &plan, campaign.checkers.as_deref(), cabinet);
        lock(&tallies[scenario]).add(index, &plan, judged, began.elapsed());
        progress(scenario);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    fn add(
        &mut self,
        index: u32,
        plan: &Plan,
        judged: Result<Judged, crate::device::host::HostError>,
        spent: Duration,
    ) {
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
            let mut signatures: Vec<(Signature, Class)> = Vec::new();
            for anomaly in report.anomalies() {
                let signature = anomaly.signature();
                if !signatures.iter().any(|(known, _)| *known == signature) {
                    signatures.push((signature, anomaly.class));
                }
            }
            failing = Some(Failing { index, operations: plan.operations(), signatures, seen: None });
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

fn merge(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *into.entry(name.clone()).or_default() += count;
    }
}

/// Adds up the totals of all scenarios.
#[must_use]
pub fn totals(tallies: &[Tally], wall: Duration) -> Totals {
    let mut sum = Totals::default();
    for tally in tallies {
        let one = &tally.totals;
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

/// Whether a plan fails with the signature.
fn fails_alike(
    setup: &Setup,
    promises: &sim_core::promise::Promises,
    plan: &Plan,
    signature: &Signature,
    cabinet: &mut Cabinet,
) -> bool {
    judge(setup, promises, plan, Some(&[signature.checker.as_str()]), cabinet).is_ok_and(|judged| {
        judged.failure.is_none() && judged.examined.report.anomalies().any(|one| one.signature() == *signature)
    })
}

/// Searches for a smaller plan that fails with the same signature.
///
/// Where time is real a plan takes a second. If the deterministic world shows the same failure, the search is made
/// there, and what it finds is tried where it belongs.
#[must_use]
pub fn shrink(
    setup: &Setup,
    promises: &sim_core::promise::Promises,
    plan: &Plan,
    signature: &Signature,
    workers: usize,
    patience: Duration,
    stop: &AtomicBool,
) -> sim_core::shrink::Shrunk {
    if setup.world.time().is_virtual() {
        return search(setup, promises, plan, signature, workers, patience, stop);
    }
    if let Ok(mut cabinet) = Cabinet::new(&setup.app) {
        let elsewhere = Setup { world: crate::world::Kind::Deterministic, ..setup.clone() };
        if fails_alike(&elsewhere, promises, plan, signature, &mut cabinet) {
            let found = search(&elsewhere, promises, plan, signature, workers, patience, stop);
            // A plan that two servers race over fails now and then: that is none to hand back.
            if (0..CONFIRMATIONS).all(|_| fails_alike(setup, promises, &found.plan, signature, &mut cabinet)) {
                return found;
            }
        }
    }
    search(setup, promises, plan, signature, workers, 4 * patience, stop)
}

fn search(
    setup: &Setup,
    promises: &sim_core::promise::Promises,
    plan: &Plan,
    signature: &Signature,
    workers: usize,
    patience: Duration,
    stop: &AtomicBool,
) -> sim_core::shrink::Shrunk {
    let deadline = Instant::now() + patience;
    let cabinets: Vec<Mutex<Option<Cabinet>>> = (0..workers.max(1)).map(|_| Mutex::new(None)).collect();
    let fails = |candidate: &Plan, cabinet: &mut Option<Cabinet>| -> bool {
        if cabinet.is_none() {
            *cabinet = Cabinet::new(&setup.app).ok();
        }
        let Some(cabinet) = cabinet.as_mut() else { return false };
        fails_alike(setup, promises, candidate, signature, cabinet)
    };
    let mut first = |candidates: &[Plan]| -> Option<usize> {
        let next = AtomicUsize::new(0);
        let found = AtomicUsize::new(usize::MAX);
        std::thread::scope(|scope| {
            for cabinet in &cabinets {
                scope.spawn(|| {
                    let mut cabinet = lock(cabinet);
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        // A candidate behind one that fails cannot be the first.
                        if index >= candidates.len() || index > found.load(Ordering::Relaxed) {
                            return;
                        }
                        if fails(&candidates[index], &mut cabinet) {
                            found.fetch_min(index, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let found = found.into_inner();
        (found < usize::MAX).then_some(found)
    };
    let limits = sim_core::shrink::Limits { evaluations_max: 1200, ..Default::default() };
    sim_core::shrink::shrink(plan, limits, &mut first, &mut || {
        stop.load(Ordering::Relaxed) || Instant::now() >= deadline
    })
}
