//! The first thing to trust: one seed, one history, byte for byte.

use std::sync::Arc;

use fixtures::App;
use sim_core::scenario::by_name as scenarios;
use sim_core::{Seed, workload};
use sim_world::TrialConfig;
use syncstorm::campaign::judge;
use syncstorm::databases::WorkerDatabases;

fn history(app: &Arc<App>, scenario: &str, index: u64, databases: &mut WorkerDatabases) -> String {
    let config = TrialConfig::deterministic(app.clone(), backend::PolicyKind::FieldMerge)
        .expect("the sync configuration is known");
    let all = scenarios::of_app(app).expect("the built-in scenarios are sound");
    let scenario = all.iter().find(|one| one.name == scenario).expect("the scenario exists");
    let seed = workload::plan_seed(Seed(0xd5), &scenario.name, index);
    let plan = workload::generate(scenario, app, seed);
    let judged = judge(&config, &scenario.promises, &plan, None, databases).expect("the plan runs");
    assert_eq!(judged.failure, None, "{} plan {index}", scenario.name);
    judged.history.to_jsonl(app)
}

fn same(first: &str, second: &str, scenario: &str, where_: &str) {
    let differ = first.lines().zip(second.lines()).enumerate().find(|(_, (one, other))| one != other);
    if let Some((line, (one, other))) = differ {
        panic!("{scenario}, {where_}, line {line}:\n{one}\n{other}");
    }
    assert_eq!(first.len(), second.len(), "{scenario}, {where_}: one history goes on");
}

/// The same plan on fresh and on recycled databases, in this thread and in another, is the same history.
#[test]
fn a_seed_gives_one_history() {
    let app = Arc::new(App::builtin("flowstate").expect("it is built in"));
    let mut used = WorkerDatabases::new(&app).expect("the core takes the schema");
    for scenario in ["same-field", "everything", "flaky-network", "crash-mid-upload", "laptop-sleep"] {
        for index in 0..2 {
            let first = history(&app, scenario, index, &mut used);
            let mut fresh = WorkerDatabases::new(&app).expect("the core takes the schema");
            same(&first, &history(&app, scenario, index, &mut fresh), scenario, "fresh databases");
            same(&first, &history(&app, scenario, index, &mut used), scenario, "used databases");
            let elsewhere = {
                let app = app.clone();
                std::thread::spawn(move || {
                    let mut databases = WorkerDatabases::new(&app).expect("the core takes the schema");
                    history(&app, scenario, index, &mut databases)
                })
                .join()
                .expect("the other thread ends well")
            };
            same(&first, &elsewhere, scenario, "another thread");
        }
    }
}
