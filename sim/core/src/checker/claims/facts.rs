//! What claims look at: operations of committed transactions, the server's last rows, and the final reads.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{Row, Value};

use crate::checker::context::Context;
use crate::checker::installations::Installations;
use crate::checker::row_ids::RowIds;
use crate::checker::timeline::Timeline;
use crate::history::{
    Barrier, Commit, ConflictRecord, LocalOp, LocalTx, Op, Outcome, Phase, RowId, Scope, TxOutcome, What, Who, label,
};

/// Everything that the claims look at.
pub(super) struct Facts<'a, 't> {
    pub(super) ctx: &'t Context<'a>,
    pub(super) timeline: &'t Timeline<'a>,
    /// Every accepted transaction, in order of events.
    pub(super) txs: Vec<Tx<'a>>,
    /// Final reads of devices.
    pub(super) reads: Vec<(u32, BTreeMap<RowId, Row>)>,
    pub(super) ids: RowIds<'a>,
    /// Every conflict record, of commits and of the lists that users were given.
    pub(super) records: Vec<&'a ConflictRecord>,
    /// Why the end of the run says nothing, if it does not.
    pub(super) no_end: Option<&'static str>,
    installations: Installations,
}

/// An accepted transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tx<'a> {
    pub(super) device: u32,
    pub(super) event: usize,
    pub(super) tx_id: i64,
    pub(super) tx: &'a LocalTx,
    /// The first commit of it that does more than note a refusal.
    pub(super) seq: Option<u64>,
    /// Whether an answer called it committed.
    pub(super) answered_committed: bool,
    /// Whether an answer refused it.
    pub(super) refused: bool,
    /// When its commit was received, in microseconds since 1970.
    pub(super) received_us: i64,
}

/// One operation of a transaction that is committed as far as anybody says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write<'a> {
    pub(super) tx: Tx<'a>,
    pub(super) op: &'a LocalOp,
    /// The row that it acts on, aliases followed.
    pub(super) row: RowId,
}

impl<'a, 't> Facts<'a, 't> {
    pub(super) fn gather(ctx: &'t Context<'a>, timeline: &'t Timeline<'a>) -> Self {
        let history = ctx.history;
        let mut facts = Self {
            ctx,
            timeline,
            txs: Vec::new(),
            reads: Vec::new(),
            ids: RowIds::new(history),
            records: Vec::new(),
            no_end: None,
            installations: Installations::of(history),
        };
        let mut answered = BTreeSet::new();
        let mut refused = BTreeSet::new();
        let mut settled = None;
        for (event, entry) in history.events.iter().enumerate() {
            match (entry.who, &entry.what) {
                (Who::Client(device), What::Tx(tx)) if tx.failed.is_none() && !tx.ops.is_empty() => {
                    let Some(tx_id) = tx.tx_id else { continue };
                    let commit = timeline
                        .commits_of(device, tx_id)
                        .filter_map(|seq| timeline.commit(seq))
                        .find(|commit| took_effect(commit));
                    facts.txs.push(Tx {
                        device,
                        event,
                        tx_id,
                        tx,
                        seq: commit.map(|commit| commit.seq),
                        answered_committed: false,
                        refused: false,
                        received_us: commit.map_or(i64::MAX, |commit| commit.received_us),
                    });
                }
                (Who::Client(device), What::Upload(upload)) => {
                    if upload.outcome == Some(TxOutcome::Refused) {
                        refused.insert((device, upload.tx_id));
                    } else if upload.phase == Phase::Ok && upload.outcome != Some(TxOutcome::NotAttempted) {
                        answered.insert((device, upload.tx_id));
                    }
                }
                (Who::Client(device), What::Read { scope: Scope::Final, rows }) => {
                    let rows = rows.iter().filter_map(|(row, image)| Some((*row, image.clone()?))).collect();
                    facts.reads.push((device, rows));
                }
                (_, What::Commit(commit)) => {
                    commit.aliases.iter().for_each(|(losing, survivor)| facts.ids.merge(*losing, *survivor));
                    facts.records.extend(&commit.conflicts);
                }
                (_, What::Conflicts { records, .. }) => facts.records.extend(records),
                (_, What::Barrier { barrier: Barrier::Settle | Barrier::SettleAgain, phase, .. }) => match phase {
                    Phase::Ok => settled = Some(true),
                    Phase::Fail => settled = Some(false),
                    _ => {}
                },
                _ => {}
            }
        }
        for tx in &mut facts.txs {
            tx.answered_committed = answered.contains(&(tx.device, tx.tx_id));
            tx.refused = refused.contains(&(tx.device, tx.tx_id));
        }
        facts.no_end = match settled {
            Some(true) if facts.reads.is_empty() => Some("nobody read what there is in the end"),
            Some(true) => None,
            _ => Some("it did not settle"),
        };
        facts
    }

    /// The operations of every transaction that a commit or an answer calls committed, in order of commits, those
    /// without a commit last.
    pub(super) fn writes(&self) -> Vec<Write<'a>> {
        let mut writes: Vec<Write<'a>> = self
            .txs
            .iter()
            .filter(|tx| tx.is_committed())
            .flat_map(|tx| tx.tx.ops.iter().map(|op| Write { tx: *tx, op, row: self.target(op.row) }))
            .collect();
        writes.sort_by_key(|write| (write.tx.seq.unwrap_or(u64::MAX), write.tx.device, write.op.op_id));
        writes
    }

    /// Whether the device of `later` had seen `earlier` when it wrote.
    pub(super) fn saw(&self, later: &Write<'_>, earlier: &Write<'_>) -> bool {
        if later.tx.device == earlier.tx.device {
            return earlier.op.op_id < later.op.op_id;
        }
        if self.installations.has_seen(later.tx.device, earlier.tx.device, earlier.tx.event) {
            return true;
        }
        earlier.tx.seq.is_some_and(|seq| seq <= self.timeline.seen_row(later.tx.device, later.tx.event, earlier.row))
    }

    /// Whether the device began as a copy that holds what another had done by this event.
    pub(super) fn began_with(&self, device: u32, other: u32, event: usize) -> bool {
        self.installations.has_seen(device, other, event)
    }

    /// The server's row in the end.
    pub(super) fn last(&self, row: RowId) -> Option<&Row> {
        self.timeline.row_at(row, self.timeline.last_commit())
    }

    /// The rows that the server had before any device wrote, or wrote by itself, each with its first image.
    pub(super) fn seeded(&self, row: RowId) -> Option<&Row> {
        let first = self.timeline.versions(row).first()?;
        let by_server = self.timeline.commit(first.seq).is_some_and(|commit| commit.origin.is_none());
        let change = || self.timeline.commit(first.seq)?.changes.iter().find(|change| change.row == row);
        if by_server { first.row.as_ref() } else { change().and_then(|change| change.before.as_ref()) }
    }

    /// Every place where the row is seen in the end: the server first, then devices. `None`: absent there.
    pub(super) fn ends(&self, row: RowId) -> impl Iterator<Item = (Who, Option<&Row>)> {
        let server = std::iter::once((Who::Server, self.last(row)));
        server.chain(self.reads.iter().map(move |(device, rows)| (Who::Client(*device), rows.get(&row))))
    }

    /// The row that operations on this one act on.
    pub(super) fn target(&self, row: RowId) -> RowId {
        self.ids.survivor(row)
    }

    /// The row of the table with this id, aliases followed.
    pub(super) fn find(&self, table: usize, id: &Value) -> Option<RowId> {
        self.ids.find(table, id.as_text()?)
    }

    pub(super) fn table(&self, row: RowId) -> usize {
        self.ctx.history.rows[row as usize].table
    }

    /// Whether a conflict record on the row names this operation, or another of its transaction, as the loser.
    pub(super) fn is_on_record(&self, row: RowId, write: &Write<'_>, rule: Option<&str>) -> bool {
        self.records.iter().any(|record| {
            let loser = match &record.loser {
                crate::history::Writer::Client { device, op_id } => {
                    *device == write.tx.device
                        && write.tx.tx.ops.iter().any(|op| op.op_id == *op_id && self.target(op.row) == write.row)
                }
                _ => false,
            };
            loser && self.target(record.row) == row && rule.is_none_or(|rule| record.rule.starts_with(rule))
        })
    }

    /// The rows that events are about, ascending.
    pub(super) fn rows_of(&self, events: &[usize]) -> Vec<RowId> {
        let mut rows: Vec<RowId> = Vec::new();
        for event in events {
            match &self.ctx.history.events[*event].what {
                What::Tx(tx) => rows.extend(tx.ops.iter().map(|op| op.row)),
                What::Commit(commit) => rows.extend(commit.changes.iter().map(|change| change.row)),
                _ => {}
            }
        }
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    pub(super) fn evidence(&self, event: usize) -> String {
        let entry = &self.ctx.history.events[event];
        let (who, at) = (label::who(entry.who), label::time(entry.at_us));
        match &entry.what {
            What::Tx(tx) => format!(
                "{at}: {who} accepted transaction {} ({}) of {} operations",
                tx.tx_id.unwrap_or_default(),
                tx.activity,
                tx.ops.len()
            ),
            What::Commit(commit) => match commit.origin {
                Some(origin) => {
                    format!("{at}: commit {} of client/{} transaction {}", commit.seq, origin.device, origin.tx_id)
                }
                None => format!("{at}: commit {} of the server", commit.seq),
            },
            What::Upload(upload) => format!(
                "{at}: {who} upload of transaction {}, attempt {}: {:?}, status {:?}, outcome {:?}",
                upload.tx_id, upload.attempt, upload.phase, upload.status, upload.outcome
            ),
            What::Stream { phase, status, reason } => {
                format!("{at}: {who} stream: {phase:?}, status {status:?}, {reason}")
            }
            What::WriteCheckpoint { phase, status, .. } => {
                format!("{at}: {who} write checkpoint: {phase:?}, status {status:?}")
            }
            _ => format!("{at}: {who}"),
        }
    }
}

impl Tx<'_> {
    /// Whether a commit has it, or an answer says so.
    pub(super) fn is_committed(&self) -> bool {
        self.seq.is_some() || (self.answered_committed && !self.refused)
    }
}

impl<'a> Write<'a> {
    /// The operation's clock: its clock column as sent, capped at receipt; else receipt.
    pub(super) fn clock_us(&self, clock: Option<usize>) -> i64 {
        match clock.and_then(|clock| self.data(clock)) {
            Some(Value::Time(micros)) => (*micros).min(self.tx.received_us),
            _ => self.tx.received_us,
        }
    }

    pub(super) fn data(&self, column: usize) -> Option<&'a Value> {
        self.op.data.iter().find(|(at, _)| *at == column).map(|(_, value)| value)
    }

    pub(super) fn old(&self, column: usize) -> Option<&'a Value> {
        self.op.old.iter().find(|(at, _)| *at == column).map(|(_, value)| value)
    }

    pub(super) fn is(&self, op: Op) -> bool {
        self.op.op == op
    }

    pub(super) fn name(&self) -> (u32, i64) {
        (self.tx.device, self.op.op_id)
    }
}

fn took_effect(commit: &Commit) -> bool {
    let refused = |outcome| matches!(outcome, Outcome::Rejected | Outcome::RolledBack);
    !commit.changes.is_empty()
        || commit.ledger.is_empty()
        || commit.ledger.iter().any(|answer| !refused(answer.outcome))
}
