//! One plan, run and judged.

use std::time::{Duration, Instant};

use sim_core::checker::{self, Context, Examined};
use sim_core::promise::Promises;
use sim_core::{History, Plan};
use sim_world::TrialConfig;

use crate::databases::{DatabaseError, WorkerDatabases};
use crate::trial;

/// The checker that says whether a run settled.
const SETTLING_CHECKER: &str = "progress";

/// What one plan came to.
#[derive(Debug)]
pub struct Judged {
    /// What was seen.
    pub history: History,
    /// What it means.
    pub examined: Examined,
    /// Time inside SQLite and the core.
    pub sqlite_time: Duration,
    /// Time in the checkers.
    pub checker_time: Duration,
    /// Plan time that passed.
    pub simulated: Duration,
    /// Why this is no evidence.
    pub failure: Option<String>,
    /// Whether the user ended it: there is nothing to judge.
    pub interrupted: bool,
    /// What stays in somebody else's database.
    pub left_behind: Option<String>,
}

/// Runs a plan and judges it.
///
/// # Errors
/// When the devices' databases could not be made.
pub fn judge(
    config: &TrialConfig,
    scenario: &Promises,
    plan: &Plan,
    only: Option<&[&str]>,
    databases: &mut WorkerDatabases,
) -> Result<Judged, DatabaseError> {
    let outcome = trial::run(config, plan, scenario, databases)?;
    let began = Instant::now();
    let ctx = Context { app: &config.system.app, history: &outcome.history, promises: scenario };
    let mut examined = checker::examine(&ctx, only);
    if let Some(reason) = &outcome.given_up {
        examined.report.add_unknown(SETTLING_CHECKER, reason.clone());
    }
    Ok(Judged {
        checker_time: began.elapsed(),
        examined,
        history: outcome.history,
        sqlite_time: outcome.sqlite_time,
        simulated: outcome.simulated,
        failure: outcome.failure,
        interrupted: outcome.interrupted,
        left_behind: outcome.left_behind,
    })
}
