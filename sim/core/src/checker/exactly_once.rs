//! Each operation took effect once at most, whatever was lost or repeated, its repeats got the first answer,
//! and answers say what the ledger says.

use std::collections::BTreeMap;

use fixtures::{Rule, Value};

use super::context::Context;
use super::server_sets::is_effective;
use super::timeline::Timeline;
use super::wording::{Case, Gather, answer};
use crate::history::label::client;
use crate::history::{Change, Commit, OpAnswer, Origin, RowId, TxOutcome, What, Who};
use crate::verdict::Finding;

/// Judges the change feed and the answers.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "exactly-once");
    commits(ctx, timeline, &mut gather);
    answers(ctx, timeline, &mut gather);
    gather.finish()
}

/// An effective commit of a transaction that had one before.
pub(super) struct Further<'a> {
    pub(super) event: usize,
    pub(super) commit: &'a Commit,
    pub(super) origin: Origin,
    /// The first effective commit of the transaction.
    pub(super) first: &'a Commit,
    /// What was done before, with the commit that did it: an operation, by its row. `None`: this commit holds another
    /// part.
    pub(super) again: Option<(RowId, &'a Commit)>,
}

/// What the commits of one transaction did so far.
struct Done<'a> {
    first: &'a Commit,
    operations: BTreeMap<i64, &'a Commit>,
    /// Of changes without a known operation: how many commits wrote the row, and the last of them.
    unnamed: BTreeMap<RowId, (usize, &'a Commit)>,
    /// The last commit that wrote the row, by any operation.
    rows: BTreeMap<RowId, &'a Commit>,
}

/// The effective commits of transactions that had an effective one before, in order.
pub(super) fn further<'a>(ctx: &Context<'_>, timeline: &Timeline<'a>) -> Vec<Further<'a>> {
    let mut done: BTreeMap<(u32, i64), Done<'a>> = BTreeMap::new();
    let mut further = Vec::new();
    for (event, commit) in timeline.commits() {
        let Some(origin) = commit.origin else { continue };
        let changes = || commit.changes.iter().filter(|change| is_effective(ctx, change));
        if changes().next().is_none() {
            continue;
        }
        let key = (origin.device, origin.tx_id);
        if let Some(done) = done.get(&key) {
            let again = changes().find_map(|change| done.again(timeline, origin, change));
            further.push(Further { event, commit, origin, first: done.first, again });
        }
        let done = done.entry(key).or_insert_with(|| Done {
            first: commit,
            operations: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            rows: BTreeMap::new(),
        });
        let mut unnamed: Vec<RowId> = Vec::new();
        for change in changes() {
            match change.op_id {
                Some(op) => drop(done.operations.entry(op).or_insert(commit)),
                None => unnamed.push(change.row),
            }
            done.rows.insert(change.row, commit);
        }
        unnamed.sort_unstable();
        unnamed.dedup();
        for row in unnamed {
            let entry = done.unnamed.entry(row).or_insert((0, commit));
            *entry = (entry.0 + 1, commit);
        }
    }
    further
}

impl<'a> Done<'a> {
    /// Whether a change does again what was done. Where it is not known by which operation it came, a row may be written
    /// by as many commits as the transaction has operations on it.
    fn again(&self, timeline: &Timeline<'a>, origin: Origin, change: &Change) -> Option<(RowId, &'a Commit)> {
        if let Some(before) = change.op_id.and_then(|op| self.operations.get(&op)) {
            return Some((change.row, before));
        }
        let before = match change.op_id {
            Some(_) => self.unnamed.get(&change.row).map(|(_, commit)| *commit),
            None => self.rows.get(&change.row).copied(),
        }?;
        let named = self.operations.keys().filter(|op| row_of(timeline, origin, **op) == Some(change.row)).count();
        let commits = self.unnamed.get(&change.row).map_or(0, |(commits, _)| *commits) + named;
        (commits >= operations_on(timeline, origin, change.row).max(1)).then_some((change.row, before))
    }
}

fn row_of(timeline: &Timeline<'_>, origin: Origin, op: i64) -> Option<RowId> {
    timeline.op(origin.device, op).map(|(op, ..)| op.row)
}

/// How many operations of a transaction are on a row.
fn operations_on(timeline: &Timeline<'_>, origin: Origin, row: RowId) -> usize {
    let Some(event) = timeline.local_tx(origin.device, origin.tx_id) else { return 0 };
    match &timeline.history().events[event].what {
        What::Tx(tx) => tx.ops.iter().filter(|op| op.row == row).count(),
        _ => 0,
    }
}

fn commits(ctx: &Context<'_>, timeline: &Timeline<'_>, gather: &mut Gather<'_>) {
    for (event, commit) in timeline.commits() {
        let Some(origin @ Origin { device, tx_id }) = commit.origin else { continue };
        let changes = || commit.changes.iter().filter(|change| is_effective(ctx, change));
        let Some(first) = changes().next() else { continue };
        if timeline.local_tx(device, tx_id).is_none() {
            gather.add(Case {
                code: "effect-of-nothing",
                role: ctx.history.row_role(ctx.app, first.row),
                what: format!(
                    "Commit {} is said to be tx {tx_id} of {}, which never made it.",
                    commit.seq,
                    client(device)
                ),
                because: "An effect needs an operation that was accepted on a device.".to_owned(),
                events: vec![event],
                rows: changes().map(|change| change.row).collect(),
                ..Case::default()
            });
        } else if let Some(row) = counted_twice(ctx, timeline, commit, origin) {
            twice(ctx, timeline, gather, (event, commit), commit, row, origin);
        }
    }
    for Further { event, commit, origin, again, .. } in further(ctx, timeline) {
        if let Some((row, before)) = again
            && timeline.local_tx(origin.device, origin.tx_id).is_some()
        {
            twice(ctx, timeline, gather, (event, commit), before, row, origin);
        }
    }
}

/// A row of which one commit moves a counter more often, by the same step, than its transaction has operations on it.
fn counted_twice(ctx: &Context<'_>, timeline: &Timeline<'_>, commit: &Commit, origin: Origin) -> Option<RowId> {
    let mut steps: BTreeMap<(RowId, usize), Vec<i64>> = BTreeMap::new();
    for change in &commit.changes {
        let Some(table) = ctx.history.table_of(change.row) else { continue };
        let (Some(before), Some(after)) = (&change.before, &change.after) else { continue };
        for (column, rule) in ctx.app.policy.tables[table].rules.iter().enumerate() {
            if let (Rule::Counter { .. }, Some(Value::Int(before)), Some(Value::Int(after))) =
                (rule, before.get(column), after.get(column))
                && before != after
            {
                steps.entry((change.row, column)).or_default().push(after.saturating_sub(*before));
            }
        }
    }
    let same = |steps: &[i64]| steps.len() > 1 && steps.iter().all(|step| *step == steps[0]);
    // A row that the transaction does not name is counted by the database itself, once for each row that it does name.
    let is_twice = |row: RowId, steps: &[i64]| {
        let operations = operations_on(timeline, origin, row);
        operations > 0 && same(steps) && steps.len() > operations
    };
    steps.iter().find(|((row, _), steps)| is_twice(*row, steps)).map(|((row, _), _)| *row)
}

fn twice(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    gather: &mut Gather<'_>,
    (event, commit): (usize, &Commit),
    before: &Commit,
    row: RowId,
    Origin { device, tx_id }: Origin,
) {
    let of_row = commit.changes.iter().filter(|change| change.row == row && is_effective(ctx, change));
    let operations = of_row.filter_map(|change| change.op_id).map(|op| (device, op));
    let label = ctx.history.row_label(ctx.app, row);
    let place = if before.seq == commit.seq {
        format!("both times in commit {}", commit.seq)
    } else {
        format!("in commit {} and again in commit {}", before.seq, commit.seq)
    };
    gather.add(Case {
        code: "applied-twice",
        role: ctx.history.row_role(ctx.app, row),
        what: format!("tx {tx_id} of {} took effect twice: {place}, on {label}.", client(device)),
        because: "An upload that is repeated after a lost reply must change nothing: its operations have taken effect \
                  already, and others may have written, deleted or created the row anew in between."
            .to_owned(),
        events: timeline
            .local_tx(device, tx_id)
            .into_iter()
            .chain(timeline.commit_event(before.seq))
            .chain([event])
            .collect(),
        about: vec![row],
        operations: operations.collect(),
        ..Case::default()
    });
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
