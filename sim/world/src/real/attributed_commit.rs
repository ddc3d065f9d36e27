//! A commit of the database with whose it is: made whole as the log is read, then only read.

use backend::record::{Change, Commit};
use sim_network::RequestTag;

use super::uploads_under_way::Claim;

/// What the log gives, in order.
pub(super) enum Entry {
    Commit(AttributedCommit),
    /// An earlier commit was taken for somebody else's, and is this upload's.
    Claim(Claim),
}

pub(super) struct AttributedCommit {
    pub(super) commit: Commit,
    /// The request that made it, where the client id alone may not say which device that was.
    pub(super) sent: Option<RequestTag>,
    /// Made by somebody whom the plan does not know.
    pub(super) is_foreign: bool,
}

/// A commit of which nothing is known but its changes.
pub(super) fn bare_commit(seq: u64, at_us: i64, changes: Vec<Change>) -> Commit {
    Commit {
        seq,
        at_us,
        received_us: at_us,
        origin: None,
        changes,
        ledger: Vec::new(),
        conflicts: Vec::new(),
        tombstones: Vec::new(),
        aliases: Vec::new(),
    }
}
