//! The service as a program of its own. `syncstorm-service --help` explains every setting.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use sim_service::server;
use tracing_subscriber::EnvFilter;

/// A PowerSync-compatible sync service on PostgreSQL.
#[derive(Parser)]
#[command(name = "syncstorm-service", version)]
struct Cli {
    #[command(flatten)]
    service: server::Config,

    /// What is logged to standard error, as in `info,sim_service=debug`
    #[arg(long, value_name = "FILTER", env = "SYNCSTORM_SERVICE_LOG", default_value = "info,pgwire_replication=off")]
    log: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let stderr = std::io::stderr();
    let colours = stderr.is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match server::run(cli.service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the service cannot run");
            ExitCode::FAILURE
        }
    }
}
