//! A transaction is seen whole or not at all: on every device, and on the server.

use std::collections::BTreeMap;

use fixtures::Value;

use super::causal;
use super::context::Context;
use super::exactly_once::{Further, further};
use super::server_sets::is_effective;
use super::timeline::{Applied, Differing, State, Timeline, Wrong};
use super::wording::{Case, Gather, image_text, list, local_op, outcome_name};
use crate::history::label::client;
use crate::history::{Commit, LocalTx, Op, OpAnswer, Origin, Outcome, RowId, What};
use crate::verdict::Finding;

/// Judges device states and commits.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "atomicity");
    if let Some(why) = timeline.blind() {
        gather.unknown(format!("which rows each user should see is not known: {why}"));
    }
    for device in 0..causal::devices(ctx) {
        for applied in timeline.applied(device) {
            match &applied.state {
                State::Wrong(wrong) => state(ctx, timeline, device, applied, wrong, &mut gather),
                State::Torn { at, wrong } => torn(ctx, timeline, device, applied, *at, wrong, &mut gather),
                _ => {}
            }
        }
    }
    split(ctx, timeline, &mut gather);
    let ledger = timeline.commits().any(|(_, commit)| !commit.ledger.is_empty());
    for (event, commit) in timeline.commits() {
        if let Some(origin) = commit.origin {
            partial(ctx, timeline, event, commit, origin, ledger, &mut gather);
        }
    }
    gather.finish()
}

/// Why a device's state after a full apply must be one of the server's.
const FULL: &str = "A full checkpoint makes a device show exactly what its user sees after some commit.";
/// Why the rows that a partial apply brought must be as after one commit.
const PARTIAL: &str = "A partial apply brings all buckets up to its priority to one checkpoint, so what is in these \
                       buckets is shown as after one commit.";

/// A device that shows what the server never had.
fn state(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    device: u32,
    applied: &Applied,
    wrong: &Wrong,
    gather: &mut Gather<'_>,
) {
    let prefix = applied.prefix;
    let because = FULL;
    if let Some(ghost) = wrong.rows.iter().find(|differing| differing.shown_since.is_none()) {
        let label = ctx.history.row_label(ctx.app, ghost.row);
        let shown = ghost
            .shown
            .as_ref()
            .map(|image| format!("{} shows {}", client(device), image_text(ctx, ghost.row, image.as_ref())));
        let expected = timeline.view(device).row_at(ghost.row, prefix);
        gather.add(Case {
            code: "unknown-state",
            role: role(ctx, timeline, device, prefix, ghost),
            what: format!("After an apply {} shows a {label} that the server never had.", client(device)),
            because: because.to_owned(),
            notes: shown
                .into_iter()
                .chain([format!("the server has {}", image_text(ctx, ghost.row, expected))])
                .collect(),
            events: vec![applied.event],
            rows: vec![ghost.row],
            ..Case::default()
        });
        return;
    }
    if applied.priority.is_some() {
        return;
    }
    let Some(first) = wrong.rows.first() else {
        gather.add(Case {
            code: "torn-state",
            what: format!("After an apply {} again shows rows that the server had after no commit.", client(device)),
            because: because.to_owned(),
            events: vec![applied.event],
            rows: causal::rows_of_apply(ctx, applied.event),
            ..Case::default()
        });
        return;
    };
    let described = Described { device, event: applied.event, priority: None, at: prefix, wrong, first };
    apart(ctx, timeline, &described, gather);
}

/// A partial apply that brought some rows of its buckets further than others.
fn torn(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    device: u32,
    applied: &Applied,
    at: u64,
    wrong: &Wrong,
    gather: &mut Gather<'_>,
) {
    let Some(first) = wrong.rows.first() else { return };
    let described = Described { device, event: applied.event, priority: applied.priority, at, wrong, first };
    apart(ctx, timeline, &described, gather);
}

/// Rows that a device shows after an apply, some of which are not as after the commit `at`.
struct Described<'a> {
    device: u32,
    event: usize,
    /// Of a partial apply.
    priority: Option<u32>,
    at: u64,
    wrong: &'a Wrong,
    first: &'a Differing,
}

/// Says which rows are as after one commit and which as after another.
fn apart(ctx: &Context<'_>, timeline: &Timeline<'_>, described: &Described<'_>, gather: &mut Gather<'_>) {
    let Described { device, event, priority, at: prefix, wrong, first } = *described;
    let (because, rest) = match priority {
        None => (FULL, "everything else"),
        Some(_) => (PARTIAL, "the other rows of these buckets"),
    };
    // A row that is older than the rest leaves out a commit, a newer one runs ahead; is another row of that commit shown?
    let newer = first.shown_since.is_some_and(|since| since > prefix);
    let seq = if newer { first.shown_since.unwrap_or(prefix) } else { first.expected_since };
    let is_brought = |row: RowId| priority.is_none_or(|priority| timeline.brings(device, priority, row));
    let is_as_expected = |row: RowId| wrong.rows.iter().all(|differing| differing.row != row) && is_brought(row);
    let torn = timeline.commit(seq).and_then(|commit| {
        commit.changes.iter().find(|change| is_as_expected(change.row) && is_effective(ctx, change))
    });
    let label = ctx.history.row_label(ctx.app, first.row);
    let since = first.shown_since.unwrap_or_default();
    let others = if wrong.count > 1 { format!(" and {} other rows", wrong.count - 1) } else { String::new() };
    let base = Case {
        role: role(ctx, timeline, device, prefix, first),
        because: because.to_owned(),
        notes: vec![format!(
            "wrong rows: {}",
            list(wrong.rows.iter().map(|differing| {
                format!(
                    "{} as after commit {}, not {}",
                    ctx.history.row_label(ctx.app, differing.row),
                    differing.shown_since.unwrap_or_default(),
                    differing.expected_since
                )
            }))
        )],
        events: timeline.commit_event(seq).into_iter().chain([event]).collect(),
        rows: wrong.rows.iter().map(|differing| differing.row).collect(),
        ..Case::default()
    };
    gather.add(match torn {
        Some(change) => {
            let other = ctx.history.row_label(ctx.app, change.row);
            let (with, without) = if newer { (label, other) } else { (other, label) };
            Case {
                about: vec![first.row, change.row],
                code: "torn-transaction",
                what: format!(
                    "{} shows what commit {seq} did to {with}, but not what it did to {without}.",
                    client(device)
                ),
                ..base
            }
        }
        None => Case {
            code: "torn-state",
            what: format!(
                "{} shows {label}{others} as after commit {since}, and {rest} as after commit {prefix}.",
                client(device)
            ),
            ..base
        },
    });
}

/// The table and the first column in which the row differs from the server's.
fn role(ctx: &Context<'_>, timeline: &Timeline<'_>, device: u32, prefix: u64, differing: &Differing) -> String {
    let expected = timeline.view(device).row_at(differing.row, prefix);
    match (&differing.shown, expected) {
        (Some(Some(shown)), Some(expected)) => {
            let columns = super::wording::differing_columns(shown, expected);
            ctx.history.column_role(ctx.app, differing.row, columns.first().copied().unwrap_or_default())
        }
        _ => ctx.history.row_role(ctx.app, differing.row),
    }
}

/// One transaction of a client is one commit. Doing the same again is reported by exactly-once.
fn split(ctx: &Context<'_>, timeline: &Timeline<'_>, gather: &mut Gather<'_>) {
    for Further { event, commit, origin, first, again } in further(ctx, timeline) {
        if again.is_some() {
            continue;
        }
        let Origin { device, tx_id } = origin;
        let rows = || first.changes.iter().chain(&commit.changes).map(|change| change.row);
        gather.add(Case {
            code: "split-transaction",
            role: commit.changes.first().map_or_else(String::new, |change| ctx.history.row_role(ctx.app, change.row)),
            what: format!(
                "tx {tx_id} of {} was committed in parts: commits {} and {}.",
                client(device),
                first.seq,
                commit.seq
            ),
            because: "What a device commits as one transaction becomes visible to others as one, or not at all."
                .to_owned(),
            events: timeline
                .local_tx(device, tx_id)
                .into_iter()
                .chain(timeline.commit_event(first.seq))
                .chain([event])
                .collect(),
            rows: rows().collect(),
            ..Case::default()
        });
    }
}

/// Each operation of a committed transaction has its effect or its fate.
fn partial(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    event: usize,
    commit: &Commit,
    origin: Origin,
    ledger: bool,
    gather: &mut Gather<'_>,
) {
    let Origin { device, tx_id } = origin;
    let Some(local) = timeline.local_tx(device, tx_id) else { return };
    let What::Tx(tx) = &ctx.history.events[local].what else { return };
    if !commit.changes.iter().any(|change| is_effective(ctx, change)) {
        return;
    }
    let mut case = |row: RowId, op_id: i64, what: String| {
        gather.add(Case {
            code: "partial-transaction",
            role: ctx.history.row_role(ctx.app, row),
            what,
            because: "A transaction takes effect whole or not at all; an operation that has none must be answered as merged or \
                      superseded."
                .to_owned(),
            events: vec![local, event],
            about: vec![row],
            operations: vec![(device, op_id)],
            ..Case::default()
        });
    };
    if commit.ledger.is_empty() {
        if !ledger && let Some((row, op_id)) = without_effect(ctx, timeline, commit, tx) {
            let label = ctx.history.row_label(ctx.app, row);
            case(
                row,
                op_id,
                format!(
                    "Commit {} holds a part of tx {tx_id} of {}, but not what it does to {label}.",
                    commit.seq,
                    client(device)
                ),
            );
        }
        return;
    }
    for (index, op) in tx.ops.iter().enumerate() {
        let of_op = |answer: &&OpAnswer| answer.op_id == op.op_id;
        // Ledgers are written in the order of the operations; where one is not, it is searched.
        let answer = commit.ledger.get(index).filter(of_op).or_else(|| commit.ledger.iter().find(of_op));
        match answer.map(|answer| answer.outcome) {
            None if !commit.changes.iter().any(|change| change.op_id == Some(op.op_id)) => {
                case(
                    op.row,
                    op.op_id,
                    format!(
                        "Commit {} of tx {tx_id} of {} leaves out an operation: {}.",
                        commit.seq,
                        client(device),
                        local_op(ctx, op)
                    ),
                );
            }
            Some(outcome @ (Outcome::Rejected | Outcome::RolledBack)) => {
                case(
                    op.row,
                    op.op_id,
                    format!(
                        "Commit {} holds a part of tx {tx_id} of {}, of which an operation is {}: {}.",
                        commit.seq,
                        client(device),
                        outcome_name(outcome),
                        local_op(ctx, op)
                    ),
                );
            }
            _ => {}
        }
    }
}

/// For a backend that keeps no ledger and has therefore applied every operation: a row that the transaction must
/// have changed, and that the commit leaves as it was.
fn without_effect(ctx: &Context<'_>, timeline: &Timeline<'_>, commit: &Commit, tx: &LocalTx) -> Option<(RowId, i64)> {
    let mut rows: BTreeMap<RowId, (Option<Vec<Value>>, i64)> = BTreeMap::new();
    for op in &tx.ops {
        if !op.unknown.is_empty() {
            return None;
        }
        let table = ctx.history.table_of(op.row)?;
        let before = || timeline.row_at(op.row, commit.seq - 1).map(|row| row.to_vec());
        let entry = rows.entry(op.row).or_insert_with(|| (before(), op.op_id));
        let width = ctx.app.schema.tables[table].columns.len();
        match op.op {
            Op::Delete => entry.0 = None,
            Op::Put => {
                entry.0.get_or_insert_with(|| vec![Value::Null; width]);
            }
            Op::Patch => {}
        }
        if let Some(image) = &mut entry.0 {
            for (column, value) in &op.data {
                image[*column] = value.clone();
            }
        }
    }
    // What another part of the transaction does is told as a split.
    let parts = || commit.origin.into_iter().flat_map(|origin| timeline.commits_of(origin.device, origin.tx_id));
    let unchanged = |row: RowId| {
        let mut parts = parts().filter_map(|seq| timeline.commit(seq));
        parts.all(|part| part.changes.iter().all(|change| change.row != row))
    };
    rows.into_iter().find_map(|(row, (after, op_id))| {
        let before = timeline.row_at(row, commit.seq - 1);
        let same = match (before, &after) {
            (None, None) => true,
            (Some(before), Some(after)) => {
                let rules = ctx.history.table_of(row).map(|table| &ctx.app.policy.tables[table]);
                let sets = |column: usize| rules.is_some_and(|rules| rules.is_server_set(column));
                (0..after.len()).all(|column| before.get(column) == after.get(column) || sets(column))
            }
            _ => false,
        };
        (!same && unchanged(row)).then_some((row, op_id))
    })
}
