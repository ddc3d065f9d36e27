//! `deploy init`: makes a deployment's folder.

use fixtures::App;
use sim_stack::deploy;

use super::exit_code::CommandError;
use crate::cli::DeployInitArgs;

/// Makes a deployment's folder.
///
/// # Errors
/// What is wrong with the arguments, or why the folder could not be made.
pub fn deploy_init(args: &DeployInitArgs) -> Result<(), CommandError> {
    let app = App::named(&args.app.app).map_err(CommandError::Usage)?;
    let choice = deploy::Choice {
        storage: args.containers.storage,
        audience: args.audience.clone(),
        origin: args.web_origin.clone(),
        stand_ins: args.containers.stand_ins,
        images: args.containers.images.iter().cloned().collect(),
    };
    deploy::init(&args.folder, &app, &choice).map_err(CommandError::Usage)
}
