//! Applies a whole upload to a session, transaction by transaction.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::PolicyKind;
use crate::store::{Session, StoreError};
use crate::upload::engine::{Engine, Upload, UploadBody};
use crate::upload::{baseline, transaction};
use crate::wire::{TransactionAnswer, TransactionOutcome, UploadAnswer};

/// How often a transaction is tried before the device has to send it again.
const ATTEMPTS_MAX: u32 = 6;

/// Evaluates and awaits an expression, again as long as it ends as [`StoreError::Contended`].
macro_rules! retry_contended {
    ($attempt:expr) => {{
        let mut attempt = 1;
        loop {
            match $attempt.await {
                Err(StoreError::Contended(reason)) if attempt < ATTEMPTS_MAX => {
                    tracing::debug!(attempt, %reason, "a transaction is run again");
                    tokio::time::sleep(Duration::from_millis(1 << attempt)).await;
                    attempt += 1;
                }
                ended => break ended,
            }
        }
    }};
}

/// Applies an upload.
///
/// Transactions are attempted in order, each on its own. A refused one does not stop later ones. When the database
/// fails, that transaction and the rest are answered as not attempted.
///
/// # Errors
/// When the database failed and nothing was committed before.
pub async fn apply<S: Session>(engine: &Engine, session: &mut S, upload: &Upload) -> Result<UploadAnswer, StoreError> {
    if engine.policy.kind() == PolicyKind::ArrivalOrder {
        return retry_contended!(baseline::apply(engine, session, upload));
    }
    let UploadBody::Transactions(request) = &upload.body else {
        return Err(StoreError::Statement("a batch is the wire of the arrival-order policy".to_owned()));
    };
    let client: Arc<str> = Arc::from(request.client_id.as_str());
    let mut progress = Progress::default();
    for wire in &request.transactions {
        if progress.failure.is_some() {
            progress.skip(wire.tx_id);
        } else {
            progress.record(wire.tx_id, retry_contended!(transaction::run(engine, session, upload, &client, wire)))?;
        }
    }
    if let Some(error) = progress.failure {
        tracing::warn!(%error, "the database failed in the middle of an upload");
    }
    Ok(UploadAnswer { transactions: progress.answers })
}

/// The first answer to a repeated upload, read from the ledger: no lock is taken, nothing is written. `None`: part of
/// the upload is new, or the policy keeps no ledger.
///
/// # Errors
/// When the database failed.
pub async fn recall<S: Session>(
    engine: &Engine,
    session: &mut S,
    upload: &Upload,
) -> Result<Option<UploadAnswer>, StoreError> {
    let UploadBody::Transactions(request) = &upload.body else { return Ok(None) };
    if engine.policy.kind() == PolicyKind::ArrivalOrder {
        return Ok(None);
    }
    let mut transactions = Vec::with_capacity(request.transactions.len());
    for wire in &request.transactions {
        match transaction::recall(session, upload, &request.client_id, wire).await? {
            Some(answer) => transactions.push(answer),
            None => return Ok(None),
        }
    }
    Ok(Some(UploadAnswer { transactions }))
}

/// The answers so far, and the failure that ended the upload.
#[derive(Debug, Default)]
struct Progress {
    answers: Vec<TransactionAnswer>,
    failure: Option<StoreError>,
}

impl Progress {
    /// Adds the result of a transaction. When the first one fails, the whole upload fails.
    fn record(&mut self, tx_id: i64, attempt: Result<TransactionAnswer, StoreError>) -> Result<(), StoreError> {
        match attempt {
            Ok(answer) => self.answers.push(answer),
            Err(error) if self.answers.is_empty() => return Err(error),
            Err(error) => {
                self.failure = Some(error);
                self.skip(tx_id);
            }
        }
        Ok(())
    }

    fn skip(&mut self, tx_id: i64) {
        self.answers.push(TransactionAnswer { tx_id, outcome: TransactionOutcome::NotAttempted, ops: Vec::new() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_leave_the_rest_unattempted() {
        let check = |attempts: &[bool], expect: Option<&[TransactionOutcome]>| {
            let mut progress = Progress::default();
            let mut failed = false;
            for (tx_id, works) in (1..).zip(attempts) {
                if progress.failure.is_some() {
                    progress.skip(tx_id);
                    continue;
                }
                let outcome = TransactionOutcome::Committed;
                let attempt = match works {
                    true => Ok(TransactionAnswer { tx_id, outcome, ops: Vec::new() }),
                    false => Err(StoreError::Unavailable("no connection".to_owned())),
                };
                failed |= progress.record(tx_id, attempt).is_err();
            }
            let outcomes: Vec<_> = progress.answers.iter().map(|answer| answer.outcome).collect();
            assert_eq!((!failed).then_some(outcomes.as_slice()), expect, "{attempts:?}");
        };
        use TransactionOutcome::{Committed, NotAttempted};
        check(&[], Some(&[]));
        check(&[true, true], Some(&[Committed, Committed]));
        check(&[true, false, true], Some(&[Committed, NotAttempted, NotAttempted]));
        check(&[false], None);
    }
}
