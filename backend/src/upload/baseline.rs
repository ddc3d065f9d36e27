//! The first upload handler, reproduced: one database transaction for each request, statements in order, every operation
//! answered as applied, a rollback and a 500 on any database error.
//!
//! It keeps no ledger, no stamps, no tombstones. Operation ids are in the commit for observers only.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::operation::{OpKind, Operation, Refusal};
use crate::policy::{Effect, Situation, inserted_row};
use crate::record::{Cause, LedgerRow, Origin, Writer};
use crate::store::{Put, Session, StoreError};
use crate::upload::engine::{Engine, Upload, UploadBody};
use crate::wire::{OpAnswer, Outcome, TransactionAnswer, TransactionOutcome, UploadAnswer, WireOp};

/// One entry, in either request format.
struct Entry<'a> {
    op_id: i64,
    op: &'a str,
    table: &'a str,
    id: Option<&'a str>,
    data: Option<&'a Map<String, Json>>,
    digest: [u8; 32],
}

/// Applies a whole request as one transaction.
pub(super) async fn apply<S: Session>(
    engine: &Engine,
    session: &mut S,
    upload: &Upload,
) -> Result<UploadAnswer, StoreError> {
    let (client, tx_id, entries) = entries(&upload.body);
    session.begin(upload.received_us).await?;
    for entry in &entries {
        let (subject, client) = (upload.subject.clone(), client.clone());
        let writer = Arc::new(Writer { subject, client, epoch: 0, op: entry.op_id });
        if let Err(error) = statement(engine, session, upload.received_us, entry, &writer).await {
            session.rollback().await?;
            return Err(error);
        }
    }
    let observed = entries
        .iter()
        .map(|entry| LedgerRow {
            op_id: entry.op_id,
            epoch: 0,
            digest: entry.digest,
            answer: OpAnswer::plain(entry.op_id, Outcome::Applied),
        })
        .collect();
    session.observe(observed).await?;
    let origin = Origin { subject: upload.subject.clone(), client_id: client, tx_id };
    session.commit((engine.clock)(), Some(origin)).await?;
    Ok(answer(&upload.body))
}

fn entries(body: &UploadBody) -> (Arc<str>, i64, Vec<Entry<'_>>) {
    match body {
        UploadBody::Transactions(request) => {
            let ops = request.transactions.iter().flat_map(|transaction| &transaction.ops);
            let entries = ops
                .map(|op| Entry {
                    op_id: op.op_id,
                    op: &op.op,
                    table: &op.table,
                    id: Some(&op.id),
                    data: op.data.as_ref(),
                    digest: op.digest(),
                })
                .collect();
            let tx_id = request.transactions.first().map_or(0, |transaction| transaction.tx_id);
            (Arc::from(request.client_id.as_str()), tx_id, entries)
        }
        UploadBody::Batch(request) => {
            let entries = request
                .batch
                .iter()
                .zip(1..)
                .map(|(op, op_id)| Entry {
                    op_id,
                    op: op.op.as_deref().unwrap_or(""),
                    table: op.table.as_deref().filter(|name| !name.is_empty()).or(op.kind.as_deref()).unwrap_or(""),
                    id: op.id.as_deref(),
                    data: op.data.as_ref().or(op.op_data.as_ref()),
                    digest: [0; 32],
                })
                .collect();
            (Arc::from(""), 0, entries)
        }
    }
}

fn answer(body: &UploadBody) -> UploadAnswer {
    let UploadBody::Transactions(request) = body else { return UploadAnswer::default() };
    let transactions = request
        .transactions
        .iter()
        .map(|transaction| TransactionAnswer {
            tx_id: transaction.tx_id,
            outcome: TransactionOutcome::Committed,
            ops: transaction.ops.iter().map(|op| OpAnswer::plain(op.op_id, Outcome::Applied)).collect(),
        })
        .collect();
    UploadAnswer { transactions }
}

async fn statement<S: Session>(
    engine: &Engine,
    session: &mut S,
    received_us: i64,
    entry: &Entry<'_>,
    writer: &Arc<Writer>,
) -> Result<(), StoreError> {
    // Entries without a table or without data are skipped; a DELETE needs no data.
    if entry.table.is_empty() || (entry.data.is_none() && entry.op != "DELETE") {
        return Ok(());
    }
    if !matches!(entry.op, "PUT" | "PATCH" | "DELETE") {
        return Ok(());
    }
    let wire = WireOp {
        op_id: entry.op_id,
        op: entry.op.to_owned(),
        table: entry.table.to_owned(),
        id: entry.id.unwrap_or("").to_owned(),
        data: entry.data.cloned(),
        old: None,
    };
    let op = Operation::parse(&engine.rules, &wire).map_err(|Refusal(reason)| StoreError::Statement(reason))?;
    if op.kind != OpKind::Delete && op.data.is_empty() {
        return Err(StoreError::Statement("a statement without columns".to_owned()));
    }
    if entry.id.is_none() {
        return match op.kind {
            OpKind::Put => Err(StoreError::NotNull("id".to_owned())),
            OpKind::Patch | OpKind::Delete => Ok(()),
        };
    }
    let rules = &engine.rules.tables[op.table];
    if op.kind == OpKind::Put {
        // PostgreSQL checks the row proposed for insertion before it looks for a conflict.
        let proposed = inserted_row(rules, &op, received_us);
        if let Some((column, _)) =
            rules.columns.iter().zip(proposed.iter()).find(|(column, value)| column.not_null && value.is_null())
        {
            return Err(StoreError::NotNull(column.name.clone()));
        }
    }
    let stored = session.stored(op.table, &op.id).await?;
    let decision = engine.policy.decide(&Situation { rules, stored: &stored, op: &op, writer, received_us });
    match decision.effect {
        Effect::Write(write) => {
            let put = Put {
                table: op.table,
                id: op.id.clone(),
                row: write.row.into(),
                meta: None,
                by: op.op_id,
                cause: Cause::Client,
            };
            session.put(put).await
        }
        Effect::Delete { .. } => session.delete(op.table, &op.id, None, op.op_id, Cause::Client).await,
        Effect::None | Effect::RestampTombstone { .. } => Ok(()),
    }
}
