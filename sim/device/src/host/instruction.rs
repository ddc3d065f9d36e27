//! What the core tells its SDK to do.

use serde::Deserialize;
use serde_json::value::RawValue;
use sim_core::history::Apply;

/// One instruction. Bodies that the host does not need are skipped unread.
#[derive(Debug, Deserialize)]
pub enum Instruction {
    /// Write to the log.
    LogLine {
        /// DEBUG, INFO or WARNING.
        severity: String,
        /// The line.
        line: String,
    },
    /// The status changed.
    UpdateSyncStatus(serde::de::IgnoredAny),
    /// Open the stream with this request body.
    EstablishSyncStream {
        /// The body.
        request: Box<RawValue>,
    },
    /// Get a token.
    FetchCredentials {
        /// Whether the present one has expired; if not, this is a prefetch.
        did_expire: bool,
    },
    /// The iteration is over.
    CloseSyncStream {
        /// Whether to connect again at once.
        hide_disconnect: bool,
    },
    /// For file systems of browsers.
    FlushFileSystem(serde::de::IgnoredAny),
    /// A full checkpoint was applied.
    DidCompleteSync(serde::de::IgnoredAny),
    /// Only on request.
    HandleDiagnostics(serde::de::IgnoredAny),
}

/// What one call of the core brought about.
#[derive(Debug, Default)]
pub struct ControlResult {
    /// What to do next, in order.
    pub instructions: Vec<Instruction>,
    /// What became visible, if anything was applied.
    pub applied: Option<Apply>,
}
