//! Plans are a function of (scenario, seed), and every scenario that is built in draws sensible ones.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::App;
use sim_core::plan::{Action, Expr, Intent, Plan};
use sim_core::scenario::{BUILTIN, Scenario};
use sim_core::seed::Seed;
use sim_core::workload::{generate, plan_seed};

fn apps() -> Vec<App> {
    App::builtin_names().map(|name| App::builtin(name).expect("a built-in app is whole")).collect()
}

/// Every scenario that is built in, with its application.
fn scenarios() -> Vec<(Scenario, App)> {
    let mut all = Vec::new();
    for app in apps() {
        let own = app.scenarios.iter().map(|(file, text)| (file.as_str(), text.as_str()));
        let about = |text: &str| Scenario::app_named_in(text).is_none_or(|name| name == app.name);
        let at_root = BUILTIN.iter().copied().filter(|(_, text)| about(text));
        for (file, text) in own.chain(at_root) {
            let scenario = Scenario::parse(file, text, &app).unwrap_or_else(|error| panic!("{error}"));
            all.push((scenario, app.clone()));
        }
    }
    all
}

fn seed(index: u64) -> Seed {
    plan_seed(Seed(0x5eed), "test", index)
}

#[test]
fn one_seed_draws_one_plan() {
    for (scenario, app) in scenarios() {
        assert_eq!(generate(&scenario, &app, seed(1)), generate(&scenario, &app, seed(1)), "{}", scenario.name);
        assert_ne!(generate(&scenario, &app, seed(1)), generate(&scenario, &app, seed(2)), "{}", scenario.name);
    }
}

#[test]
fn a_plan_survives_json() {
    for (scenario, app) in scenarios() {
        let plan = generate(&scenario, &app, seed(3));
        let json = serde_json::to_string(&plan).expect("a plan is JSON");
        assert_eq!(plan, serde_json::from_str::<Plan>(&json).expect("a plan reads what it wrote"), "{}", scenario.name);
    }
}

#[test]
fn plans_hold_together() {
    for (scenario, app) in scenarios() {
        for index in 0..20.min(u64::from(scenario.plans)) {
            let plan = generate(&scenario, &app, seed(index));
            check(&plan, &app);
        }
    }
}

/// What must be so in every plan.
fn check(plan: &Plan, app: &App) {
    let name = &plan.scenario;
    assert!(!plan.devices.is_empty(), "{name}: nobody is there");
    assert!(!plan.steps.is_empty(), "{name}: nothing happens");
    let mut keys = BTreeSet::new();
    for list in [&plan.steps, &plan.resume] {
        assert!(list.is_sorted_by_key(|step| (step.at_us, step.key)), "{name}: steps are in order");
        for step in list {
            assert!(keys.insert(step.key), "{name}: key {} occurs twice", step.key);
            assert!(step.at_us >= 0, "{name}: a step before the beginning");
            match &step.action {
                Action::Tx { device, intents, .. } => {
                    assert!((*device as usize) < plan.devices.len(), "{name}: no device {device}");
                    assert!(!intents.is_empty(), "{name}: a transaction of nothing");
                    intents.iter().for_each(|intent| check_intent(plan, app, intent));
                }
                Action::Fault(fault) => {
                    assert!(fault.device().is_none_or(|device| (device as usize) < plan.devices.len()), "{name}");
                }
            }
        }
    }
    for row in &plan.seed_rows {
        check_intent(plan, app, &Intent::Insert { row: row.row, set: row.set.clone(), replace: false });
    }
}

fn check_intent(plan: &Plan, app: &App, intent: &Intent) {
    let table_of = |row: u32| &app.schema.tables[app.schema.table_index(&plan.rows[row as usize]).expect("a table")];
    let column = |row: u32, name: &str| {
        let known = name == "client_only" || table_of(row).column_index(name).is_some();
        assert!(known, "{}: {} has no column {name}", plan.scenario, plan.rows[row as usize]);
    };
    let values = |row: u32, set: &[(String, Expr)]| {
        let mut names = BTreeSet::new();
        for (name, value) in set {
            column(row, name);
            assert!(names.insert(name), "{}: {name} is set twice", plan.scenario);
            if let Expr::Id(other) = value {
                assert!((*other as usize) < plan.rows.len());
            }
        }
    };
    match intent {
        Intent::Insert { row, set, .. } => values(*row, set),
        Intent::Set { row, set } => {
            assert!(!set.is_empty(), "{}: an update of nothing", plan.scenario);
            values(*row, set);
        }
        Intent::Ensure { row, key, set } => {
            values(*row, set);
            assert!(key.iter().all(|name| set.iter().any(|(set, _)| set == name)));
        }
        Intent::Add { row, column: name, .. }
        | Intent::Remove { row, column: name, .. }
        | Intent::Increment { row, column: name, .. } => column(*row, name),
        Intent::MoveAfter { row, after, column: name, list } => {
            column(*row, name);
            assert!(list.contains(row) && after.is_none_or(|after| after != *row && list.contains(&after)));
        }
        Intent::Delete { row } => assert!((*row as usize) < plan.rows.len()),
        Intent::Read { rows } => assert!(!rows.is_empty()),
    }
}

#[test]
fn texts_are_unique() {
    for (scenario, app) in scenarios() {
        let plan = generate(&scenario, &app, seed(5));
        let mut owners: BTreeMap<&str, u32> = BTreeMap::new();
        for step in plan.steps.iter().chain(&plan.resume) {
            let Action::Tx { intents, .. } = &step.action else { continue };
            for intent in intents {
                let (Intent::Insert { set, .. } | Intent::Ensure { set, .. } | Intent::Set { set, .. }) = intent else {
                    continue;
                };
                for (_, value) in set {
                    if let Expr::Value(serde_json::Value::String(text)) = value
                        && text.contains(&format!("~{}.", step.key))
                    {
                        let first = *owners.entry(text).or_insert(step.key);
                        assert_eq!(first, step.key, "{}: {text} is of two transactions", scenario.name);
                    }
                }
            }
        }
        assert!(scenario.name != "same-field" || !owners.is_empty(), "texts carry their transaction");
    }
}

/// Removing a step leaves every other step, and every draw that is keyed by a step, as it was.
#[test]
fn removing_a_step_changes_no_other_draw() {
    use rand::Rng as _;
    for (scenario, app) in scenarios() {
        let plan = generate(&scenario, &app, seed(7));
        let mut smaller = plan.clone();
        let removed = smaller.steps.remove(plan.steps.len() / 2);
        let fates = |plan: &Plan| -> BTreeMap<u32, (String, u64)> {
            plan.steps
                .iter()
                .chain(&plan.resume)
                .map(|step| {
                    let fate = plan.seed.fork("network", &[u64::from(step.key), 1]).random();
                    (step.key, (format!("{step:?}"), fate))
                })
                .collect()
        };
        let mut before = fates(&plan);
        before.remove(&removed.key);
        assert_eq!(before, fates(&smaller), "{}", scenario.name);
        assert!((0..plan.rows.len() as u32).all(|row| plan.row_id(row) == smaller.row_id(row)));
    }
}

/// A property over plans, as `cargo test` users write it.
#[test]
fn proptest_draws_plans() {
    use std::sync::Arc;

    use proptest::test_runner::{Config, TestRunner};
    use sim_core::workload::strategy::plans;

    let (scenario, app) = scenarios().swap_remove(0);
    let (scenario, app) = (Arc::new(scenario), Arc::new(app));
    let mut runner = TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
    let strategy = plans(scenario.clone(), app.clone());
    let outcome = runner.run(&strategy, |plan| {
        check(&plan, &app);
        assert_eq!(plan, generate(&scenario, &app, plan.seed), "the seed is all that was drawn");
        Ok(())
    });
    outcome.expect("every plan holds together");
}

/// Prints what plans look like: `cargo test -p sim-core --test plans figures -- --nocapture`.
#[test]
fn figures() {
    println!(
        "{:28} {:>9} {:>6} {:>7} {:>6} {:>8} {:>9}",
        "scenario", "devices", "tx", "intents", "faults", "seconds", "us/plan"
    );
    for (scenario, app) in scenarios() {
        let count = 50.min(scenario.plans);
        let started = std::time::Instant::now();
        let plans: Vec<Plan> = (0..u64::from(count)).map(|index| generate(&scenario, &app, seed(index))).collect();
        let each = started.elapsed().as_micros() / u128::from(count);
        let mean = |of: &dyn Fn(&Plan) -> usize| plans.iter().map(of).sum::<usize>() as f64 / f64::from(count);
        let transactions =
            mean(&|plan| plan.steps.iter().filter(|step| matches!(step.action, Action::Tx { .. })).count());
        let seconds = mean(&|plan| plan.steps.last().map_or(0, |step| step.at_us as usize / 1_000_000));
        println!(
            "{:28} {:9.1} {transactions:6.1} {:7.1} {:6.1} {seconds:8.0} {each:9}",
            format!("{} ({})", scenario.name, app.name),
            mean(&|plan| plan.devices.len()),
            mean(&Plan::operations),
            mean(&Plan::faults),
        );
        assert!(transactions >= 1.0, "{}: nobody does anything", scenario.name);
    }
}

/// Outside scenarios about trees nobody puts a row under itself.
#[test]
fn nobody_is_their_own_parent() {
    for (scenario, app) in scenarios().into_iter().filter(|(scenario, _)| scenario.name != "reparent-cycle") {
        for index in 0..100.min(u64::from(scenario.plans)) {
            let plan = generate(&scenario, &app, seed(index));
            for intent in plan.steps.iter().chain(&plan.resume).flat_map(|step| step.action.intents()) {
                let (Intent::Insert { row, set, .. } | Intent::Ensure { row, set, .. } | Intent::Set { row, set }) =
                    intent
                else {
                    continue;
                };
                let own = set.iter().find(|(_, value)| *value == Expr::Id(*row));
                assert_eq!(own, None, "{} plan {index}: row {row}", scenario.name);
            }
        }
    }
}
