//! Each operation took effect once at most, whatever was lost or repeated, its repeats got the first answer,
//! and answers say what the ledger says.

use std::collections::BTreeMap;

use super::context::Context;
use super::server_sets::is_effective;
use super::timeline::Timeline;
use super::wording::{Case, Gather, answer};
use crate::history::label::client;
use crate::history::{Commit, OpAnswer, Origin, RowId, TxOutcome, What, Who};
use crate::verdict::Finding;

/// Judges the change feed and the answers.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "exactly-once");
    commits(ctx, timeline, &mut gather);
    answers(ctx, timeline, &mut gather);
    gather.finish()
}

/// What two effective commits of one transaction have in common.
pub(super) enum Overlap {
    /// An operation, or a row where operations cannot be distinguished, that both changed.
    Twice(RowId),
    /// Nothing: each did another part.
    Apart,
}

/// Compares two effective commits of one transaction.
pub(super) fn overlap(ctx: &Context<'_>, first: &Commit, second: &Commit) -> Overlap {
    let changes = || second.changes.iter().filter(|change| is_effective(ctx, change));
    let same = changes().find(|change| {
        first.changes.iter().filter(|other| is_effective(ctx, other)).any(|other| match (change.op_id, other.op_id) {
            (Some(op), Some(other)) => op == other,
            _ => change.row == other.row,
        })
    });
    same.map_or(Overlap::Apart, |change| Overlap::Twice(change.row))
}

fn commits(ctx: &Context<'_>, timeline: &Timeline<'_>, gather: &mut Gather<'_>) {
    let mut first: BTreeMap<(u32, i64), (usize, &Commit)> = BTreeMap::new();
    for (event, commit) in timeline.commits() {
        let Some(Origin { device, tx_id }) = commit.origin else { continue };
        let changes = || commit.changes.iter().filter(|change| is_effective(ctx, change));
        if changes().next().is_none() {
            continue;
        }
        let Some(local) = timeline.local_tx(device, tx_id) else {
            let row = commit.changes[0].row;
            gather.add(Case {
                code: "effect-of-nothing",
                role: ctx.history.row_role(ctx.app, row),
                what: format!(
                    "Commit {} is said to be tx {tx_id} of {}, which never made it.",
                    commit.seq,
                    client(device)
                ),
                because: "An effect needs an operation that was accepted on a device.".to_owned(),
                events: vec![event],
                ..Case::default()
            });
            continue;
        };
        let Some((first_event, first)) = first.get(&(device, tx_id)) else {
            first.insert((device, tx_id), (event, commit));
            continue;
        };
        let Overlap::Twice(row) = overlap(ctx, first, commit) else { continue };
        let ops = changes().filter_map(|change| change.op_id).map(|op| (device, op));
        gather.add(Case {
            code: "applied-twice",
            role: ctx.history.row_role(ctx.app, row),
            what: format!(
                "tx {tx_id} of {} took effect twice: in commit {} and again in commit {}, on {}.",
                client(device),
                first.seq,
                commit.seq,
                ctx.history.row_label(ctx.app, row)
            ),
            because:
                "An upload that is repeated after a lost reply must change nothing: its operations have taken effect \
                      already, and others may have written, deleted or created the row anew in between."
                    .to_owned(),
            events: vec![local, *first_event, event],
            about: vec![row],
            operations: ops.collect(),
            ..Case::default()
        });
    }
}

/// What became of an operation, as it was said first.
struct Given<'a> {
    event: usize,
    answer: &'a OpAnswer,
}

fn answers(ctx: &Context<'_>, timeline: &Timeline<'_>, gather: &mut Gather<'_>) {
    let mut given: BTreeMap<(u32, i64), Given<'_>> = BTreeMap::new();
    let ledger = ledger(timeline);
    for (event, seen) in ctx.history.events.iter().enumerate() {
        let (Who::Client(device), What::Upload(upload)) = (seen.who, &seen.what) else { continue };
        if matches!(upload.outcome, None | Some(TxOutcome::NotAttempted)) {
            continue;
        }
        for answered in &upload.ops {
            if let Some(stored) = ledger.get(&(device, answered.op_id))
                && stored.event < event
                && stored.answer.outcome != answered.outcome
            {
                let op = timeline.op(device, answered.op_id).map(|(op, ..)| op.row);
                gather.add(Case {
                    code: "answer-contradicts-ledger",
                    role: op.map_or_else(String::new, |row| ctx.history.row_role(ctx.app, row)),
                    what: format!(
                        "{} was answered \"{}\", and the ledger says \"{}\".",
                        client(device),
                        answer(answered),
                        answer(stored.answer)
                    ),
                    because: "An answer says what was committed, and the ledger was written with the commit."
                        .to_owned(),
                    events: vec![stored.event, event],
                    about: op.into_iter().collect(),
                    operations: vec![(device, answered.op_id)],
                    ..Case::default()
                });
                continue;
            }
            let first = given.entry((device, answered.op_id)).or_insert(Given { event, answer: answered });
            if first.answer == answered {
                continue;
            }
            let role = timeline
                .op(device, answered.op_id)
                .map_or_else(String::new, |(op, ..)| ctx.history.row_role(ctx.app, op.row));
            gather.add(Case {
                code: "different-answer",
                role,
                what: format!(
                    "{} was answered \"{}\", and when it repeated the upload, \"{}\".",
                    client(device),
                    answer(first.answer),
                    answer(answered)
                ),
                because: "The same operation has one fate: a repeat gets the answer that was stored with its effect."
                    .to_owned(),
                events: vec![first.event, event],
                operations: vec![(device, answered.op_id)],
                ..Case::default()
            });
        }
    }
}

/// What the ledger says of each operation, by the first commit that notes it.
fn ledger<'a>(timeline: &Timeline<'a>) -> BTreeMap<(u32, i64), Given<'a>> {
    let mut ledger = BTreeMap::new();
    for (event, commit) in timeline.commits() {
        let Some(origin) = commit.origin else { continue };
        for answer in &commit.ledger {
            ledger.entry((origin.device, answer.op_id)).or_insert(Given { event, answer });
        }
    }
    ledger
}
