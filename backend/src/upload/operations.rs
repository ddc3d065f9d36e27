//! Runs the operations of a transaction, one after the other: decide, take effect, answer.

use std::sync::Arc;

use fixtures::Value;

use crate::operation::{OpKind, Operation};
use crate::policy::{Decision, Effect, Situation};
use crate::record::{Cause, Stored, Tombstone, Writer};
use crate::store::{Put, Session, StoreError};
use crate::upload::admission::Admission;
use crate::upload::execution::{Execution, OperationError};
use crate::wire::{OpAnswer, Outcome};

impl<S: Session> Execution<'_, S> {
    pub(super) async fn operations(
        &mut self,
        ops: &[Option<Operation>],
        admission: &Admission,
    ) -> Result<Vec<OpAnswer>, (usize, OperationError)> {
        let mut answers: Vec<OpAnswer> = Vec::with_capacity(ops.len());
        for (position, op) in ops.iter().enumerate() {
            let Some(op) = op else {
                answers.push(
                    admission.first_answers[position].clone().expect("an operation runs unless it was answered before"),
                );
                continue;
            };
            self.position = position;
            answers.push(self.operation(op.clone()).await.map_err(|error| (position, error))?);
        }
        self.resolve_deferred().await?;
        Ok(answers)
    }

    async fn operation(&mut self, mut op: Operation) -> Result<OpAnswer, OperationError> {
        let rewritten = self.rewrite(&mut op).await?;
        let mut merged_into = rewritten.then(|| op.id.clone());
        let writer = self.writer(op.op_id);
        let mut stored = self.session.stored(op.table, &op.id).await?;
        let mut decision = self.decide(&op, &stored, &writer);
        if op.kind == OpKind::Put
            && stored.live().is_none()
            && let Effect::Write(write) = &decision.effect
            && let Some((unique, survivor)) = self.survivor(&op, &write.row).await?
        {
            self.merge_into(&op, unique, &survivor, &writer).await?;
            op.id = survivor.clone();
            stored = self.session.stored(op.table, &op.id).await?;
            decision = self.decide(&op, &stored, &writer);
            if decision.outcome == Outcome::Applied {
                decision.outcome = Outcome::Merged;
            }
            let rules = &self.engine.rules;
            let key = rules.tables[op.table].column_names(&rules.uniques[unique].columns);
            decision.explain(format!("unique: {key}"));
            merged_into = Some(survivor);
        }
        if decision.outcome == Outcome::Rejected {
            let reason = decision.reason.unwrap_or_else(|| "rejected".to_owned());
            return Err(OperationError::rejected(reason, decision.by));
        }
        self.take_effect(&op, &stored, &mut decision, &writer).await?;
        let Decision { outcome, reason, by, conflicts, .. } = decision;
        for conflict in conflicts {
            self.record_conflict(op.table, &op.id, conflict).await?;
        }
        Ok(OpAnswer {
            op_id: op.op_id,
            outcome,
            reason: reason.map(Into::into),
            by: by.map(|by| by.to_string().into()),
            merged_into,
        })
    }

    /// Replaces the operation's id and its references, sent and old, by the rows that they stand for. Returns whether the
    /// id changed.
    async fn rewrite(&mut self, op: &mut Operation) -> Result<bool, StoreError> {
        let rules = self.engine.rules.clone();
        for index in &rules.tables[op.table].references {
            let reference = &rules.references[*index];
            let old = op.old.as_mut().map_or(&mut [][..], |old| old.as_mut_slice());
            for (column, value) in op.data.iter_mut().chain(old) {
                if *column != reference.column {
                    continue;
                }
                if let Value::Text(parent) = value {
                    let resolved = self.resolve_id(reference.parent, parent).await?;
                    if resolved != *parent {
                        *value = Value::Text(resolved);
                    }
                }
            }
        }
        let id = self.resolve_id(op.table, &op.id).await?;
        let rewritten = id != op.id;
        op.id = id;
        Ok(rewritten)
    }

    fn decide(&self, op: &Operation, stored: &Stored, writer: &Arc<Writer>) -> Decision {
        self.engine.policy.decide(&Situation {
            rules: &self.engine.rules.tables[op.table],
            stored,
            op,
            writer,
            received_us: self.received_us,
        })
    }

    async fn take_effect(
        &mut self,
        op: &Operation,
        stored: &Stored,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<(), OperationError> {
        match std::mem::replace(&mut decision.effect, Effect::None) {
            Effect::Write(mut write) => {
                if !self.enforce_integrity(op, stored, &mut write, decision, writer).await? {
                    return Ok(());
                }
                let put = Put {
                    table: op.table,
                    id: op.id.clone(),
                    row: write.row.into(),
                    meta: Some(write.meta),
                    by: op.op_id,
                    cause: Cause::Client,
                };
                self.session.put(put).await?;
            }
            Effect::Delete { at_us } => {
                if let Stored::Live(row) = stored {
                    self.delete(op.table, &op.id, row, at_us, writer, Cause::Client).await?;
                }
            }
            Effect::RestampTombstone { at_us } => {
                if let Stored::Deleted(tombstone) = stored {
                    let received_us = self.received_us;
                    let tombstone =
                        Tombstone { at_us, received_us, writer: writer.clone(), ..Tombstone::clone(tombstone) };
                    self.session.put_tombstone(op.table, &op.id, tombstone).await?;
                }
            }
            Effect::None => self.record_heartbeats(op, stored).await?,
        }
        Ok(())
    }
}
