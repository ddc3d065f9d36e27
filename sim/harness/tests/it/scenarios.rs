//! Every scenario file, a few plans each: valid under `field-merge`; and the baseline is caught.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use backend::PolicyKind;
use fixtures::App;
use sim_core::Seed;
use sim_core::scenario::Scenario;
use sim_core::scenario::by_name as scenarios;
use sim_core::verdict::{Class, Verdict};
use sim_world::TrialConfig;
use syncstorm::campaign::{self, Campaign, FailedWay, ScenarioResult};

fn run(app: &str, policy: PolicyKind, names: &[&str], plans: u32) -> Vec<(Scenario, ScenarioResult)> {
    let app = Arc::new(App::builtin(app).expect("it is built in"));
    let config = TrialConfig::deterministic(app.clone(), policy).expect("the sync configuration is known");
    let all = scenarios::of_app(&app).expect("the built-in scenarios are sound");
    let chosen: Vec<(Scenario, u32)> = all
        .into_iter()
        .filter(|scenario| scenario.worlds.is_empty() || scenario.worlds.iter().any(|world| world == "deterministic"))
        .filter(|scenario| names.is_empty() || names.contains(&scenario.name.as_str()))
        // The scenarios with few plans are the long ones.
        .map(|scenario| (scenario.plans.min(plans), scenario))
        .map(|(plans, scenario)| (scenario.clone(), if scenario.plans < 20 { 1 } else { plans }))
        .collect();
    judged(&config, chosen)
}

/// Runs plans of each scenario, on every core, and judges them.
pub(crate) fn judged(config: &TrialConfig, chosen: Vec<(Scenario, u32)>) -> Vec<(Scenario, ScenarioResult)> {
    let stop = AtomicBool::new(false);
    let campaign = Campaign {
        config,
        scenarios: &chosen,
        seed: Seed(0x7e57),
        first: 0,
        workers: syncstorm::commands::workers(None),
        checkers: None,
        stop: &stop,
    };
    let tallies: Vec<Mutex<ScenarioResult>> = chosen.iter().map(|_| Mutex::default()).collect();
    campaign::run(&campaign, &tallies, &|_| {});
    let tallies = tallies.into_iter().map(|tally| tally.into_inner().expect("no worker panicked"));
    chosen.into_iter().map(|(scenario, _)| scenario).zip(tallies).collect()
}

/// What is wrong with a scenario's plans, in words.
pub(crate) fn told(tally: &ScenarioResult) -> String {
    let mut lines: Vec<String> = Vec::new();
    for failing in &tally.failing {
        for FailedWay { signature, .. } in &failing.ways {
            lines.push(format!("plan {}: {} {} {}", failing.index, signature.checker, signature.code, signature.role));
        }
    }
    lines.extend(tally.unknown.iter().map(|(plan, why)| format!("plan {plan}: unknown: {}", why.join("; "))));
    lines.extend(tally.broken.iter().map(|(plan, why)| format!("plan {plan}: harness: {why}")));
    lines.join("\n  ")
}

#[test]
fn every_scenario_holds_under_field_merge() {
    let mut wrong = Vec::new();
    for app in ["flowstate", "todolists"] {
        for (scenario, tally) in run(app, PolicyKind::FieldMerge, &[], 4) {
            if tally.verdict != Verdict::Valid || !tally.broken.is_empty() {
                wrong.push(format!("{app} {}:\n  {}", scenario.name, told(&tally)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the baseline upload handler does wrong, each by a scenario of its own.
#[test]
fn the_baseline_is_caught() {
    let expected: BTreeMap<&str, Class> = [
        ("same-field", Class::Safety),
        ("edit-meets-delete", Class::Safety),
        ("create-same-setting", Class::Liveness),
        ("pomodoro-counter", Class::Safety),
        ("tag-sets", Class::Safety),
        ("canvas-move", Class::Safety),
        ("reparent-cycle", Class::Safety),
        ("timer-leader", Class::Safety),
        ("lost-reply", Class::Safety),
        ("dependency-sets", Class::Safety),
        ("save-whole-row", Class::Safety),
    ]
    .into();
    let names: Vec<&str> = expected.keys().copied().collect();
    for (scenario, tally) in run("flowstate", PolicyKind::ArrivalOrder, &names, 6) {
        let class = expected[scenario.name.as_str()];
        let found = tally.failing.iter().flat_map(|failing| &failing.ways).any(|way| way.class == class);
        assert_eq!(tally.verdict, Verdict::Invalid, "{}: {}", scenario.name, told(&tally));
        assert!(found, "{}: no failure of class {class:?}: {}", scenario.name, told(&tally));
    }
}
