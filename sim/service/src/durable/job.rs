//! What the writer can be asked to do, and what it answers.

use tokio::sync::oneshot;

use super::layout::SourceSnapshot;
use super::store::StoreError;
use crate::changes::logged::LoggedTransaction;
use crate::sync_config::ConfigError;

/// How far the store is, as the source needs to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurablePosition {
    /// Everything up to this position of the source is durable.
    pub lsn: u64,
    /// Changes of this replication attempt, or of an earlier one, are no longer taken: the source must be read again
    /// from `lsn`.
    pub rejected_attempt: u64,
    /// Replication needs a new snapshot to go on.
    pub snapshot_needed: bool,
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// The source's position; `None` when there was never a snapshot.
    pub lsn: Option<u64>,
    /// Names the cluster and the database that it follows.
    pub source: String,
    /// The tables, see [`Layout::text`](super::Layout::text).
    pub layout: String,
    /// Replication needs a new snapshot to go on.
    pub snapshot_needed: bool,
}

/// What a new snapshot changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotReport {
    /// How many rows it holds.
    pub rows: usize,
    /// How many operations it took.
    pub ops: usize,
}

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sync configuration asks for what the tables do not have.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is nothing to work on before the first snapshot.
    #[error("there was no snapshot yet")]
    NotReady,
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, WriterError>>;

#[derive(Debug)]
pub(super) enum Job {
    /// Written together with its neighbours.
    Group(GroupJob),
    /// Notes durably that a new snapshot is under way.
    RequireSnapshot {
        reply: Reply<()>,
    },
    ApplySnapshot {
        snapshot: Box<SourceSnapshot>,
        reply: Reply<SnapshotReport>,
    },
    Compact {
        reply: Reply<u64>,
    },
    Status {
        reply: Reply<StoreStatus>,
    },
    Close {
        reply: Reply<()>,
    },
}

/// A job that shares a commit with others of its kind.
#[derive(Debug)]
pub(super) enum GroupJob {
    Transaction {
        attempt: u64,
        transaction: LoggedTransaction,
    },
    /// The source has nothing more up to this position.
    Position {
        attempt: u64,
        lsn: u64,
    },
    WriteCheckpoint {
        client: String,
        requested: Option<u64>,
        head: u64,
        reply: Reply<u64>,
    },
}
