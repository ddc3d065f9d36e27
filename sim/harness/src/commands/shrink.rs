//! `shrink`: searches for a smaller plan that fails the same way, and writes it as a case of its own.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use sim_core::plan::Plan;
use sim_core::regression::Regression;

use sim_stack::files;

use super::case::open_case;
use super::exit_code::CommandError;
use super::world::WorldRequest;
use super::{SHRINKING_MAX, workers_for};
use crate::campaign;
use crate::cli::ShrinkArgs;
use crate::databases::WorkerDatabases;

/// Searches for a smaller plan that fails the same way, and writes it as a case of its own.
///
/// # Errors
/// What is wrong with the file, or a case that does not fail as it says.
pub fn shrink(args: &ShrinkArgs, stop: &AtomicBool) -> Result<(Plan, Plan, PathBuf), CommandError> {
    let request = WorldRequest::for_case(args.world.as_deref(), &args.containers, &args.external, &args.world_flags);
    let (case, config) = open_case(&args.path, &request)?;
    let Some(signature) = case.expected.clone() else {
        return Err(CommandError::Usage(format!("{}: expected: is null; this plan must pass", args.path.display())));
    };
    let harness = |error: &dyn std::fmt::Display| CommandError::Harness(error.to_string());
    let workers = workers_for(&config, args.workers);
    let shrunk =
        campaign::search_smaller(&config, &case.promises, &case.plan, &signature, workers, SHRINKING_MAX, stop);
    let mut databases = WorkerDatabases::new(&config.system.app).map_err(|error| harness(&error))?;
    let judged = campaign::judge(&config, &case.promises, &shrunk.plan, None, &mut databases)
        .map_err(|error| harness(&error))?;
    if !judged.examined.report.anomalies().any(|anomaly| anomaly.signature() == signature) {
        return Err(CommandError::Usage(format!(
            "{}: expected: the plan does not fail with {} {} any more; nothing to shrink",
            args.path.display(),
            signature.checker,
            signature.code
        )));
    }
    let folder = args.out.clone().unwrap_or_else(|| match args.path.is_dir() {
        true => args.path.join("shrunk"),
        false => args.path.with_extension("shrunk"),
    });
    let world = config.world.name().to_owned();
    let smaller = Regression { plan: shrunk.plan.clone(), world, ..case.clone() };
    let text = serde_json::to_string_pretty(&smaller).map_err(|error| harness(&error))?;
    let files = [("case.json", text), ("history.jsonl", judged.history.to_jsonl(&config.system.app))];
    files::write_folder(&folder, &files).map_err(|error| harness(&format!("{}: {error}", folder.display())))?;
    Ok((case.plan, shrunk.plan, folder))
}
