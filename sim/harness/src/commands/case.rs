//! A failure's folder or a regression file, opened with its application and policy.

use std::path::Path;
use std::sync::Arc;

use fixtures::App;
use sim_core::plan::Plan;
use sim_core::promise::NO_POLICY;
use sim_core::regression::Regression;
use sim_world::TrialConfig;

use super::exit_code::CommandError;
use super::world::{WorldRequest, trial_config};
use crate::artifacts;

/// Reads a case with its application and policy.
pub(super) fn open_case(path: &Path, request: &WorldRequest<'_>) -> Result<(Regression, TrialConfig), CommandError> {
    let case = artifacts::read_case(path).map_err(|error| CommandError::Usage(error.to_string()))?;
    let name = case.versions.get("app").map_or(case.plan.app.as_str(), String::as_str);
    let app = App::named(name).map_err(|error| CommandError::Usage(format!("{}: {error}", path.display())))?;
    if app.hash != case.app_hash {
        return Err(CommandError::Usage(format!(
            "{}: app_hash: the application {name} has changed since this case was found (it was {}, it is {}); run the scenario again",
            path.display(),
            case.app_hash,
            app.hash
        )));
    }
    check_plan(&case.plan, &app).map_err(|error| CommandError::Usage(format!("{}: plan: {error}", path.display())))?;
    let unknown = |_| CommandError::Usage(format!("{}: policy: unknown policy {}", path.display(), case.policy));
    let policy = (case.policy != NO_POLICY).then(|| case.policy.parse().map_err(unknown)).transpose()?;
    let world = if request.name.is_empty() { &case.world } else { request.name };
    if !sim_world::NAMES.contains(&world) {
        return Err(CommandError::Usage(format!("{}: world: there is no world {world}", path.display())));
    }
    let request = WorldRequest { name: world, policy, ..*request };
    let config = trial_config(Arc::new(app), name, policy, &request)?;
    Ok((case, config))
}

/// A plan from a file may name rows, tables and devices that are not there.
fn check_plan(plan: &Plan, app: &App) -> Result<(), String> {
    if plan.devices.is_empty() || plan.devices.len() > 1000 {
        return Err(format!("devices: {} of them; a plan has 1 to 1000", plan.devices.len()));
    }
    for (row, table) in plan.rows.iter().enumerate() {
        if app.schema.table_index(table).is_none() {
            return Err(format!("rows[{row}]: the application has no table {table}"));
        }
    }
    let rows = u32::try_from(plan.rows.len()).unwrap_or(u32::MAX);
    if let Some(seed) = plan.seed_rows.iter().find(|seed| seed.row >= rows) {
        return Err(format!("seed_rows: row {} is not in rows, which has {rows}", seed.row));
    }
    for step in plan.steps.iter().chain(&plan.resume) {
        step.check(plan).map_err(|problem| format!("step {}: {problem}", step.key))?;
    }
    Ok(())
}
