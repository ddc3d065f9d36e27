//! Many plans on many threads: what a run is made of, folded so that the number of threads never shows.
//!
//! A worker takes the next (scenario, plan), runs and judges it (`judge`); what it found is added up per scenario
//! (`result`). `shrink` searches for smaller plans that fail.

mod judge;
mod result;
mod shrink;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sim_core::checker::coverage;
use sim_core::scenario::Scenario;
use sim_core::verdict::Verdict;
use sim_core::{Seed, workload};
use sim_world::TrialConfig;

pub use judge::{Judged, judge};
pub use result::{FailedWay, Failing, ScenarioResult, totals};
pub use shrink::search_smaller;

use crate::databases::WorkerDatabases;

/// What to run.
pub struct Campaign<'a> {
    /// What the plans run against.
    pub config: &'a TrialConfig,
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

/// Runs all plans, and adds what was found to the result of their scenario; `progress` gets the scenario's number after
/// each.
pub fn run(campaign: &Campaign<'_>, results: &[Mutex<ScenarioResult>], progress: &(dyn Fn(usize) + Sync)) {
    let jobs: Vec<(usize, u32)> = campaign
        .scenarios
        .iter()
        .enumerate()
        .flat_map(|(scenario, (_, plans))| {
            (0..*plans).map(move |index| (scenario, campaign.first.saturating_add(index)))
        })
        .collect();
    work(campaign, &jobs, results, progress);
}

/// Runs further plans, two at a time and `plans_max` in all, of scenarios that are valid so far and in which not
/// everything has occurred that must: where plans are dear, few are run, and few may miss something by chance.
pub fn further(
    campaign: &Campaign<'_>,
    results: &[Mutex<ScenarioResult>],
    plans_max: u32,
    progress: &(dyn Fn(usize) + Sync),
) {
    loop {
        let is_vacuous = |scenario: &Scenario, result: &ScenarioResult| {
            result.verdict == Verdict::Valid
                && !coverage::missing(&scenario.promises.must_occur, &result.occurred).is_empty()
        };
        let known: Vec<ScenarioResult> = results.iter().map(|result| lock(result).clone()).collect();
        let jobs: Vec<(usize, u32)> = (0..)
            .zip(campaign.scenarios.iter().zip(&known))
            .filter(|(_, ((scenario, planned), result))| {
                // One that did not run as often as it was to has another reason to be unknown.
                *planned > 0 && result.plans >= *planned && result.plans < plans_max && is_vacuous(scenario, result)
            })
            .flat_map(|(index, (_, result))| {
                let plans = result.plans..plans_max.min(result.plans + 2);
                plans.map(move |plan| (index, campaign.first.saturating_add(plan)))
            })
            .collect();
        if jobs.is_empty() || campaign.stop.load(Ordering::Relaxed) {
            return;
        }
        work(campaign, &jobs, results, progress);
    }
}

fn work(
    campaign: &Campaign<'_>,
    jobs: &[(usize, u32)],
    results: &[Mutex<ScenarioResult>],
    progress: &(dyn Fn(usize) + Sync),
) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..campaign.workers.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| worker(campaign, jobs, &next, results, progress));
        }
    });
}

fn worker(
    campaign: &Campaign<'_>,
    jobs: &[(usize, u32)],
    next: &AtomicUsize,
    results: &[Mutex<ScenarioResult>],
    progress: &(dyn Fn(usize) + Sync),
) {
    let mut databases = match WorkerDatabases::new(&campaign.config.system.app) {
        Ok(databases) => Some(databases),
        Err(error) => {
            if let Some(first) = results.first() {
                lock(first).broken.insert(0, format!("the client schema: {error}"));
            }
            None
        }
    };
    while let Some(databases) = databases.as_mut() {
        let job = next.fetch_add(1, Ordering::Relaxed);
        let Some((scenario, index)) = jobs.get(job).copied() else { return };
        if campaign.stop.load(Ordering::Relaxed) {
            return;
        }
        let began = Instant::now();
        let (definition, _) = &campaign.scenarios[scenario];
        let seed = workload::plan_seed(campaign.seed, &definition.name, u64::from(index));
        let plan = Arc::new(workload::generate(definition, &campaign.config.system.app, seed));
        let judged = judge(campaign.config, &definition.promises, &plan, campaign.checkers.as_deref(), databases);
        if judged.as_ref().is_ok_and(|judged| judged.interrupted) {
            if let Ok(Some(left)) = judged.map(|judged| judged.left_behind) {
                lock(&results[scenario]).left_behind.insert(index, left);
            }
            return;
        }
        lock(&results[scenario]).add(index, &plan, judged, began.elapsed());
        progress(scenario);
    }
}

/// What is known of a scenario.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
