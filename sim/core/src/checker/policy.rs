//! **policy**: the server's state after each commit is what the model predicts from the order of commits.
//!
//! Replays the commits through [`Model`], each with the operations that its device queued, and compares what the
//! commit shows: row images by type, the ledger's outcomes, conflict records, aliases. After a mismatch the model
//! takes over what the server did, so that one defect is one anomaly; of several in one commit with the same code
//! and role the first is told.
//!
//! | Code | The commit |
//! |---|---|
//! | `should-have-refused` | has effects, though an operation of it is to be rejected |
//! | `should-not-have-refused` | is refused, though nothing in it is to be rejected |
//! | `refused-but-changed` | is rightly refused, and has effects all the same |
//! | `wrong-row` | leaves a row otherwise than predicted |
//! | `missing-alias`, `wrong-alias` | lacks an alias, or has one that no merge made |
//! | `wrong-outcome` | answers an operation with another outcome, reason, winner or survivor |
//! | `missing-record`, `wrong-record`, `unexpected-record` | lacks a conflict record, has one that names another winner, loser or rule, or has one of no conflict |
//!
//! The server's own commits set rows and nothing else. A repeated upload makes no commit; that one that does has no
//! effect is exactly-once's to say. Where the history holds no ledger at all, outcomes and records are not judged.

mod compare;
mod judgement;
mod telling;

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, Timeline};
use crate::history::{Commit, History, Phase, TxOutcome, What, Who};
use crate::model::facts::Discipline;
use crate::model::{Model, Upload};
use crate::verdict::Finding;
use judgement::Judgement;

/// How many anomalies are told; what is wrong so often needs no more.
const TOLD: usize = 100;

/// Replays the commits and compares. See the module's documentation.
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
                if finding.anomalies.len() >= TOLD {
                    return finding;
                }
            }
            _ => {}
        }
    }
    finding
}

/// Where a commit stands in the history.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its event.
    event: usize,
    /// The event of the local transaction that it is of.
    local: Option<usize>,
    /// Whether the history's commits say what the backend's ledger holds.
    ledger: bool,
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
    let (told_rows, told) = (BTreeSet::new(), BTreeSet::new());
    let mut judgement = Judgement { ctx, timeline, commit, tx, device, place, finding, told_rows, told };
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

#[cfg(test)]
mod tests;
