//! Conflict records: who says that a write lost, to whom, and by which rule.

use crate::checker::context::Context;
use crate::history::{ConflictRecord, LocalTx, RowId, What, Writer};

use super::state::Write;

/// Every conflict record of a history.
#[derive(Debug)]
pub(super) struct Records<'a> {
    /// Sorted by row and loser.
    sorted: Vec<&'a ConflictRecord>,
}

/// What a record must say of a loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    /// The row, and the ids that were merged into it.
    pub(super) rows: &'w [RowId],
    /// The register's name and its columns' names; empty: any column, or the whole row.
    pub(super) columns: &'w [&'w str],
    /// Whether a record of the whole row says it as well.
    pub(super) whole_row: bool,
    /// How the rule's name begins: any of these.
    pub(super) rules: &'w [&'w str],
    /// Who won: any of these; `None` is the server.
    pub(super) winners: &'w [Option<Write>],
}

/// What the records say of a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// A record names loser, winner, column and rule.
    Named,
    /// There is a record of the loser there, but it names somebody or something else.
    Wrong(&'a ConflictRecord),
    /// There is none.
    Missing,
}

impl<'a> Records<'a> {
    pub(super) fn of(ctx: &Context<'a>) -> Self {
        let mut sorted: Vec<&ConflictRecord> = Vec::new();
        for event in &ctx.history.events {
            match &event.what {
                What::Commit(commit) => sorted.extend(&commit.conflicts),
                What::Conflicts { records, .. } => sorted.extend(records),
                _ => {}
            }
        }
        sorted.sort_by(|one, other| (one.row, &one.loser).cmp(&(other.row, &other.loser)));
        Self { sorted }
    }

    /// Looks for the record of a loss. A transaction's operations on one row are one edit, so a record may name any
    /// of them.
    pub(super) fn find(&self, ctx: &Context<'a>, loser: &Write, wanted: &Wanted<'_>) -> Found<'a> {
        let mut wrong = None;
        for row in wanted.rows {
            let Some((first, last)) = ops_on(ctx, loser, wanted.rows) else { continue };
            let from = self.sorted.partition_point(|record| {
                (record.row, &record.loser) < (*row, &Writer::Client { device: loser.device, op_id: first })
            });
            for record in &self.sorted[from..] {
                match &record.loser {
                    Writer::Client { device, op_id }
                        if record.row == *row && *device == loser.device && *op_id <= last => {}
                    _ => break,
                }
                let column = match &record.column {
                    None => wanted.whole_row || wanted.columns.is_empty(),
                    Some(column) => wanted.columns.is_empty() || wanted.columns.contains(&column.as_str()),
                };
                if !column {
                    continue;
                }
                let rule = wanted.rules.iter().any(|rule| record.rule.starts_with(rule));
                let winner = wanted.winners.iter().any(|winner| names(ctx, &record.winner, *winner, wanted.rows));
                if rule && winner {
                    return Found::Named;
                }
                wrong = Some(*record);
            }
        }
        wrong.map_or(Found::Missing, Found::Wrong)
    }
}

/// Whether a record's writer is this write's device and transaction.
fn names(ctx: &Context<'_>, writer: &Writer, write: Option<Write>, rows: &[RowId]) -> bool {
    match (writer, write) {
        (Writer::Server, None) => true,
        (Writer::Client { device, op_id }, Some(write)) => {
            *device == write.device
                && (*op_id == write.op_id
                    || ops_on(ctx, &write, rows).is_some_and(|(first, last)| (first..=last).contains(op_id)))
        }
        _ => false,
    }
}

/// The first and last operation of the write's transaction that act on one of the rows.
fn ops_on(ctx: &Context<'_>, write: &Write, rows: &[RowId]) -> Option<(i64, i64)> {
    let tx: &LocalTx = match &ctx.history.events[write.event].what {
        What::Tx(tx) => tx,
        _ => return None,
    };
    let mut on = tx.ops.iter().filter(|op| rows.contains(&op.row) || op.op_id == write.op_id).map(|op| op.op_id);
    let first = on.next()?;
    Some((first, on.next_back().unwrap_or(first)))
}
