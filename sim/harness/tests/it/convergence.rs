//! Convergence as a property: whatever plan proptest draws, every checker holds under `field-merge`.
//!
//! The way to use Syncstorm from a test of one's own: [`plans`] is a proptest strategy, [`campaign::judge`] runs a
//! plan and judges its history. A failure names the seed of its plan.

use std::cell::RefCell;
use std::sync::Arc;

use backend::PolicyKind;
use fixtures::App;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sim_core::scenario::by_name as scenarios;
use sim_core::verdict::Verdict;
use sim_core::workload::strategy::plans;
use sim_world::TrialConfig;
use syncstorm::campaign;
use syncstorm::databases::WorkerDatabases;

/// Plans of each scenario; proptest draws new ones each time.
const CASES: u32 = 8;

fn holds(name: &str) {
    let app = Arc::new(App::builtin("flowstate").expect("it is built in"));
    let config =
        TrialConfig::deterministic(app.clone(), PolicyKind::FieldMerge).expect("the sync configuration is known");
    let scenarios = scenarios::of_app(&app).expect("the built-in scenarios are sound");
    let scenario = Arc::new(scenarios.into_iter().find(|scenario| scenario.name == name).expect("it is built in"));
    let databases = RefCell::new(WorkerDatabases::new(&app).expect("the client schema is sound"));
    let runner = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let property = |plan: sim_core::Plan| {
        let judged = campaign::judge(&config, &scenario.promises, &plan, None, &mut databases.borrow_mut())
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let report = &judged.examined.report;
        let told: Vec<String> = report.anomalies().map(|anomaly| format!("{anomaly:?}")).collect();
        prop_assert_eq!(judged.failure, None);
        prop_assert_eq!(report.verdict(), Verdict::Valid, "seed {}: {}", plan.seed, told.join("\n"));
        Ok(())
    };
    let ran = TestRunner::new(runner).run(&plans(scenario.clone(), app), property);
    assert!(ran.is_ok(), "{name}: {}", ran.err().map(|error| error.to_string()).unwrap_or_default());
}

#[test]
fn different_fields_of_one_row_converge() {
    holds("different-fields");
}

#[test]
fn the_same_field_converges() {
    holds("same-field");
}

#[test]
fn a_flaky_network_converges() {
    holds("flaky-network");
}
