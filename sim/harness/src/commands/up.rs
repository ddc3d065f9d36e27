//! `up`: the embedded world, left running.

use std::sync::Arc;

use fixtures::App;
use sim_world::{WorldKind, embedded};

use super::exit_code::CommandError;
use super::world::{WorldRequest, trial_config};
use crate::cli::UpArgs;

/// Brings the embedded world up, to stay.
///
/// # Errors
/// Why it did not come up.
pub fn up(args: &UpArgs) -> Result<embedded::RunningStack, CommandError> {
    let app = Arc::new(App::named(&args.app.app).map_err(CommandError::Usage)?);
    let request = WorldRequest { name: "embedded", ..WorldRequest::default() };
    let config = trial_config(app, &args.app.app, Some(args.policy), &request)?;
    let WorldKind::Embedded(pool) = &config.world else { unreachable!("it was just asked for") };
    embedded::RunningStack::start(pool).map_err(CommandError::Harness)
}
