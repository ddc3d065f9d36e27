//! Uploads: the algorithm, once, over any [`Session`].
//!
//! [`transaction`] is one client transaction under a policy that remembers; [`admission`] tells new operations
//! from repeated ones; [`integrity`], [`unique`], [`exclusive`] and [`cascade`] are what concerns other rows;
//! [`baseline`] is the first upload handler, which does none of this.

mod admission;
mod baseline;
mod cascade;
mod exclusive;
mod integrity;
mod transaction;
mod unique;

use std::sync::Arc;

use crate::policy::{Policy, PolicyKind};
use crate::rules::Rules;
use crate::store::{Session, StoreError};
use crate::wire::{BaselineRequest, TransactionAnswer, TransactionOutcome, UploadAnswer, UploadRequest};

/// Microseconds since 1970-01-01 UTC, from whatever clock the world has.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What decisions need besides the database.
#[derive(Clone)]
pub struct Engine {
    /// The application.
    pub rules: Arc<Rules>,
    /// The policy.
    pub policy: Arc<dyn Policy>,
    /// The clock.
    pub clock: Clock,
    /// How long ledger, tombstones and aliases are kept.
    pub retention_us: i64,
}

/// One authenticated request.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The token's subject.
    pub subject: Arc<str>,
    /// When the request was received: `now()` in every transaction of it.
    pub received_us: i64,
    /// What was posted.
    pub body: UploadBody,
}

/// What was posted.
#[derive(Clone, Debug)]
pub enum UploadBody {
    /// The wire of this backend.
    Transactions(UploadRequest),
    /// The wire of the first upload handler; only `arrival-order` takes it.
    Batch(BaselineRequest),
}

/// Applies an upload.
///
/// Transactions are attempted in order, each on its own; a refused one does not stop later ones. When the database
/// fails, that transaction and the rest are not attempted.
///
/// # Errors
/// When the database failed and nothing was committed before.
pub async fn apply<S: Session>(engine: &Engine, session: &mut S, upload: &Upload) -> Result<UploadAnswer, StoreError> {
    if engine.policy.kind() == PolicyKind::ArrivalOrder {
        return baseline::apply(engine, session, upload).await;
    }
    let UploadBody::Transactions(request) = &upload.body else {
        return Err(StoreError::Statement("a batch is the wire of the arrival-order policy".to_owned()));
    };
    let client: Arc<str> = Arc::from(request.client_id.as_str());
    let mut answers: Vec<TransactionAnswer> = Vec::with_capacity(request.transactions.len());
    let mut failure: Option<StoreError> = None;
    for wire in &request.transactions {
        if failure.is_none() {
            match transaction::run(engine, session, upload, &client, wire).await {
                Ok(answer) => {
                    answers.push(answer);
                    continue;
                }
                Err(error) if answers.is_empty() => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        answers.push(TransactionAnswer {
            tx_id: wire.tx_id,
            outcome: TransactionOutcome::NotAttempted,
            ops: Vec::new(),
        });
    }
    if let Some(error) = failure {
        tracing::warn!(%error, "the database failed in the middle of an upload");
    }
    Ok(UploadAnswer { transactions: answers })
}
