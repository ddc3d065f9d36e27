//! What plans come to.

use std::collections::BTreeMap;

use backend::PolicyKind;
use sim_core::scenario::by_name as scenarios;
use sim_core::verdict::Verdict;
use syncstorm::campaign::ScenarioResult;

use super::config;
use crate::scenarios::{judged, told};

fn run(policy: PolicyKind, chosen: &[(&str, u32)]) -> Vec<(String, ScenarioResult)> {
    let config = config(policy);
    let all = scenarios::of_app(&config.system.app).expect("the built-in scenarios are sound");
    let scenarios = chosen
        .iter()
        .map(|(name, plans)| {
            let scenario = all.iter().find(|scenario| scenario.name == *name).expect("there is one of the name");
            (scenario.clone(), *plans)
        })
        .collect();
    judged(&config, scenarios).into_iter().map(|(scenario, tally)| (scenario.name, tally)).collect()
}

/// Ten plans in which PostgreSQL and both servers are killed (SIGKILL) at random instants, and some of other kinds.
#[test]
fn plans_hold_against_real_processes() {
    let chosen = [
        ("everything-killed", 10),
        ("servers-restart", 1),
        ("postgres-restart", 1),
        ("slot-lost", 1),
        ("stalled-replication", 1),
        ("server-writes", 1),
        ("key-rotation", 1),
        ("compaction", 1),
        ("sync-config-change", 1),
        ("restored-copy", 1),
        ("lost-reply", 1),
        ("same-field", 1),
        ("token-expiry", 1),
        ("web-tab-close", 1),
    ];
    let mut killed = BTreeMap::new();
    for (name, tally) in run(PolicyKind::FieldMerge, &chosen) {
        assert!(tally.verdict == Verdict::Valid && tally.broken.is_empty(), "{name}:\n  {}", told(&tally));
        assert!(tally.totals.transactions > 0, "{name}: nothing happened");
        let count = |fault: &str| tally.occurred.get(&format!("fault:{fault}")).copied().unwrap_or(0);
        for server in ["postgres-down", "backend-down", "backend-killed", "service-down"] {
            *killed.entry(server).or_insert(0) += count(server);
        }
    }
    assert!(killed.values().all(|times| *times >= 10), "how often each was killed: {killed:?}");
}

#[test]
fn the_baseline_is_caught() {
    let chosen = [("same-field", 3), ("pomodoro-counter", 3), ("create-same-setting", 2)];
    for (name, tally) in run(PolicyKind::ArrivalOrder, &chosen) {
        assert!(tally.broken.is_empty(), "{name}:\n  {}", told(&tally));
        assert_eq!(tally.verdict, Verdict::Invalid, "{name} passes under arrival-order");
    }
}
