//! One client transaction as one database transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::operation::{Operation, Refusal};
use crate::record::{Author, LedgerRow, Origin};
use crate::store::{Session, StoreError};
use crate::upload::admission::{Admission, admit};
use crate::upload::engine::{Engine, Upload};
use crate::upload::execution::{Execution, OperationError};
use crate::upload::footprint::row_names;
use crate::wire::{OpAnswer, Outcome, TransactionAnswer, TransactionOutcome, WireTransaction};

/// Runs one transaction from begin to commit.
pub(super) async fn run<S: Session>(
    engine: &Engine,
    session: &mut S,
    upload: &Upload,
    client: &Arc<str>,
    wire: &WireTransaction,
) -> Result<TransactionAnswer, StoreError> {
    session.begin(upload.received_us).await?;
    let answer = attempt(engine, session, upload, client, wire).await;
    let ended = match &answer {
        Ok((_, false)) => session.rollback().await,
        Ok((answer, true)) => {
            let origin = Origin { subject: upload.subject.clone(), client_id: client.clone(), tx_id: answer.tx_id };
            session.commit((engine.clock)(), Some(origin)).await
        }
        Err(_) => session.rollback().await,
    };
    let (answer, _) = answer?;
    ended?;
    Ok(answer)
}

/// Everything between begin and commit; the flag says whether there is something to commit.
async fn attempt<S: Session>(
    engine: &Engine,
    session: &mut S,
    upload: &Upload,
    client: &Arc<str>,
    wire: &WireTransaction,
) -> Result<(TransactionAnswer, bool), StoreError> {
    session.lock_client(&upload.subject, client).await?;
    session.forget(upload.received_us.saturating_sub(engine.retention_us)).await?;
    let mut resolved: Vec<Result<Operation, Refusal>> =
        wire.ops.iter().map(|op| Operation::resolve(&engine.rules, op)).collect();
    session.prefetch(row_names(&engine.rules, resolved.iter().flatten()));
    let (sent, admission) = admission(session, upload, client, wire).await?;
    if let Some(answer) = first_answer(&admission, wire) {
        return Ok((answer, false));
    }
    let mut ops = decide(engine, session, upload, client, &mut resolved, wire, &admission).await?;
    for (index, (op_id, digest)) in sent.into_iter().enumerate() {
        if admission.first_answers[index].is_some() {
            continue;
        }
        let answer = &mut ops[index];
        if admission.is_restored {
            let notice = format!(
                "restored-copy: the client's operation ids were used before for other content; taken as new in epoch {}",
                admission.epoch
            );
            answer.reason = Some(match &answer.reason {
                Some(reason) => format!("{reason}; {notice}").into(),
                None => notice.into(),
            });
        }
        let entry = LedgerRow { op_id, epoch: admission.epoch, digest, answer: answer.clone() };
        session.add_ledger(&upload.subject, client, entry).await?;
    }
    Ok((TransactionAnswer { tx_id: wire.tx_id, outcome: outcome_of(&ops), ops }, true))
}

/// The operations sent (id, digest), and what the ledger says about them.
async fn admission<S: Session>(
    session: &mut S,
    upload: &Upload,
    client: &str,
    wire: &WireTransaction,
) -> Result<(Vec<(i64, [u8; 32])>, Admission), StoreError> {
    let sent: Vec<(i64, [u8; 32])> = wire.ops.iter().map(|op| (op.op_id, op.digest())).collect();
    let op_ids: Vec<i64> = sent.iter().map(|(op_id, _)| *op_id).collect();
    let ledger = session.ledger(&upload.subject, client, &op_ids).await?;
    let admission = admit(&sent, &ledger);
    Ok((sent, admission))
}

/// The first answer again; `None` when an operation of the transaction is new.
fn first_answer(admission: &Admission, wire: &WireTransaction) -> Option<TransactionAnswer> {
    let ops: Vec<OpAnswer> = admission.first_answers.iter().cloned().collect::<Option<_>>()?;
    Some(TransactionAnswer { tx_id: wire.tx_id, outcome: outcome_of(&ops), ops })
}

/// The first answer, read from the ledger without a lock; `None` when an operation is new.
pub(super) async fn recall<S: Session>(
    session: &mut S,
    upload: &Upload,
    client: &str,
    wire: &WireTransaction,
) -> Result<Option<TransactionAnswer>, StoreError> {
    let (_, admission) = admission(session, upload, client, wire).await?;
    Ok(first_answer(&admission, wire))
}

/// Runs the operations and returns their answers. A refused transaction leaves no effects.
async fn decide<S: Session>(
    engine: &Engine,
    session: &mut S,
    upload: &Upload,
    client: &Arc<str>,
    resolved: &mut Vec<Result<Operation, Refusal>>,
    wire: &WireTransaction,
    admission: &Admission,
) -> Result<Vec<OpAnswer>, StoreError> {
    let mut refusals: BTreeMap<usize, (String, Option<Author>)> = BTreeMap::new();
    for index in &admission.forgotten {
        let days = engine.retention_us / 86_400_000_000;
        let reason = format!(
            "older-than-retention: operations are remembered for {days} days, and whether this one took effect is forgotten"
        );
        refusals.insert(*index, (reason, None));
    }
    let was_refused = |answer: &OpAnswer| matches!(answer.outcome, Outcome::Rejected | Outcome::RolledBack);
    let first_was_refused = admission.first_answers.iter().flatten().any(was_refused);
    let mut ops: Vec<Option<Operation>> = Vec::with_capacity(wire.ops.len());
    for (index, op) in resolved.drain(..).enumerate() {
        if admission.first_answers[index].is_some() {
            ops.push(None);
            continue;
        }
        match op {
            Ok(op) => ops.push(Some(op)),
            Err(Refusal(reason)) => {
                refusals.entry(index).or_insert((reason, None));
                ops.push(None);
            }
        }
    }
    if refusals.is_empty() && !first_was_refused {
        let mut execution = Execution::new(engine, session, upload, client, admission.epoch);
        execution.lock_footprint(&ops).await?;
        match execution.operations(&ops, admission).await {
            Ok(answers) => return Ok(answers),
            Err((position, OperationError::Rejected { reason, by })) => {
                session.rollback_to_savepoint().await?;
                refusals.insert(position, (reason, by));
            }
            Err((_, OperationError::Failed(error))) => return Err(error),
        }
    }
    let mut answers = Vec::with_capacity(wire.ops.len());
    for (index, op) in wire.ops.iter().enumerate() {
        answers.push(match (&admission.first_answers[index], refusals.remove(&index)) {
            (Some(first), _) => first.clone(),
            (None, Some((reason, by))) => OpAnswer {
                reason: Some(reason.into()),
                by: by.map(|by| by.to_string().into()),
                ..OpAnswer::plain(op.op_id, Outcome::Rejected)
            },
            (None, None) => OpAnswer::plain(op.op_id, Outcome::RolledBack),
        });
    }
    Ok(answers)
}

fn outcome_of(ops: &[OpAnswer]) -> TransactionOutcome {
    if ops.iter().any(|op| matches!(op.outcome, Outcome::Rejected | Outcome::RolledBack)) {
        TransactionOutcome::Refused
    } else {
        TransactionOutcome::Committed
    }
}
