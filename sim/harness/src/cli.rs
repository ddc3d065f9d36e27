//! The command line: what can be asked, and what a wrong question is told.

use std::path::PathBuf;
use std::str::FromStr;

use backend::PolicyKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use sim_core::Seed;

use sim_verify::args::{AuditArgs, VerifyArgs};

use crate::world_args::{ContainerArgs, ExternalArgs, WorldFlags};

/// Does your offline-first sync stack lose, duplicate, resurrect or diverge anything?
#[derive(Parser)]
#[command(name = "syncstorm", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// What is wrong with it, or what `--help` and `--version` print.
    pub fn read() -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches()?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut Self::command()))?;
        let flags = matches.subcommand().map(|(_, matches)| WorldFlags::given(matches)).unwrap_or_default();
        match &mut cli.command {
            Command::Run(args) => args.world_flags = flags,
            Command::Replay(args) => args.world_flags = flags,
            Command::Shrink(args) => args.world_flags = flags,
            Command::Mutants(args) => args.world_flags = flags,
            _ => {}
        }
        Ok(cli)
    }
}

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Run scenarios and judge them; ends in an HTML report.
    Run(Box<RunArgs>),
    /// Run a failure again: same seed, same plan, same history, same verdict.
    Replay(Box<ReplayArgs>),
    /// Look for a smaller plan that fails the same way.
    Shrink(Box<ShrinkArgs>),
    /// List scenarios with their claims.
    List(ListArgs),
    /// Plant defects, and say which checker catches each, after how many plans.
    Mutants(MutantsArgs),
    /// Bring the embedded world up, print where everything is, and leave it running until Ctrl-C.
    Up(UpArgs),
    /// Look at a stack that runs, line by line: what is wrong with it, and what to do.
    Verify(Box<VerifyArgs>),
    /// Look for what anybody could guess, reach or read in a stack that runs.
    Audit(Box<AuditArgs>),
    /// A deployment of the whole stack in containers, as files.
    #[command(subcommand)]
    Deploy(DeployCommand),
    /// The upload backend on PostgreSQL, until SIGTERM or Ctrl-C.
    Backend(Box<backend::server::Config>),
    /// The sync service on PostgreSQL, until SIGTERM or Ctrl-C.
    Service(Box<sim_service::server::Config>),
}

/// Which application.
#[derive(Clone, Debug, Args)]
pub struct AppArgs {
    /// The application: a folder like fixtures/flowstate, or the name of a built-in one.
    #[arg(long, value_name = "DIR", default_value = "flowstate")]
    pub app: String,
}

/// Arguments of `run`.
#[derive(Args)]
pub struct RunArgs {
    /// Scenarios by name; all of the application when none is named.
    pub scenarios: Vec<String>,
    /// Which application.
    #[command(flatten)]
    pub app: AppArgs,
    /// Where the plans run.
    #[arg(long, default_value = "deterministic", value_parser = sim_world::NAMES)]
    pub world: String,
    /// What the containers world is made of.
    #[command(flatten)]
    pub containers: ContainerArgs,
    /// The upload policy: field-merge, row-latest, version-check, server-wins, arrival-order. In the external world what
    /// the backend is held to [default: the mapping's; elsewhere field-merge].
    #[arg(long, value_parser = policy)]
    pub policy: Option<PolicyKind>,
    /// The seed, in hexadecimal.
    #[arg(long, default_value = "5eed", value_parser = seed)]
    pub seed: Seed,
    /// Plans a scenario; when absent, each scenario's own number, and 2 where servers are real.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub plans: Option<u32>,
    /// The number of each scenario's first plan: what the JSON of an earlier run names under `failures`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first: u32,
    /// Threads; every core when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: Option<u32>,
    /// Only these checkers, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub checkers: Option<Vec<String>>,
    /// Where the report and the failures go.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON object to standard output, and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Count scenarios that this world cannot run as not judged.
    #[arg(long)]
    pub strict: bool,
    /// Do not shrink failures.
    #[arg(long)]
    pub no_shrink: bool,
    /// What the external world is.
    #[command(flatten, next_help_heading = "The external world")]
    pub external: ExternalArgs,
    /// Which flags of it are for one world.
    #[arg(skip)]
    pub world_flags: WorldFlags,
}

/// Arguments of `replay`.
#[derive(Args)]
pub struct ReplayArgs {
    /// A failure's folder, or a regression file.
    pub path: PathBuf,
    /// Where it runs; where it was found when absent.
    #[arg(long, value_parser = sim_world::NAMES)]
    pub world: Option<String>,
    /// What the containers world is made of.
    #[command(flatten)]
    pub containers: ContainerArgs,
    /// Print one JSON object to standard output, and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Write the history here, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// What the external world is.
    #[command(flatten, next_help_heading = "The external world")]
    pub external: ExternalArgs,
    /// Which flags of it are for one world.
    #[arg(skip)]
    pub world_flags: WorldFlags,
}

/// Arguments of `shrink`.
#[derive(Args)]
pub struct ShrinkArgs {
    /// A failure's folder, or a regression file.
    pub path: PathBuf,
    /// Where plans run; where it was found when absent.
    #[arg(long, value_parser = sim_world::NAMES)]
    pub world: Option<String>,
    /// What the containers world is made of.
    #[command(flatten)]
    pub containers: ContainerArgs,
    /// Threads; every core when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: Option<u32>,
    /// Where the smaller case goes; a folder `shrunk` beside PATH when absent.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What the external world is.
    #[command(flatten, next_help_heading = "The external world")]
    pub external: ExternalArgs,
    /// Which flags of it are for one world.
    #[arg(skip)]
    pub world_flags: WorldFlags,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which application.
    #[command(flatten)]
    pub app: AppArgs,
    /// Print one JSON object to standard output, and nothing else.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Which application.
    #[command(flatten)]
    pub app: AppArgs,
    /// The upload policy: field-merge, row-latest, version-check, server-wins, arrival-order.
    #[arg(long, default_value = "field-merge", value_parser = policy)]
    pub policy: PolicyKind,
}

/// What can be done about a deployment.
#[derive(Debug, Subcommand)]
pub enum DeployCommand {
    /// Make a folder that `docker compose up` starts as it stands: with passwords, keys and certificates of its own.
    Init(DeployInitArgs),
}

/// Arguments of `deploy init`.
#[derive(Debug, Args)]
pub struct DeployInitArgs {
    /// The folder; it must not exist.
    pub folder: PathBuf,
    /// Which application.
    #[command(flatten)]
    pub app: AppArgs,
    /// What it is made of.
    #[command(flatten)]
    pub containers: ContainerArgs,
    /// The audience of tokens.
    #[arg(long, default_value = "powersync")]
    pub audience: String,
    /// The web client's origin, which the backend lets in.
    #[arg(long, value_name = "URL", default_value = "http://localhost:5173")]
    pub web_origin: String,
}

/// Arguments of `mutants`.
#[derive(Debug, Args)]
pub struct MutantsArgs {
    /// Defects by name; all when none is named.
    pub mutants: Vec<String>,
    /// Where the plans run. Where servers are processes of their own, defects of devices and network alone are planted.
    #[arg(long, default_value = "deterministic", value_parser = sim_world::OWN_NAMES)]
    pub world: String,
    /// What the containers world is made of.
    #[command(flatten)]
    pub containers: ContainerArgs,
    /// The seed, in hexadecimal.
    #[arg(long, default_value = "5eed", value_parser = seed)]
    pub seed: Seed,
    /// Plans within which a defect must be caught.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub plans: u32,
    /// Threads; every core when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: Option<u32>,
    /// Also search for the smallest plan that shows each.
    #[arg(long)]
    pub shrink: bool,
    /// Print one JSON object to standard output, and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Which flags of it are for one world.
    #[arg(skip)]
    pub world_flags: WorldFlags,
}

fn seed(text: &str) -> Result<Seed, String> {
    Seed::from_str(text)
}

fn policy(text: &str) -> Result<PolicyKind, String> {
    text.parse::<PolicyKind>()
        .map_err(|_| "expected field-merge, row-latest, version-check, server-wins or arrival-order".to_owned())
}
