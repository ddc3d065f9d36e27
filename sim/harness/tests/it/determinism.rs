//! The first thing to trust: one seed, one history, byte for byte.

use std::sync::Arc;

use fixtures::App;
use sim_core::{Seed, workload};
use syncstorm::campaign::judge;
use syncstorm::catalogue;
use syncstorm::device::database::Cabinet;
use syncstorm::trial::Setup;

fn history(app: &Arc<App>, scenario: &str, index: u64, cabinet: &mut Cabinet) -> String {
    let setup = Setup::new(app.clone(), backend::PolicyKind::FieldMerge).expect("the sync configuration is known");
    let all = catalogue::scenarios(app).expect("the built-in scenarios are sound");
    let scenario = all.iter().find(|one| one.name == scenario).expect("the scenario exists");
    let seed = workload::plan_seed(Seed(0xd5), &scenario.name, index);
    let plan = workload::generate(scenario, app, seed);
    let judged = judge(&setup, &scenario.promises, &plan, None, cabinet).expect("the plan runs");
    assert_eq!(judged.failure, None, "{} plan {index}", scenario.name);
    judged.history.to_jsonl(app)
}

/// The same plan on fresh and on recycled databases, in this thread and in another, is the same history.
#[test]
fn a_seed_gives_one_history() {
    let app = Arc::new(App::builtin("flowstate").expect("it is built in"));
    let mut used = Cabinet::new(&app).expect("the core takes the schema");
    for scenario in ["same-field", "everything", "flaky-network", "crash-mid-upload", "laptop-sleep"] {
        for index in 0..2 {
            let first = history(&app, scenario, index, &mut used);
            let mut fresh = Cabinet::new(&app).expect("the core takes the schema");
            assert!(first == history(&app, scenario, index, &mut fresh), "{scenario} {index}: fresh databases differ");
            assert!(first == history(&app, scenario, index, &mut used), "{scenario} {index}: used databases differ");
            let elsewhere = {
                let app = app.clone();
                std::thread::spawn(move || {
                    let mut cabinet = Cabinet::new(&app).expect("the core takes the schema");
                    history(&app, scenario, index, &mut cabinet)
                })
                .join()
                .expect("the other thread ends well")
            };
            assert!(first == elsewhere, "{scenario} {index}: another thread differs");
        }
    }
}
