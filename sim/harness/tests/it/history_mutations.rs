//! The checkers against histories that we break: lawful histories of every scenario and policy, each changed in one
//! place. A changed history must be called invalid, unless a second, naive reading of the change says why a sound stack
//! could have made it.
//!
//! `cargo test --test it -- history_mutations --nocapture` prints which checker sees which change, and which sees it
//! alone.

mod carry;
mod kinds;
mod lawful;
mod table;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backend::PolicyKind;
use fixtures::App;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use sim_core::checker::{Context, check_all};
use sim_core::promise::Promises;
use sim_core::scenario::by_name as scenarios;
use sim_core::verdict::Verdict;
use sim_core::{History, Seed, workload};
use sim_world::TrialConfig;
use syncstorm::campaign;
use syncstorm::databases::WorkerDatabases;

use self::kinds::KINDS;
use self::table::Table;

/// Changed histories in all.
const MUTATIONS: usize = 50_000;
/// Longer histories are left out: one takes the time of many.
const EVENTS_MAX: usize = 500;
const POLICIES: [PolicyKind; 5] = [
    PolicyKind::FieldMerge,
    PolicyKind::RowLatest,
    PolicyKind::VersionCheck,
    PolicyKind::ServerWins,
    PolicyKind::ArrivalOrder,
];

/// A history that every checker holds to be valid.
struct Lawful {
    app: Arc<App>,
    promises: Promises,
    history: History,
}

/// What a history is judged, and by which checkers.
fn judged(lawful: &Lawful, history: &History) -> (Verdict, Vec<&'static str>) {
    let ctx = Context { app: &lawful.app, history, promises: &lawful.promises };
    let report = check_all(&ctx, None);
    let accusing = report.findings.iter().filter(|(_, finding)| finding.verdict == Verdict::Invalid);
    (report.verdict(), accusing.map(|(name, _)| *name).collect())
}

/// Histories of plans of every scenario that runs in the deterministic world, under every policy, of both applications.
fn lawful_histories() -> Vec<Lawful> {
    let mut jobs = Vec::new();
    for name in ["flowstate", "todolists"] {
        let app = Arc::new(App::builtin(name).expect("it is built in"));
        for scenario in scenarios::of_app(&app).expect("the built-in scenarios are sound") {
            if scenario.worlds.is_empty() || scenario.worlds.iter().any(|world| world == "deterministic") {
                jobs.extend(POLICIES.map(|policy| (app.clone(), scenario.clone(), policy)));
            }
        }
    }
    let found = Mutex::new(BTreeMap::new());
    in_parallel(jobs.len(), |next| {
        let mut kept: BTreeMap<String, WorkerDatabases> = BTreeMap::new();
        while let Some(job) = next() {
            let (app, scenario, policy) = &jobs[job];
            let databases = kept
                .entry(app.name.clone())
                .or_insert_with(|| WorkerDatabases::new(app).expect("the client schema is sound"));
            let config = TrialConfig::deterministic(app.clone(), *policy).expect("the sync configuration is known");
            // Of a few plans the first one that is short and valid; a policy that loses writes has few.
            for plan in 0..3 {
                let seed = workload::plan_seed(Seed(0x3a7e), &scenario.name, plan);
                let plan = workload::generate(scenario, app, seed);
                if plan.steps.len() > EVENTS_MAX / 4 {
                    continue;
                }
                let run = campaign::judge(&config, &scenario.promises, &plan, None, databases).expect("it runs");
                let is_short = run.history.events.len() <= EVENTS_MAX;
                if is_short && run.failure.is_none() && run.examined.report.verdict() == Verdict::Valid {
                    let lawful = Lawful { app: app.clone(), promises: scenario.promises.clone(), history: run.history };
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(job, lawful);
                    break;
                }
            }
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Runs on every core; each worker takes numbers below `count` until there are none.
fn in_parallel(count: usize, work: impl Fn(&dyn Fn() -> Option<usize>) + Sync) {
    let next = AtomicUsize::new(0);
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count);
    std::thread::scope(|scope| {
        for _ in 0..syncstorm::commands::workers(None) {
            scope.spawn(|| work(&take));
        }
    });
}

#[test]
fn every_change_of_a_lawful_history_is_seen_or_lawful() {
    let histories = lawful_histories();
    assert!(histories.len() >= 60, "only {} lawful histories", histories.len());
    let table = Mutex::new(Table::default());
    in_parallel(MUTATIONS, |next| {
        let mut own = Table::default();
        while let Some(number) = next() {
            let lawful = &histories[number % histories.len()];
            let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
            // Where a kind of change finds no place, the next kind is tried.
            let first = number / histories.len();
            let changed = (0..KINDS.len()).find_map(|skip| {
                let kind = &KINDS[(first + skip) % KINDS.len()];
                (kind.change)(&mut rng, &lawful.app, &lawful.history).map(|changed| (kind, changed))
            });
            let Some((kind, changed)) = changed else { continue };
            let (verdict, checkers) = judged(lawful, &changed.history);
            let header = &lawful.history.header;
            let place = || format!("{number} {} {} {}: {}", header.app, header.scenario, header.policy, changed.what);
            own.add(kind.name, verdict, &checkers, changed.lawful, place);
        }
        table.lock().unwrap_or_else(PoisonError::into_inner).merge(own);
    });
    let table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} lawful histories\n{}", histories.len(), table.text());
    table.assert_complete(MUTATIONS);
}
