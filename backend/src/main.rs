//! The program `syncstorm-backend`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use backend::server::{self, Config, config::RotateKeys};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// The upload API of an offline-first application
#[derive(Parser)]
#[command(name = "syncstorm-backend", version, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer uploads until SIGTERM or SIGINT
    Serve(Box<Config>),
    /// Give the algorithms new keys. A running server uses them within about a second; the old keys verify until the
    /// tokens that they signed have expired
    RotateKeys(RotateKeys),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let ended = match cli.command {
        Command::Serve(config) => match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(server::serve(*config)),
            Err(error) => Err(error.into()),
        },
        Command::RotateKeys(config) => server::rotate_keys(&config).map(|names| {
            for name in names {
                println!("{name}");
            }
        }),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syncstorm-backend: {error}");
            ExitCode::FAILURE
        }
    }
}
