//! Replays a history's commits through the model.

use std::collections::{BTreeMap, BTreeSet};

use super::compare;
use super::judgement::{ANOMALIES_MAX, Judgement, Place};
use crate::checker::context::Context;
use crate::checker::timeline::Timeline;
use crate::history::{Commit, History, Phase, TxOutcome, What, Who};
use crate::model::facts::Discipline;
use crate::model::{Model, Upload};
use crate::verdict::Finding;

/// Replays the commits and compares.
#[must_use]
pub fn check<'a>(ctx: &Context<'a>, timeline: &Timeline<'a>) -> Finding {
    let mut finding = Finding::default();
    let history = ctx.history;
    let Some(discipline) = Discipline::named(&history.header.policy) else {
        finding.unknown(format!("There is no model of the policy `{}`.", history.header.policy));
        return finding;
    };
    let commits = || history.events.iter().filter_map(|event| commit_of(&event.what));
    if commits().next().is_none() {
        if acknowledged(history) {
            finding.unknown("Transactions were acknowledged, but the order of commits could not be read.".to_owned());
        }
        return finding;
    }
    let ledger = commits().any(|commit| !commit.ledger.is_empty());
    let mut model = Model::new(ctx.app, discipline, &history.header, &history.rows);
    let mut queued: BTreeMap<(u32, i64), usize> = BTreeMap::new();
    let mut done: BTreeSet<usize> = BTreeSet::new();
    for (event, seen) in history.events.iter().enumerate() {
        match (&seen.who, &seen.what) {
            (Who::Client(device), What::Tx(tx)) => {
                if let Some(tx_id) = tx.tx_id {
                    queued.insert((*device, tx_id), event);
                }
            }
            (_, What::Commit(commit)) => {
                let local = commit.origin.and_then(|origin| queued.get(&(origin.device, origin.tx_id)).copied());
                let place = Place { event, local, ledger };
                let first = local.is_none_or(|local| done.insert(local)) || discipline == Discipline::ArrivalOrder;
                replay(ctx, timeline, &mut model, (commit, place), first, &mut finding);
                if finding.anomalies.len() >= ANOMALIES_MAX {
                    return finding;
                }
            }
            _ => {}
        }
    }
    finding
}

fn replay<'a>(
    ctx: &Context<'a>,
    timeline: &Timeline<'a>,
    model: &mut Model<'a>,
    (commit, place): (&'a Commit, Place),
    first: bool,
    finding: &mut Finding,
) {
    follow_up(ctx, model, commit, finding);
    let Some(origin) = commit.origin.filter(|_| first) else {
        set(model, commit);
        return;
    };
    let device = origin.device;
    let Some(What::Tx(tx)) = place.local.map(|local| &ctx.history.events[local].what) else {
        finding.unknown(format!(
            "Commit {} is of client/{device}'s transaction {}, which no device queued.",
            commit.seq, origin.tx_id
        ));
        set(model, commit);
        return;
    };
    let changes = compare::by_row(commit);
    let generated = |row, column: usize| {
        let change: &compare::Net<'_> = changes.get(&row)?;
        Some(change.inserted?[column].clone())
    };
    let upload = Upload { device, ops: &tx.ops, received_us: commit.received_us, generated: &generated };
    let prediction = model.predict(&upload);
    let (reported_rows, reported) = (BTreeSet::new(), BTreeSet::new());
    let mut judgement = Judgement { ctx, timeline, commit, tx, device, place, finding, reported_rows, reported };
    judgement.compare(model, &prediction, &changes);
}

/// What was written past the commits that the history has: the model follows, and says so.
fn follow_up<'a>(ctx: &Context<'a>, model: &mut Model<'a>, commit: &'a Commit, finding: &mut Finding) {
    let mut seen = BTreeSet::new();
    for change in &commit.changes {
        if !seen.insert(change.row) || model.live(change.row) == change.before.as_ref() {
            continue;
        }
        finding.unknown(format!(
            "Commit {} finds {} otherwise than the commits before it left it.",
            commit.seq,
            ctx.history.row_label(ctx.app, change.row)
        ));
        model.server_write(change.row, change.before.as_ref());
    }
}

fn set(model: &mut Model<'_>, commit: &Commit) {
    for change in &commit.changes {
        model.server_write(change.row, change.after.as_ref());
    }
}

fn commit_of(what: &What) -> Option<&Commit> {
    match what {
        What::Commit(commit) => Some(commit),
        _ => None,
    }
}

fn acknowledged(history: &History) -> bool {
    history.events.iter().any(|event| {
        matches!(&event.what, What::Upload(upload)
            if upload.phase == Phase::Ok && upload.outcome == Some(TxOutcome::Committed))
    })
}
