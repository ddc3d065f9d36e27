//! A source in memory: a durable store takes its changes as it takes those of a server.

use tokio::sync::mpsc;

use super::source::{Source, SourceEvent};
use crate::changes::logged::{LoggedChange, LoggedTransaction};
use crate::changes::{RowChange, SourceTransaction};

/// A queue of transactions as a [`Source`]. It starts with the first transaction that is sent, whatever was confirmed
/// before.
#[derive(Debug)]
pub struct MemorySource(mpsc::UnboundedReceiver<SourceTransaction>);

/// All senders are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source in memory has ended")]
pub struct MemorySourceEnded;

impl MemorySource {
    /// A source, and the sender of its transactions.
    #[must_use]
    pub fn new() -> (mpsc::UnboundedSender<SourceTransaction>, Self) {
        let (sender, queue) = mpsc::unbounded_channel();
        (sender, Self(queue))
    }
}

impl Source for MemorySource {
    type Error = MemorySourceEnded;

    async fn next(&mut self) -> Result<SourceEvent, MemorySourceEnded> {
        let SourceTransaction { lsn, changes } = self.0.recv().await.ok_or(MemorySourceEnded)?;
        let logged = |RowChange { table, id: key, before: old, after }: RowChange| match after {
            None => LoggedChange::Delete { table, key, old },
            Some(row) => {
                let cells = row.iter().cloned().map(Some).collect();
                LoggedChange::Put { table, key, old_key: None, old, cells }
            }
        };
        Ok(SourceEvent::Transaction(LoggedTransaction { lsn, changes: changes.into_iter().map(logged).collect() }))
    }

    fn confirm(&mut self, _lsn: u64) {}

    async fn probe(&mut self) -> Result<(), MemorySourceEnded> {
        Ok(())
    }
}
