//! Exit codes, and the error of a command that has no result.

use sim_core::checker::Report;
use sim_core::run::Run;
use sim_core::verdict::{Class, Verdict};

/// Everything was well.
pub const EXIT_VALID: u8 = 0;
/// A claim of safety is violated.
pub const EXIT_SAFETY: u8 = 1;
/// A line of a checklist failed, or a planted defect was not caught.
pub const EXIT_FAILED: u8 = 1;
/// A claim of liveness is violated.
pub const EXIT_LIVENESS: u8 = 2;
/// A latency budget is missed.
pub const EXIT_LATENCY: u8 = 3;
/// Something could not be judged.
pub const EXIT_UNKNOWN: u8 = 4;
/// The input is wrong.
pub const EXIT_USAGE: u8 = 64;
/// The harness itself failed.
pub const EXIT_HARNESS: u8 = 70;
/// A second Ctrl-C ended the program.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Why a command ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The user's input: exit code 64.
    #[error("{0}")]
    Usage(String),
    /// Ours: exit code 70.
    #[error("{0}")]
    Harness(String),
}

impl CommandError {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Harness(_) => EXIT_HARNESS,
        }
    }
}

/// The exit code of a verdict, with the worst class of what is invalid.
#[must_use]
pub fn of_verdict(verdict: Verdict, worst: Option<Class>) -> u8 {
    match (verdict, worst) {
        (Verdict::Valid, _) => EXIT_VALID,
        (Verdict::Unknown, _) => EXIT_UNKNOWN,
        (Verdict::Invalid, Some(Class::Liveness)) => EXIT_LIVENESS,
        (Verdict::Invalid, Some(Class::Latency)) => EXIT_LATENCY,
        (Verdict::Invalid, _) => EXIT_SAFETY,
    }
}

/// The exit code of a report.
#[must_use]
pub fn of_report(report: &Report) -> u8 {
    of_verdict(report.verdict(), report.class())
}

/// The exit code of a run: the lowest of its findings and scenarios that is not 0, and unknown where none of them ran. Rows that could not be deleted are the harness's failure, unless something was found: what
/// was seen stays true.
#[must_use]
pub(super) fn of_run(run: &Run, broken: &[String], left_behind: &[String], strict: bool) -> u8 {
    if !broken.is_empty() {
        return EXIT_HARNESS;
    }
    if run.scenarios.iter().all(|scenario| scenario.not_run.is_some()) {
        return EXIT_UNKNOWN;
    }
    let scenarios = run.scenarios.iter().map(|scenario| match scenario.not_run {
        Some(_) if strict => EXIT_UNKNOWN,
        Some(_) => EXIT_VALID,
        None => of_verdict(scenario.verdict, scenario.class),
    });
    let findings = run.findings.iter().map(|finding| of_verdict(Verdict::Invalid, Some(finding.class)));
    let codes = scenarios.chain(findings);
    let code = codes.filter(|code| *code != EXIT_VALID).min().unwrap_or(EXIT_VALID);
    let has_found = [EXIT_SAFETY, EXIT_LIVENESS, EXIT_LATENCY].contains(&code);
    if has_found || left_behind.is_empty() { code } else { EXIT_HARNESS }
}
