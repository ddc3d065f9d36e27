//! `replay`: runs a failure again.

use sim_core::checker::Report;
use sim_core::regression::Regression;
use sim_core::run::AnomalyText;
use sim_core::verdict::{Signature, Verdict};

use sim_stack::files;

use super::case::open_case;
use super::exit_code::CommandError;
use super::failure::anomaly_texts;
use super::world::WorldRequest;
use crate::campaign;
use crate::cli::ReplayArgs;
use crate::databases::WorkerDatabases;

/// How often a failure is replayed where time is real, until it comes.
const REPLAYS_REAL: u32 = 5;

/// What `replay` found.
pub struct Replayed {
    /// What was expected, in words.
    pub expected: String,
    /// What came.
    pub report: Report,
    /// Whether the verdict is the one that was expected.
    pub same_verdict: bool,
    /// Whether the history is the stored one, byte for byte; `None` where none is stored.
    pub same_history: Option<bool>,
    /// The history.
    pub history: String,
    /// The world that it ran in.
    pub world: &'static str,
    /// How often it ran.
    pub attempts: u32,
    /// The story, a line each.
    pub story: Vec<String>,
    /// The anomalies, for people.
    pub anomalies: Vec<AnomalyText>,
    /// The case.
    pub case: Regression,
}

/// Runs a failure again.
///
/// # Errors
/// What is wrong with the file, or with the harness.
pub fn replay(args: &ReplayArgs) -> Result<Replayed, CommandError> {
    let request = WorldRequest::for_case(args.world.as_deref(), &args.containers, &args.external, &args.world_flags);
    let (case, config) = open_case(&args.path, &request)?;
    let harness = |error: &dyn std::fmt::Display| CommandError::Harness(error.to_string());
    let mut databases = WorkerDatabases::new(&config.system.app).map_err(|error| harness(&error))?;
    // Real servers answer in an order of their own, so that a failure may need another attempt; a plan that must hold
    // has one.
    let attempts = if case.expected.is_some() && !config.world.time().is_virtual() { REPLAYS_REAL } else { 1 };
    let mut attempt = 0;
    let judged = loop {
        attempt += 1;
        let judged = campaign::judge(&config, &case.promises, &case.plan, None, &mut databases)
            .map_err(|error| harness(&error))?;
        if let Some(failure) = judged.failure {
            return Err(CommandError::Harness(failure));
        }
        let is_expected =
            |signature: &Signature| judged.examined.report.anomalies().any(|one| one.signature() == *signature);
        if attempt >= attempts || case.expected.as_ref().is_some_and(is_expected) {
            break judged;
        }
    };
    let history = judged.history.to_jsonl(&config.system.app);
    let stored = args.path.join("history.jsonl");
    // Where time is real, the verdict is promised and the history is another each time.
    let is_same = |stored: String| config.world.time().is_virtual().then(|| stored == history);
    let same_history =
        std::fs::read_to_string(stored).ok().filter(|_| case.world == config.world.name()).and_then(is_same);
    let report = judged.examined.report;
    let (expected, same_verdict) = match &case.expected {
        Some(signature) => (
            format!("{} {} ({})", signature.checker, signature.code, signature.role),
            report.anomalies().any(|anomaly| anomaly.signature() == *signature),
        ),
        None => ("every checker holds".to_owned(), report.verdict() == Verdict::Valid),
    };
    let none = Signature { checker: String::new(), code: String::new(), role: String::new() };
    let anomalies = anomaly_texts(&report, case.expected.as_ref().unwrap_or(&none));
    let story = reports::story::lines(&case.plan, &judged.history, &config.system.app, &anomalies);
    if let Some(path) = &args.history {
        files::write_file(path, &history).map_err(|error| harness(&format!("{}: {error}", path.display())))?;
    }
    let world = config.world.name();
    Ok(Replayed {
        expected,
        report,
        same_verdict,
        same_history,
        history,
        world,
        attempts: attempt,
        story,
        anomalies,
        case,
    })
}
