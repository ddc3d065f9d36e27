//! One client transaction as one database transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fixtures::Value;

use crate::operation::{OpKind, Operation, Refusal};
use crate::policy::{Conflict, Decision, Effect, Situation, Target};
use crate::record::{Author, Cause, LedgerRow, Origin, Tombstone, Writer};
use crate::rules::Rules;
use crate::store::{Footprint, NewConflict, Put, Session, StoreError, Stored};
use crate::upload::admission::{Admission, admit};
use crate::upload::unique::key_name;
use crate::upload::{Engine, Upload};
use crate::wire::{OpAnswer, Outcome, TransactionAnswer, TransactionOutcome, WireTransaction};

/// How many aliases a name is followed through. Aliases of aliases arise only when a survivor itself loses later.
const ALIAS_HOPS_MAX: usize = 16;

/// Why an operation did not get an answer of its own.
#[derive(Debug)]
pub(super) enum Stop {
    /// It can never be applied.
    Rejected {
        /// Why.
        reason: String,
        /// Whose write stands in its way.
        by: Option<Author>,
    },
    /// The database failed.
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Contended(_) => Self::Failed(error),
            refused => Self::Rejected { reason: refused.to_string(), by: None },
        }
    }
}

impl Stop {
    pub(super) fn rejected(reason: String, by: Option<Author>) -> Self {
        Self::Rejected { reason, by }
    }
}

/// The state of one transaction while its operations run.
pub(super) struct Run<'a, S> {
    pub(super) engine: &'a Engine,
    pub(super) session: &'a mut S,
    pub(super) subject: &'a Arc<str>,
    pub(super) client: &'a Arc<str>,
    /// The client's epoch.
    pub(super) epoch: u32,
    pub(super) received_us: i64,
    /// The position of the operation that runs.
    pub(super) position: usize,
    /// The last position at which the transaction deletes each row.
    pub(super) deletes: BTreeMap<(usize, Arc<str>), usize>,
    /// What can be judged only when all operations have run.
    pub(super) deferred: Vec<Deferred>,
}

/// A child of a deleted parent that a later operation is to delete: looked at again at the end of the transaction.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) reference: usize,
    pub(super) child: Arc<str>,
    pub(super) parent: Arc<str>,
    /// The operation to be held responsible: its position and its writer.
    pub(super) position: usize,
    pub(super) writer: Arc<Writer>,
}

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
    session.foresee(names(&engine.rules, resolved.iter().flatten()));
    let (sent, admission) = admission(session, upload, client, wire).await?;
    if let Some(answer) = first_answer(&admission, wire) {
        return Ok((answer, false));
    }
    let mut ops = decide(engine, session, upload, client, &mut resolved, wire, &admission).await?;
    for (index, (op_id, digest)) in sent.into_iter().enumerate() {
        if admission.first[index].is_some() {
            continue;
        }
        let answer = &mut ops[index];
        if admission.is_restored {
            let told = format!(
                "restored-copy: the client's operation ids were used before for other content; taken as new in epoch {}",
                admission.epoch
            );
            answer.reason = Some(match &answer.reason {
                Some(reason) => format!("{reason}; {told}").into(),
                None => told.into(),
            });
        }
        let entry = LedgerRow { op_id, epoch: admission.epoch, digest, answer: answer.clone() };
        session.add_ledger(&upload.subject, client, entry).await?;
    }
    Ok((TransactionAnswer { tx_id: wire.tx_id, outcome: outcome_of(&ops), ops }, true))
}

/// What was sent, and what the ledger says about it.
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

/// The first answer to a transaction of which nothing is new.
fn first_answer(admission: &Admission, wire: &WireTransaction) -> Option<TransactionAnswer> {
    let ops: Vec<OpAnswer> = admission.first.iter().cloned().collect::<Option<_>>()?;
    Some(TransactionAnswer { tx_id: wire.tx_id, outcome: outcome_of(&ops), ops })
}

/// The first answer, from the ledger alone and without a lock; `None` when something is new.
pub(super) async fn recall<S: Session>(
    session: &mut S,
    upload: &Upload,
    client: &str,
    wire: &WireTransaction,
) -> Result<Option<TransactionAnswer>, StoreError> {
    let (_, admission) = admission(session, upload, client, wire).await?;
    Ok(first_answer(&admission, wire))
}

/// The names of rows in the operations: their own, and those that they refer to or referred to.
fn names<'a>(rules: &Rules, ops: impl Iterator<Item = &'a Operation>) -> BTreeSet<(usize, Arc<str>)> {
    let mut names = BTreeSet::new();
    for op in ops {
        names.insert((op.table, op.id.clone()));
        for reference in &rules.tables[op.table].references {
            let reference = &rules.references[*reference];
            for value in [op.sent(reference.column), op.base(reference.column)].into_iter().flatten() {
                if let Value::Text(parent) = value {
                    names.insert((reference.parent, parent.clone()));
                }
            }
        }
    }
    names
}

fn outcome_of(ops: &[OpAnswer]) -> TransactionOutcome {
    if ops.iter().any(|op| matches!(op.outcome, Outcome::Rejected | Outcome::RolledBack)) {
        TransactionOutcome::Refused
    } else {
        TransactionOutcome::Committed
    }
}

/// The answers to all operations, their effects in the open transaction. A refused transaction leaves none.
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
    let first_was_refused = admission.first.iter().flatten().any(was_refused);
    let mut ops: Vec<Option<Operation>> = Vec::with_capacity(wire.ops.len());
    for (index, op) in resolved.drain(..).enumerate() {
        if admission.first[index].is_some() {
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
        let mut run = Run::new(engine, session, upload, client, admission.epoch);
        run.plan(&ops).await?;
        match run.operations(&ops, admission).await {
            Ok(answers) => return Ok(answers),
            Err((position, Stop::Rejected { reason, by })) => {
                session.rollback_to_savepoint().await?;
                refusals.insert(position, (reason, by));
            }
            Err((_, Stop::Failed(error))) => return Err(error),
        }
    }
    let mut answers = Vec::with_capacity(wire.ops.len());
    for (index, op) in wire.ops.iter().enumerate() {
        answers.push(match (&admission.first[index], refusals.remove(&index)) {
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

impl<'a, S: Session> Run<'a, S> {
    fn new(engine: &'a Engine, session: &'a mut S, upload: &'a Upload, client: &'a Arc<str>, epoch: u32) -> Self {
        Self {
            engine,
            epoch,
            session,
            subject: &upload.subject,
            client,
            received_us: upload.received_us,
            position: 0,
            deletes: BTreeMap::new(),
            deferred: Vec::new(),
        }
    }

    /// Notes what the transaction is going to do, and locks what it decides on before it reads any of it.
    ///
    /// The names are resolved through the aliases before and after locking: an alias that arose in between adds
    /// its survivor to the locks. Children that a delete takes along are found, and locked, when it runs.
    async fn plan(&mut self, ops: &[Option<Operation>]) -> Result<(), StoreError> {
        let mut footprint = self.footprint(ops).await?;
        loop {
            self.session.lock(&footprint).await?;
            let again = self.footprint(ops).await?;
            if again == footprint {
                break;
            }
            footprint = again;
        }
        for (position, op) in ops.iter().enumerate() {
            let Some(op) = op else { continue };
            if op.kind == OpKind::Delete {
                let row = (op.table, self.resolve_id(op.table, &op.id).await?);
                self.deletes.insert(row, position);
            }
        }
        self.session.savepoint().await
    }

    async fn footprint(&mut self, ops: &[Option<Operation>]) -> Result<Footprint, StoreError> {
        let rules = &self.engine.rules;
        let mut footprint = Footprint::default();
        for op in ops.iter().flatten() {
            let table = &rules.tables[op.table];
            footprint.rows.insert((op.table, self.resolve_id(op.table, &op.id).await?));
            footprint.rows.insert((op.table, op.id.clone()));
            for reference in &table.references {
                let reference = &rules.references[*reference];
                if let Some(Value::Text(parent)) = op.sent(reference.column) {
                    footprint.rows.insert((reference.parent, self.resolve_id(reference.parent, parent).await?));
                }
            }
            for unique in &table.uniques {
                let columns = &rules.uniques[*unique].columns;
                if columns.iter().any(|column| op.sent(*column).is_some()) {
                    let values = columns.iter().map(|column| op.sent(*column).cloned()).collect();
                    footprint.uniques.push((*unique, values));
                }
            }
            // What does not touch the column leaves the invariant as it was. A revived row may bring its column back.
            let touches = |column: usize| {
                op.kind == OpKind::Put
                    || table.edit_revives
                    || table.register(column).columns.iter().any(|column| op.sent(*column).is_some())
            };
            footprint.trees.extend(table.trees.iter().filter(|index| touches(rules.trees[**index].column)));
            let starts = table.exclusives.iter().filter(|index| touches(rules.exclusives[**index].running));
            footprint.exclusives.extend(starts);
        }
        Ok(footprint)
    }

    async fn operations(
        &mut self,
        ops: &[Option<Operation>],
        admission: &Admission,
    ) -> Result<Vec<OpAnswer>, (usize, Stop)> {
        let mut answers: Vec<OpAnswer> = Vec::with_capacity(ops.len());
        for (position, op) in ops.iter().enumerate() {
            let Some(op) = op else {
                answers.push(admission.first[position].clone().expect("an operation runs, or was answered before"));
                continue;
            };
            self.position = position;
            answers.push(self.operation(op.clone()).await.map_err(|stop| (position, stop))?);
        }
        self.settle_deferred().await?;
        Ok(answers)
    }

    pub(super) fn writer(&self, op_id: i64) -> Arc<Writer> {
        Arc::new(Writer { subject: self.subject.clone(), client: self.client.clone(), epoch: self.epoch, op: op_id })
    }

    /// The row that a name stands for.
    pub(super) async fn resolve_id(&mut self, table: usize, id: &Arc<str>) -> Result<Arc<str>, StoreError> {
        let mut id = id.clone();
        for _ in 0..ALIAS_HOPS_MAX {
            match self.session.alias(table, &id).await? {
                Some(survivor) => id = survivor,
                None => break,
            }
        }
        Ok(id)
    }

    /// Rewrites the operation's id and the references in it, sent and old, to the rows that they stand for.
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
            target: match stored {
                Stored::Live(row) => Target::Live(row),
                Stored::Deleted(tombstone) => Target::Deleted(tombstone),
                Stored::Absent => Target::Absent,
            },
            op,
            writer,
            received_us: self.received_us,
        })
    }

    async fn operation(&mut self, mut op: Operation) -> Result<OpAnswer, Stop> {
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
            let key = key_name(&rules.tables[op.table], &rules.uniques[unique].columns);
            explain(&mut decision, format!("unique: {key}"));
            merged_into = Some(survivor);
        }
        if decision.outcome == Outcome::Rejected {
            let reason = decision.reason.unwrap_or_else(|| "rejected".to_owned());
            return Err(Stop::rejected(reason, decision.by));
        }
        self.take_effect(&op, &stored, &mut decision, &writer).await?;
        let Decision { outcome, reason, by, conflicts, .. } = decision;
        for conflict in conflicts {
            self.record(op.table, &op.id, conflict).await?;
        }
        Ok(OpAnswer {
            op_id: op.op_id,
            outcome,
            reason: reason.map(Into::into),
            by: by.map(|by| by.to_string().into()),
            merged_into,
        })
    }

    async fn take_effect(
        &mut self,
        op: &Operation,
        stored: &Stored,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<(), Stop> {
        match std::mem::replace(&mut decision.effect, Effect::None) {
            Effect::Write(mut write) => {
                if !self.keep_integrity(op, stored, &mut write, decision, writer).await? {
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
            Effect::Bury { at_us } => {
                if let Stored::Deleted(tombstone) = stored {
                    let received_us = self.received_us;
                    let tombstone =
                        Tombstone { at_us, received_us, writer: writer.clone(), ..Tombstone::clone(tombstone) };
                    self.session.bury(op.table, &op.id, tombstone).await?;
                }
            }
            Effect::None => self.beat(op, stored).await?,
        }
        Ok(())
    }

    pub(super) async fn record(&mut self, table: usize, id: &Arc<str>, conflict: Conflict) -> Result<(), StoreError> {
        self.session.add_conflict(NewConflict { at_us: self.received_us, table, id: id.clone(), conflict }).await
    }
}

/// Adds to what the device is told.
pub(super) fn explain(decision: &mut Decision, reason: String) {
    decision.reason = Some(match decision.reason.take() {
        Some(earlier) => format!("{earlier}; {reason}"),
        None => reason,
    });
}
