//! What each command of the program does: one file a command. Printing is `main`'s; here texts are made.
//!
//! Shared by several: [`exit_code`] how a command ends, `world` what plans run against, `case` a failure's folder opened,
//! `beginnings` the rows with which plans begin, `failure` such a folder written, `findings` what went wrong, each told once, `summary` what the report says of each scenario.

mod beginnings;
mod case;
mod deploy_init;
pub mod exit_code;
mod failure;
mod findings;
mod mutants;
mod replay;
mod run;
mod shrink;
mod summary;
mod up;
mod world;

use std::time::Duration;

use sim_world::TrialConfig;

pub use deploy_init::deploy_init;
pub use exit_code::CommandError;
pub use mutants::mutants;
pub use replay::{Replayed, replay};
pub use run::{RunOutcome, RunRequest, run};
pub use shrink::shrink;
pub use up::up;

/// Where reports go unless they are told otherwise.
const RUNS: &str = "reports/runs";
/// How long one failure may be shrunk.
const SHRINKING_MAX: Duration = Duration::from_secs(30);

/// How many threads: those asked for, or every core.
#[must_use]
pub fn workers(asked: Option<u32>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |asked| asked as usize)
}

/// The same; one where several would meet in somebody's database.
fn workers_for(config: &TrialConfig, asked: Option<u32>) -> usize {
    if config.world.is_shared() { 1 } else { workers(asked) }
}
