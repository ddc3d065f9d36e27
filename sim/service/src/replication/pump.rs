//! From a source into the store, and the store's word back to the source.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Arrival, Source};
use crate::durable::engine::{EngineError, Handle};
use crate::service::Clock;

/// How often a position that concerns nobody is made durable and confirmed.
const POSITION: Duration = Duration::from_millis(250);
/// How often a replication that has nothing to do shows that it lives.
const TICK: Duration = Duration::from_secs(2);
/// After so much silence a source is prodded, and after as much again it is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// What replication has to show for itself.
#[derive(Debug, Default)]
pub struct Progress {
    /// Whether changes stream in now.
    pub streaming: AtomicBool,
    /// Sessions that began to stream.
    pub sessions: AtomicU64,
    /// Snapshots taken over.
    pub snapshots: AtomicU64,
    /// Transactions with changes.
    pub transactions: AtomicU64,
    /// Row changes.
    pub changes: AtomicU64,
    /// When it last did something, or saw that there was nothing to do: microseconds of the service's clock.
    pub touched_us: AtomicI64,
}

impl Progress {
    /// It lives.
    pub fn touch(&self, clock: &Clock) {
        self.touched_us.store(clock(), Ordering::Relaxed);
    }
}

/// Why pumping ended.
#[derive(Debug, thiserror::Error)]
pub enum PumpError<E> {
    /// The source ended.
    #[error(transparent)]
    Source(E),
    /// The store ended.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store did not take what was sent: it is to be sent again.
    #[error("what was sent could not be stored; reading it again")]
    Broken,
    /// The source says nothing, though it should.
    #[error("the source has fallen silent")]
    Silent,
}

/// Whether a write checkpoint waits for a position that is known and only has to be made durable: clients hold their
/// downloads back until it is.
fn is_awaited(awaited: u64, durable: u64, known: Option<u64>) -> bool {
    awaited > durable && known.is_some_and(|known| known >= awaited)
}

/// Hands over what the source says, and confirms what is durable, until one of them ends. Epochs increase from one
/// call to the next.
///
/// # Errors
/// Always: why it ended.
pub async fn pump<S: Source>(
    mut source: S,
    engine: &Handle,
    epoch: u64,
    progress: &Progress,
    clock: &Clock,
) -> Result<std::convert::Infallible, PumpError<S::Error>> {
    let mut durable = engine.durable();
    let mut awaited = engine.awaited();
    let mut waiting: Option<u64> = None;
    let mut next_position = Instant::now();
    let (mut heard, mut prodded) = (Instant::now(), false);
    loop {
        let now = *durable.borrow_and_update();
        if now.broken >= epoch {
            return Err(PumpError::Broken);
        }
        source.confirm(now.lsn);
        tokio::select! {
            biased;
            changed = durable.changed() => changed.map_err(|_| EngineError::Closed)?,
            changed = awaited.changed() => {
                changed.map_err(|_| EngineError::Closed)?;
                if is_awaited(*awaited.borrow(), now.lsn, waiting) {
                    next_position = Instant::now();
                }
            }
            () = tokio::time::sleep_until(next_position), if waiting.is_some() => {
                if let Some(lsn) = waiting.take().filter(|lsn| *lsn > now.lsn) {
                    engine.position(epoch, lsn).await?;
                }
                next_position = Instant::now() + POSITION;
            }
            arrival = source.next() => {
                progress.touch(clock);
                (heard, prodded) = (Instant::now(), false);
                match arrival.map_err(PumpError::Source)? {
                    Arrival::Transaction(transaction) => {
                        let count = transaction.changes.len() as u64;
                        progress.transactions.fetch_add(u64::from(count > 0), Ordering::Relaxed);
                        progress.changes.fetch_add(count, Ordering::Relaxed);
                        // One that concerns nobody is not worth a write of its own.
                        waiting = waiting.max((count == 0).then_some(transaction.lsn));
                        engine.transaction(epoch, transaction).await?;
                    }
                    Arrival::Position { lsn, urgent } => {
                        waiting = waiting.max(Some(lsn));
                        if urgent || is_awaited(*awaited.borrow(), now.lsn, waiting) {
                            next_position = Instant::now();
                        }
                    }
                }
            }
            () = tokio::time::sleep(TICK) => {
                progress.touch(clock);
                if heard.elapsed() >= SILENCE {
                    if std::mem::replace(&mut prodded, true) {
                        return Err(PumpError::Silent);
                    }
                    source.prod().await.map_err(PumpError::Source)?;
                    heard = Instant::now();
                }
            }
        }
    }
}
