//! Arguments of `verify` and `audit`.

use clap::Args;
use sim_stack::existing_stack::args::StackArgs;

/// Arguments of `verify`.
#[derive(Args)]
pub struct VerifyArgs {
    /// The application: a folder like fixtures/flowstate, or the name of a built-in one [default: flowstate].
    #[arg(long, value_name = "DIR")]
    pub app: Option<String>,
    /// The stack.
    #[command(flatten)]
    pub stack: StackArgs,
    /// Let a web and a Tauri device write a row each, and delete them; without this nothing is written.
    #[arg(long)]
    pub allow_writes: bool,
    /// Print one JSON object to standard output, and nothing else.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `audit`.
#[derive(Args)]
pub struct AuditArgs {
    /// The application: a folder like fixtures/flowstate, or the name of a built-in one [default: flowstate].
    #[arg(long, value_name = "DIR")]
    pub app: Option<String>,
    /// The stack.
    #[command(flatten)]
    pub stack: StackArgs,
    /// Print one JSON object to standard output, and nothing else.
    #[arg(long)]
    pub json: bool,
}
