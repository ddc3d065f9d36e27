//! How others reach the writer: a handle sends it jobs and waits for the answers.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::current::CurrentService;
use super::job::{DurablePosition, GroupJob, Job, Reply, SnapshotReport, StoreStatus, WriterError};
use super::layout::SourceSnapshot;
use crate::changes::logged::LoggedTransaction;

/// Reaches the writer of a store. The writer ends once all its handles are gone.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    jobs: mpsc::Sender<Job>,
    durable: watch::Receiver<DurablePosition>,
    awaited: Arc<watch::Sender<u64>>,
    current: CurrentService,
}

impl StoreHandle {
    pub(super) fn new(
        jobs: mpsc::Sender<Job>,
        durable: watch::Receiver<DurablePosition>,
        current: CurrentService,
    ) -> Self {
        Self { jobs, durable, awaited: Arc::new(watch::Sender::new(0)), current }
    }

    /// The service that answers now.
    #[must_use]
    pub fn current(&self) -> &CurrentService {
        &self.current
    }

    /// How far the store is. The receiver sees changes.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<DurablePosition> {
        self.durable.clone()
    }

    /// The greatest position that a write checkpoint waits for. The receiver sees changes.
    #[must_use]
    pub fn awaited(&self) -> watch::Receiver<u64> {
        self.awaited.subscribe()
    }

    /// Sends a transaction. [`Self::durable`] tells what becomes of it.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn transaction(&self, attempt: u64, transaction: LoggedTransaction) -> Result<(), WriterError> {
        self.jobs
            .send(Job::Group(GroupJob::Transaction { attempt, transaction }))
            .await
            .map_err(|_| WriterError::Closed)
    }

    /// Says that the source has nothing more up to a position.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn position(&self, attempt: u64, lsn: u64) -> Result<(), WriterError> {
        self.jobs.send(Job::Group(GroupJob::Position { attempt, lsn })).await.map_err(|_| WriterError::Closed)
    }

    /// Stores a write checkpoint, see [`crate::service::Provider::write_checkpoint`].
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn write_checkpoint(&self, client: &str, requested: Option<u64>, head: u64) -> Result<u64, WriterError> {
        self.awaited.send_if_modified(|awaited| std::mem::replace(awaited, head.max(*awaited)) < head);
        let client = client.to_owned();
        self.ask(|reply| Job::Group(GroupJob::WriteCheckpoint { client, requested, head, reply })).await
    }

    /// Notes durably that a new snapshot is under way, and that replication cannot go on without it.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn require_snapshot(&self) -> Result<(), WriterError> {
        self.ask(|reply| Job::RequireSnapshot { reply }).await
    }

    /// Replaces the rows by those of a new snapshot.
    ///
    /// # Errors
    /// When the sync configuration does not fit its tables, or it could not be made durable.
    pub async fn apply_snapshot(&self, snapshot: SourceSnapshot) -> Result<SnapshotReport, WriterError> {
        self.ask(|reply| Job::ApplySnapshot { snapshot: Box::new(snapshot), reply }).await
    }

    /// Compacts all buckets. Returns how many operations were replaced.
    ///
    /// # Errors
    /// When it could not be stored. Clients do not notice.
    pub async fn compact(&self) -> Result<u64, WriterError> {
        self.ask(|reply| Job::Compact { reply }).await
    }

    /// What the store holds.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn status(&self) -> Result<StoreStatus, WriterError> {
        self.ask(|reply| Job::Status { reply }).await
    }

    /// Ends the writer, after everything that was sent before.
    ///
    /// # Errors
    /// When it has ended before.
    pub async fn close(&self) -> Result<(), WriterError> {
        self.ask(|reply| Job::Close { reply }).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, WriterError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| WriterError::Closed)?;
        answer.await.map_err(|_| WriterError::Closed)?
    }
}
