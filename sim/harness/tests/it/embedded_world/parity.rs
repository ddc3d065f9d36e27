//! With a pause after every transaction in which everything settles, nothing is left to chance: both worlds end in the
//! same rows.

use std::collections::BTreeMap;

use backend::PolicyKind;
use fixtures::Value;
use sim_core::history::{Scope, What, Who};
use sim_core::plan::Action;
use sim_core::scenario::by_name as scenarios;
use sim_core::verdict::Verdict;
use sim_core::{History, Plan, Seed, workload};
use sim_world::{TrialConfig, WorldKind};
use syncstorm::campaign;
use syncstorm::databases::WorkerDatabases;

use super::config;

/// Between two transactions. Ten times what one takes to reach everybody.
const APART_US: i64 = 30_000_000;
/// Instants that devices or servers take from their clocks may differ by this much.
const CLOCKS_US: u64 = 5_000_000;

/// The plan without its faults, one transaction at a time.
fn one_by_one(mut plan: Plan) -> Plan {
    plan.steps.retain(|step| matches!(step.action, Action::Tx { .. }));
    for (step, at) in plan.steps.iter_mut().zip(1..) {
        step.at_us = at * APART_US;
    }
    plan.resume.clear();
    plan
}

/// The server's rows, and each device's.
fn rows(history: &History) -> BTreeMap<(Who, u32), Vec<Value>> {
    let mut found = BTreeMap::new();
    for event in &history.events {
        if let What::Read { scope: Scope::Final, rows } = &event.what {
            found.extend(rows.iter().filter_map(|(row, image)| Some(((event.who, *row), image.as_ref()?.to_vec()))));
        }
    }
    found
}

fn is_same(one: &Value, other: &Value) -> bool {
    let instant = |value: &Value| match value {
        Value::Time(at_us) => Some(*at_us),
        Value::Text(text) => fixtures::value::time_from_text(text),
        _ => None,
    };
    match (instant(one), instant(other)) {
        (Some(one), Some(other)) => one.abs_diff(other) <= CLOCKS_US,
        _ => one == other,
    }
}

#[test]
fn both_worlds_end_in_the_same_rows() {
    let embedded = config(PolicyKind::FieldMerge);
    let deterministic = TrialConfig { world: WorldKind::Deterministic, ..embedded.clone() };
    let mut databases = WorkerDatabases::new(&embedded.system.app).expect("the schema is sound");
    let all = scenarios::of_app(&embedded.system.app).expect("the built-in scenarios are sound");
    for (name, index) in [("any-edit", 0), ("everything", 1), ("create-same-setting", 0), ("reparent-cycle", 0)] {
        let scenario = all.iter().find(|scenario| scenario.name == name).expect("there is one of the name");
        let seed = workload::plan_seed(Seed(0x7e57), name, index);
        let plan = one_by_one(workload::generate(scenario, &embedded.system.app, seed));
        let mut ends = Vec::new();
        for config in [&deterministic, &embedded] {
            let judged =
                campaign::judge(config, &scenario.promises, &plan, None, &mut databases).expect("databases open");
            let world = config.world.name();
            assert_eq!(judged.failure, None, "{name} in the {world} world");
            assert_eq!(judged.examined.report.verdict(), Verdict::Valid, "{name} in the {world} world");
            ends.push(rows(&judged.history));
        }
        let (there, here) = (&ends[0], &ends[1]);
        let keys = |rows: &BTreeMap<(Who, u32), Vec<Value>>| rows.keys().copied().collect::<Vec<_>>();
        assert_eq!(keys(there), keys(here), "{name}: the rows that there are");
        for (key, one) in there {
            let other = &here[key];
            let same = one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other));
            assert!(same, "{name}: {key:?}\n  deterministic {one:?}\n  embedded      {other:?}");
        }
    }
}
