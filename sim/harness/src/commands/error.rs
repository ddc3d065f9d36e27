//! How a command ends: its exit code, and why it has no result.

use sim_core::checker::Report;
use sim_core::verdict::{Class, Verdict};

/// Everything was well.
pub const EXIT_VALID: u8 = 0;
/// A line of a checklist failed.
pub const EXIT_FAILED: u8 = 1;
/// Something could not be judged.
pub const EXIT_UNKNOWN: u8 = 4;
/// The question was wrong.
pub const EXIT_USAGE: u8 = 64;
/// The harness itself failed.
pub const EXIT_HARNESS: u8 = 70;

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

/// The exit code that a report means.
#[must_use]
pub fn report_code(report: &Report) -> u8 {
    match (report.verdict(), report.class()) {
        (Verdict::Valid, _) => EXIT_VALID,
        (Verdict::Unknown, _) => EXIT_UNKNOWN,
        (Verdict::Invalid, Some(Class::Liveness)) => 2,
        (Verdict::Invalid, Some(Class::Latency)) => 3,
        (Verdict::Invalid, _) => 1,
    }
}
