//! One plan, run and judged.

use std::time::{Duration, Instant};

use sim_core::checker::{self, Context, Examined};
use sim_core::promise::Promises;
use sim_core::{History, Plan};
use sim_world::TrialConfig;

use crate::databases::{DatabaseError, WorkerDatabases};
use crate::trial;

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
    let examined = checker::examine(&ctx, only);
    Ok(Judged {
        checker_time: began.elapsed(),
        examined,
        history: outcome.history,
        sqlite_time: outcome.sqlite_time,
        simulated: outcome.simulated,
        failure: outcome.failure,
    })
}
