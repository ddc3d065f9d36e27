//! What replication needs of a source: committed changes, in order.

use std::future::Future;

use crate::changes::logged::LoggedTransaction;

/// What a source sends.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// A transaction.
    Transaction(LoggedTransaction),
    /// Everything up to this position was sent, and none of it changes rows that are replicated.
    Position {
        /// The position.
        lsn: u64,
        /// Whether the source waits for a confirmation.
        urgent: bool,
    },
}

/// Where committed changes come from after the snapshot: the write-ahead log of a server, or a queue in memory.
pub trait Source: Send {
    /// Why a source ends.
    type Error: Send;

    /// The next event. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<SourceEvent, Self::Error>> + Send;

    /// Says that everything up to the position is durable here, so that the source may forget it.
    fn confirm(&mut self, lsn: u64);

    /// Makes the source send an event although nobody writes, so that an idle source differs from a lost one.
    fn probe(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
