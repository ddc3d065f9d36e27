//! The program `syncstorm`: reads the command line, prints, and ends with the code that the result means.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fixtures::App;
use indicatif::{ProgressBar, ProgressStyle};
use reports::checklist::Checklist;
use sim_core::scenario::by_name as scenarios;
use sim_stack::{postgres, tls};
use sim_world::child::Child;
use syncstorm::cli::{
    Cli, Command, DeployCommand, DeployInitArgs, ListArgs, MutantsArgs, ReplayArgs, RunArgs, ShrinkArgs, UpArgs,
};
use syncstorm::commands::{self, CommandError, RunRequest, exit_code};
use syncstorm::interruption::Interruption;
use tracing_subscriber::EnvFilter;

/// SQLite allocates through it as well; a plan is a million small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set at the second Ctrl-C.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let code = if error.use_stderr() { exit_code::EXIT_USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    tls::choose_ring();
    if !matches!(cli.command, Command::Backend(_) | Command::Service(_)) {
        log("error");
    }
    let result = match cli.command {
        Command::Run(args) => run(&args, &interrupted()),
        Command::Replay(args) => replay(&args),
        Command::Shrink(args) => shrink(&args, interrupted().stop()),
        Command::List(args) => list(&args),
        Command::Mutants(args) => plant(&args, interrupted().stop()),
        Command::Up(args) => up(&args, interrupted().stop()),
        Command::Verify(args) => checklist(sim_verify::verify(&args), args.json),
        Command::Audit(args) => checklist(sim_verify::audit(&args), args.json),
        Command::Deploy(DeployCommand::Init(args)) => deploy_init(&args),
        Command::Backend(config) => serve(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            match Child::of_environment()? {
                Some(child) => runtime.block_on(child.backend(*config, announce))?,
                None => runtime.block_on(backend::server::serve(*config))?,
            }
            Ok(())
        }),
        Command::Service(config) => serve(|| {
            match Child::of_environment()? {
                Some(child) => child.service(*config, announce)?,
                None => sim_service::server::run(*config)?,
            }
            Ok(())
        }),
    };
    while IS_ENDING.load(Ordering::SeqCst) {
        // The second Ctrl-C is cleaning up, and ends the process when it has.
        std::thread::park();
    }
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("syncstorm: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Listens for Ctrl-C and SIGTERM from now on.
fn interrupted() -> Arc<Interruption> {
    let interruption = Arc::new(Interruption::default());
    let asked = interruption.clone();
    let handler = ctrlc::set_handler(move || {
        if asked.ask() {
            IS_ENDING.store(true, Ordering::SeqCst);
            asked.report_now();
            // The servers of plans end with this process; their databases must be stopped.
            postgres::end_all();
            sim_world::containers::end_all();
            for left in sim_world::external::end_all() {
                say(&left);
            }
            std::process::exit(exit_code::EXIT_INTERRUPTED);
        }
    });
    if let Err(error) = handler {
        say(&format!("Ctrl-C will end the program at once: {error}"));
    }
    interruption
}

/// Runs a server until it is told to end; it logs to standard error.
fn serve(server: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>) -> Result<u8, CommandError> {
    log("info,pgwire_replication=off");
    server().map(|()| exit_code::EXIT_VALID).map_err(|error| CommandError::Harness(error.to_string()))
}

/// Logs to standard error, what `RUST_LOG` asks for or else this.
fn log(usual: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// Tells the parent where its child listens.
fn announce(address: std::net::SocketAddr) {
    print(&address.to_string());
}

/// One line to standard error.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A text to standard output. A reader that has gone away is no error of ours.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

fn run(args: &RunArgs, interruption: &Interruption) -> Result<u8, CommandError> {
    let request = RunRequest::new(args, interruption.stop().clone())?;
    let world = if args.world == "deterministic" { String::new() } else { format!(", world {}", args.world) };
    say(&format!("seed {}, policy {}, app {}{world}", args.seed, request.policy(), args.app.app));
    for sentence in request.told() {
        say(&format!("warning: {sentence}"));
    }
    let plans = request.plans();
    let total: u64 = plans.iter().map(|(_, plans)| u64::from(*plans)).sum();
    let bar = progress_bar(total);
    let progress = |scenario: usize| {
        bar.set_message(plans[scenario].0.clone());
        bar.inc(1);
    };
    let note = |text: &str| bar.set_message(text.to_owned());
    let outcome = commands::run(args, &request, interruption, &progress, &note)?;
    bar.finish_and_clear();
    if args.json {
        print(&reports::json::render(&outcome.run));
    } else if std::io::stdout().is_terminal() {
        print(&reports::text::summary_in(&outcome.run, reports::text::Colour::Ansi));
    } else {
        print(&reports::text::summary(&outcome.run));
    }
    for left in &outcome.left_behind {
        say(left);
    }
    for broken in &outcome.broken {
        say(&format!("the harness failed: {broken}"));
    }
    say(&format!("report: {}", outcome.folder.join("report.html").display()));
    say(&format!("seed {}", args.seed));
    Ok(outcome.exit_code)
}

fn progress_bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} plans  {per_sec}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

fn replay(args: &ReplayArgs) -> Result<u8, CommandError> {
    let replayed = commands::replay(args)?;
    if args.json {
        let json = serde_json::json!({
            "version": 1,
            "expected": replayed.expected,
            "same_verdict": replayed.same_verdict,
            "same_history": replayed.same_history,
            "world": replayed.world,
            "attempts": replayed.attempts,
            "verdict": replayed.report.verdict(),
            "anomalies": replayed.anomalies,
        });
        print(&json.to_string());
    } else {
        for line in &replayed.story {
            print(line);
        }
        for anomaly in &replayed.anomalies {
            print(&format!("\n{} {}: {}\n  because {}", anomaly.checker, anomaly.code, anomaly.what, anomaly.because));
        }
        let attempts = if replayed.attempts > 1 { format!(" (attempt {})", replayed.attempts) } else { String::new() };
        print(&format!("\nexpected: {}: {}{attempts}", replayed.expected, yes(replayed.same_verdict)));
        match replayed.same_history {
            Some(same) => print(&format!("history as stored, byte for byte: {}", yes(same))),
            None if replayed.world != "deterministic" => {
                print(&format!("history: not compared; the {} world promises the verdict alone", replayed.world));
            }
            None => {}
        }
    }
    if !replayed.same_verdict || replayed.same_history == Some(false) {
        let commit = replayed.case.versions.get("commit").cloned().unwrap_or_default();
        say(&format!("this is not what was stored; it was found at commit {commit}"));
        return Ok(exit_code::EXIT_HARNESS);
    }
    Ok(exit_code::of_report(&replayed.report))
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn shrink(args: &ShrinkArgs, stop: &AtomicBool) -> Result<u8, CommandError> {
    let (before, after, folder) = commands::shrink(args, stop)?;
    print(&format!(
        "{} operations, {} faults, {} devices -> {} operations, {} faults, {} devices\n{}",
        before.operations(),
        before.faults(),
        before.devices.len(),
        after.operations(),
        after.faults(),
        after.devices.len(),
        reports::text::replay_command(&folder.display().to_string())
    ));
    Ok(exit_code::EXIT_VALID)
}

fn list(args: &ListArgs) -> Result<u8, CommandError> {
    let app = Arc::new(App::named(&args.app.app).map_err(CommandError::Usage)?);
    let scenarios = scenarios::of_app(&app).map_err(CommandError::Usage)?;
    if args.json {
        let list: Vec<_> = scenarios
            .iter()
            .map(|scenario| {
                serde_json::json!({
                    "name": scenario.name,
                    "claim": scenario.claim,
                    "plans": scenario.plans,
                    "faults": scenario.fault_names(),
                    "reproduces": scenario.reproduces,
                })
            })
            .collect();
        print(&serde_json::json!({ "version": 1, "app": app.name, "scenarios": list }).to_string());
        return Ok(exit_code::EXIT_VALID);
    }
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    for scenario in &scenarios {
        print(&format!("{:width$}  {}", scenario.name, scenario.claim));
    }
    Ok(exit_code::EXIT_VALID)
}

fn up(args: &UpArgs, stop: &AtomicBool) -> Result<u8, CommandError> {
    let stack = commands::up(args)?;
    print(&format!(
        "backend  {}\nservice  {}\ntoken    {}\n         (for {}, good for a day; others: POST {}/auth/token)\n\
         psql     psql '{}'",
        stack.backend_url, stack.service_url, stack.token, stack.user, stack.backend_url, stack.database_url
    ));
    say("up until Ctrl-C");
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(exit_code::EXIT_VALID)
}

/// Prints what was found out about a stack: 1 when a line failed.
fn checklist(list: Result<Checklist, String>, as_json: bool) -> Result<u8, CommandError> {
    let list = list.map_err(CommandError::Usage)?;
    let colour =
        if std::io::stdout().is_terminal() { reports::text::Colour::Ansi } else { reports::text::Colour::Plain };
    print(&if as_json { reports::checklist::json(&list) } else { reports::checklist::text(&list, colour) });
    Ok(if list.has_failed() { exit_code::EXIT_FAILED } else { exit_code::EXIT_VALID })
}

fn deploy_init(args: &DeployInitArgs) -> Result<u8, CommandError> {
    commands::deploy_init(args)?;
    print(&format!("{}\nnext: cd there and `docker compose up --detach --wait`", args.folder.display()));
    Ok(exit_code::EXIT_VALID)
}

fn plant(args: &MutantsArgs, stop: &AtomicBool) -> Result<u8, CommandError> {
    let results = commands::mutants(args, stop, &|line| say(line))?;
    print(&if args.json { reports::mutants::json(&results) } else { reports::mutants::text(&results) });
    let all = results.iter().all(|result| result.caught);
    Ok(if all { exit_code::EXIT_VALID } else { exit_code::EXIT_FAILED })
}
