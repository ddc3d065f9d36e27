//! A plan among the rows of others: with ids and keys that nobody else has, and users for whom there are tokens; and
//! which scenarios cannot run there.

use fixtures::App;
use sim_core::Plan;
use sim_core::Seed;
use sim_core::fault::{FAULTS, World};
use sim_core::plan::{Expr, Intent};
use sim_core::scenario::Scenario;

/// Whether a fault can be had there. Without a signing key (`signs`) there are no tokens for another audience, and none
/// that expire soon.
fn is_possible(name: &str, signs: bool) -> bool {
    let spec = FAULTS.iter().find(|spec| spec.name == name).expect("scenarios name faults of the table");
    spec.worlds.contains(&World::External) && (signs || !spec.needs_signing_key)
}

/// The scenario as it can run on somebody else's servers: its swarm is drawn from what can be had there.
pub fn suited(scenario: &Scenario, signs: bool) -> Scenario {
    scenario.where_possible(|name| is_possible(name, signs))
}

/// Why a scenario does not run on somebody else's servers.
pub fn why_unsupported(scenario: &Scenario, signs: bool) -> Option<String> {
    if let Some(fault) = scenario.fault_names().into_iter().find(|name| !is_possible(name, signs)) {
        return Some(fault.to_owned());
    }
    (scenario.tokens_expire() && !signs).then(|| "token expiry".to_owned())
}

/// The plan with ids that nobody has had, and texts in unique keys that nobody else has. With a `user`, every device is
/// that user.
pub(crate) fn isolate(plan: &Plan, app: &App, user: Option<String>, identity: Seed) -> Plan {
    let mut plan = Plan { identity: Some(identity), ..plan.clone() };
    if let Some(user) = user {
        for device in &mut plan.devices {
            device.user.clone_from(&user);
        }
    }
    let keys = unique_columns(app);
    let word = identity.to_string();
    let tables: Vec<Option<usize>> = plan.rows.iter().map(|table| app.schema.table_index(table)).collect();
    let make_unique = |row: u32, set: &mut Vec<(String, Expr)>| {
        let Some(table) = tables.get(row as usize).copied().flatten() else { return };
        for (name, expr) in set {
            let is_key =
                app.schema.tables[table].column_index(name).is_some_and(|column| keys.contains(&(table, column)));
            if let (true, Expr::Value(serde_json::Value::String(text))) = (is_key, expr) {
                *text = format!("{text} {word}");
            }
        }
    };
    for seed in &mut plan.seed_rows {
        make_unique(seed.row, &mut seed.set);
    }
    for step in plan.steps.iter_mut().chain(&mut plan.resume) {
        for intent in step.action.intents_mut().into_iter().flatten() {
            match intent {
                Intent::Insert { row, set, .. } | Intent::Ensure { row, set, .. } | Intent::Set { row, set } => {
                    make_unique(*row, set)
                }
                _ => {}
            }
        }
    }
    plan
}

/// Columns of unique keys that hold texts. Those that refer to other rows are unique by the rows' ids.
fn unique_columns(app: &App) -> Vec<(usize, usize)> {
    let declared = (0..)
        .zip(&app.schema.tables)
        .flat_map(|(table, one)| one.unique.iter().flatten().map(move |column| (table, *column)));
    let of_policy =
        app.policy.uniques.iter().flat_map(|unique| unique.columns.iter().map(move |column| (unique.table, *column)));
    let is_text =
        |(table, column): &(usize, usize)| app.schema.tables[*table].columns[*column].ty == fixtures::Type::Text;
    declared.chain(of_policy).filter(is_text).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use sim_core::scenario::by_name;

    fn app() -> Arc<App> {
        Arc::new(App::builtin("flowstate").expect("it is built in"))
    }

    fn plan(app: &Arc<App>, name: &str) -> Plan {
        let scenarios = by_name::of_app(app).expect("the built-in scenarios are sound");
        let scenario = scenarios.iter().find(|scenario| scenario.name == name).expect("there is one of the name");
        sim_core::workload::generate(scenario, app, Seed(1))
    }

    #[test]
    fn an_isolated_plan_has_ids_and_keys_of_its_own() {
        let app = app();
        let plan = plan(&app, "create-same-setting");
        let (one, other) = (isolate(&plan, &app, None, Seed(2)), isolate(&plan, &app, Some("me".to_owned()), Seed(3)));
        assert!(one.row_id(0) != other.row_id(0) && one.row_id(0) != plan.row_id(0));
        assert!(one.client_id(0) != other.client_id(0) && one.client_id(0) != plan.client_id(0));
        // What happens on the network stays the same.
        assert_eq!((one.seed, &one.link), (plan.seed, &plan.link));
        assert!(other.devices.iter().all(|device| device.user == "me") && one.devices == plan.devices);
        let keys = |plan: &Plan| -> Vec<String> {
            let of = |intent: &Intent| match intent {
                Intent::Ensure { key, set, .. } => {
                    set.iter().find(|(name, _)| *name == key[0]).map(|(_, expr)| format!("{expr:?}"))
                }
                _ => None,
            };
            plan.steps.iter().flat_map(|step| step.action.intents()).filter_map(of).collect()
        };
        let (before, after) = (keys(&plan), keys(&one));
        assert!(!before.is_empty() && before.len() == after.len());
        for (before, after) in before.iter().zip(&after) {
            assert!(after.contains(&Seed(2).to_string()) && !before.contains(&Seed(2).to_string()), "{before} {after}");
        }
        // Who wrote the same key still does.
        let distinct = |keys: &[String]| keys.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(distinct(&before), distinct(&after));
    }

    #[test]
    fn scenarios_that_touch_a_server_are_unsupported() {
        let scenarios = by_name::of_app(&app()).expect("the built-in scenarios are sound");
        let why = |name: &str, signs: bool| {
            let scenario = scenarios.iter().find(|scenario| scenario.name == name).expect("there is one of the name");
            why_unsupported(scenario, signs)
        };
        assert_eq!(why("same-field", false), None);
        assert_eq!(why("server-writes", false), None);
        assert_eq!((why("token-expiry", true), why("token-expiry", false)), (None, Some("token expiry".to_owned())));
        for (name, fault) in
            [("key-rotation", "key-rotated"), ("compaction", "compaction"), ("backend-killed", "backend-killed")]
        {
            assert_eq!(why(name, true).as_deref(), Some(fault));
        }
        let touched = [
            "down",
            "paused",
            "killed",
            "dropped",
            "stalled",
            "cut",
            "container",
            "flushed",
            "compaction",
            "rotated",
            "config",
        ];
        // What a swarm may draw is drawn from what can be had.
        for name in ["any-edit", "everything"] {
            let scenario = scenarios.iter().find(|scenario| scenario.name == name).expect("there is one of the name");
            assert_eq!(why_unsupported(scenario, true).as_deref(), Some("backend-down"));
            let suited = suited(scenario, true);
            assert_eq!(why_unsupported(&suited, true), None, "{name}");
            assert!(suited.fault_names().contains("lossy"), "{name} keeps what can be had");
        }
        // A fault that is in every plan is what the scenario is about.
        let killed = scenarios.iter().find(|scenario| scenario.name == "backend-killed").expect("there is one");
        assert!(why_unsupported(&suited(killed, true), true).is_some());
        for scenario in scenarios.iter().filter(|scenario| why_unsupported(scenario, true).is_none()) {
            let of_servers = |name: &&str| *name != "stream-cut" && touched.iter().any(|part| name.contains(part));
            assert_eq!(scenario.fault_names().into_iter().find(of_servers), None, "{}", scenario.name);
        }
    }
}
