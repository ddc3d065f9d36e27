//! The service as a program of its own. `syncstorm-service --help` explains every setting.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sim_service::server;
use tracing_subscriber::EnvFilter;

/// A PowerSync-compatible sync service on PostgreSQL.
#[derive(Parser)]
#[command(name = "syncstorm-service", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(flatten)]
    service: Option<server::Config>,

    #[command(subcommand)]
    command: Option<Command>,

    /// What is logged to standard error, as in `info,sim_service=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "SYNCSTORM_SERVICE_LOG",
        default_value = "info,pgwire_replication=off"
    )]
    log: String,
}

#[derive(Subcommand)]
enum Command {
    /// Runs by the configuration file of the official service, in its place
    Start(server::official::Start),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let stderr = std::io::stderr();
    let colours = stderr.is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let config = match (cli.command, cli.service) {
        (Some(Command::Start(start)), _) => start.settings(),
        (None, Some(config)) => Ok(config),
        // Its arguments are required unless there is a command.
        (None, None) => Err(server::ServeError::Setting("--help explains the settings".to_owned())),
    };
    match config.and_then(server::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the service cannot run");
            ExitCode::FAILURE
        }
    }
}
