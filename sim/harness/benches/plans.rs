//! How long one plan takes, part by part: made, run with all its devices, judged.
//!
//! `cargo bench` compares with the last run; figures of different machines say nothing to each other.

use std::hint::black_box;
use std::sync::Arc;

use backend::PolicyKind;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use fixtures::App;
use sim_core::checker::{self, Context};
use sim_core::scenario::Scenario;
use sim_core::scenario::by_name as scenarios;
use sim_core::workload::{generate, plan_seed};
use sim_core::{Plan, Seed};
use sim_world::TrialConfig;
use syncstorm::databases::WorkerDatabases;
use syncstorm::trial;

/// Plans that the figures go round through, so that no single one decides.
const ROUND: u64 = 16;

fn plans(c: &mut Criterion) {
    let app = Arc::new(App::builtin("flowstate").expect("it is built in"));
    let config =
        TrialConfig::deterministic(app.clone(), PolicyKind::FieldMerge).expect("the sync configuration is known");
    let scenarios = scenarios::of_app(&app).expect("the built-in scenarios are sound");
    let mut databases = WorkerDatabases::new(&app).expect("the client schema is sound");
    for name in ["same-field", "reference", "everything"] {
        let scenario = scenarios.iter().find(|scenario| scenario.name == name).expect("it is built in");
        let round: Vec<Plan> =
            (0..ROUND).map(|index| generate(scenario, &app, plan_seed(Seed(0x5eed), name, index))).collect();
        let mut group = c.benchmark_group(name);
        group.sample_size(20);
        group.bench_function("generate", |bench| {
            bench.iter(|| generate(scenario, &app, plan_seed(Seed(1), name, black_box(7))))
        });
        let mut next = round.iter().cycle();
        group.bench_function("run", |bench| {
            bench.iter_batched(
                || next.next().expect("a cycle has no end"),
                |plan| trial::run(&config, plan, &scenario.promises, &mut databases).expect("databases can be made"),
                BatchSize::PerIteration,
            );
        });
        judge(&mut group, &config, scenario, &round, &mut databases);
        group.finish();
    }
}

/// Every checker on one history.
fn judge(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    config: &TrialConfig,
    scenario: &Scenario,
    round: &[Plan],
    databases: &mut WorkerDatabases,
) {
    let histories: Vec<_> = round
        .iter()
        .map(|plan| trial::run(config, plan, &scenario.promises, databases).expect("databases can be made").history)
        .collect();
    let mut next = histories.iter().cycle();
    group.bench_function("check", |bench| {
        bench.iter(|| {
            let history = next.next().expect("a cycle has no end");
            let context = Context { app: &config.system.app, history, promises: &scenario.promises };
            checker::examine(&context, None)
        });
    });
}

criterion_group!(benches, plans);
criterion_main!(benches);
