//! Hands the changes of a source to the store, and confirms to the source what is durable.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::progress::Progress;
use super::source::{Source, SourceEvent};
use crate::clock::Clock;
use crate::durable::{StoreHandle, WriterError};

/// How often the position after transactions without changes is made durable and confirmed.
const POSITION_INTERVAL: Duration = Duration::from_millis(250);
/// How often a replication that has nothing to do shows that it is alive.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// After so much silence the source is probed, and after as much again it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Why applying ended.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError<E> {
    /// The source ended.
    #[error(transparent)]
    Source(E),
    /// The store ended.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// The store did not take what was sent, so the source must be read again.
    #[error("what was sent could not be stored; reading it again")]
    Rejected,
    /// The source says nothing, though it should.
    #[error("the source has fallen silent")]
    Silent,
}

/// Whether a write checkpoint waits for a position that is known and only has to be made durable. Clients do not apply
/// downloads until it is.
fn is_awaited(awaited: u64, durable: u64, known: Option<u64>) -> bool {
    awaited > durable && known.is_some_and(|known| known >= awaited)
}

/// Hands over what the source sends, and confirms what is durable, until one of them ends. `attempt` increases from one
/// call to the next.
///
/// # Errors
/// Always: why it ended.
pub async fn apply<S: Source>(
    mut source: S,
    store: &StoreHandle,
    attempt: u64,
    progress: &Progress,
    clock: &Clock,
) -> Result<std::convert::Infallible, ApplyError<S::Error>> {
    let mut durable = store.durable();
    let mut awaited = store.awaited();
    let mut unsaved: Option<u64> = None;
    let mut next_position = Instant::now();
    let (mut last_event, mut probed) = (Instant::now(), false);
    loop {
        let now = *durable.borrow_and_update();
        if now.rejected_attempt >= attempt {
            return Err(ApplyError::Rejected);
        }
        source.confirm(now.lsn);
        tokio::select! {
            biased;
            changed = durable.changed() => changed.map_err(|_| WriterError::Closed)?,
            changed = awaited.changed() => {
                changed.map_err(|_| WriterError::Closed)?;
                if is_awaited(*awaited.borrow(), now.lsn, unsaved) {
                    next_position = Instant::now();
                }
            }
            () = tokio::time::sleep_until(next_position), if unsaved.is_some() => {
                if let Some(lsn) = unsaved.take().filter(|lsn| *lsn > now.lsn) {
                    store.position(attempt, lsn).await?;
                }
                next_position = Instant::now() + POSITION_INTERVAL;
            }
            event = source.next() => {
                progress.touch(clock);
                (last_event, probed) = (Instant::now(), false);
                match event.map_err(ApplyError::Source)? {
                    SourceEvent::Transaction(transaction) => {
                        let count = transaction.changes.len() as u64;
                        progress.transactions.fetch_add(u64::from(count > 0), Ordering::Relaxed);
                        progress.changes.fetch_add(count, Ordering::Relaxed);
                        // A transaction without changes is not worth a write of its own.
                        unsaved = unsaved.max((count == 0).then_some(transaction.lsn));
                        store.transaction(attempt, transaction).await?;
                    }
                    SourceEvent::Position { lsn, urgent } => {
                        unsaved = unsaved.max(Some(lsn));
                        if urgent || is_awaited(*awaited.borrow(), now.lsn, unsaved) {
                            next_position = Instant::now();
                        }
                    }
                }
            }
            () = tokio::time::sleep(ALIVE_INTERVAL) => {
                progress.touch(clock);
                if last_event.elapsed() >= SILENCE_MAX {
                    if std::mem::replace(&mut probed, true) {
                        return Err(ApplyError::Silent);
                    }
                    source.probe().await.map_err(ApplyError::Source)?;
                    last_event = Instant::now();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
