//! Anomalies in plain words: an event as one line, and contradictions of one kind gathered into one anomaly.

use std::collections::BTreeMap;

use fixtures::{Row, Value};

use super::context::Context;
use super::foreign::Foreign;
use crate::history::label::{client, time, value, who, writer};
use crate::history::{
    Apply, Barrier, Commit, Event, Lifecycle, LocalOp, LocalTx, Op, OpAnswer, Outcome, Phase, RowId, Scope, TxOutcome,
    Upload, What,
};
use crate::verdict::{Anomaly, Class, Finding};

/// How many rows or columns a line names.
const NAMED: usize = 6;
/// How many further cases of one anomaly are described.
const FURTHER: usize = 4;

/// Gathers the contradictions that one checker finds: one anomaly a code and role, further cases as evidence.
#[derive(Debug)]
pub struct Gather<'c> {
    ctx: &'c Context<'c>,
    checker: &'static str,
    foreign: Foreign,
    anomalies: Vec<Anomaly>,
    /// (code, role, whether somebody else wrote its rows) -> (index into `anomalies`, how many more).
    seen: BTreeMap<(&'static str, String, bool), (usize, usize)>,
    unknown: Vec<String>,
}

/// One contradiction, before its evidence is put into words.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// [`Anomaly::code`].
    pub code: &'static str,
    /// [`Anomaly::role`].
    pub role: String,
    /// [`Anomaly::what`].
    pub what: String,
    /// [`Anomaly::because`].
    pub because: String,
    /// The events behind it.
    pub events: Vec<usize>,
    /// The rows that it is about: what events do to others is left out of the evidence. Empty: everything is described.
    pub about: Vec<RowId>,
    /// Lines of evidence beside the events.
    pub notes: Vec<String>,
    /// [`Anomaly::operations`].
    pub operations: Vec<(u32, i64)>,
    /// Rows that it is about, beside those in `about` and those of the operations.
    pub rows: Vec<RowId>,
}

impl Case {
    /// Every row that it is about.
    fn all_rows(&self, foreign: &Foreign) -> Vec<RowId> {
        let mut rows: Vec<RowId> = self.rows.iter().chain(&self.about).copied().collect();
        rows.extend(foreign.rows_of(&self.operations));
        rows.sort_unstable();
        rows.dedup();
        rows
    }
}

impl<'c> Gather<'c> {
    /// Nothing found yet.
    #[must_use]
    pub fn new(ctx: &'c Context<'c>, checker: &'static str) -> Self {
        let foreign = Foreign::find(ctx);
        Self { ctx, checker, foreign, anomalies: Vec::new(), seen: BTreeMap::new(), unknown: Vec::new() }
    }

    /// Adds a contradiction of safety.
    pub fn add(&mut self, case: Case) {
        self.add_of(Class::Safety, case);
    }

    /// Adds a contradiction.
    pub fn add_of(&mut self, class: Class, mut case: Case) {
        case.events.sort_unstable();
        case.events.dedup();
        let rows = case.all_rows(&self.foreign);
        let kind = (case.code, case.role.clone(), self.foreign.concerns(&rows));
        if let Some((index, more)) = self.seen.get_mut(&kind) {
            let anomaly = &mut self.anomalies[*index];
            *more += 1;
            anomaly.rows.extend(rows);
            if *more <= FURTHER {
                anomaly.evidence.push(format!("also: {}", case.what));
                anomaly.events.extend(case.events);
                anomaly.operations.extend(case.operations);
            }
            return;
        }
        self.seen.insert(kind, (self.anomalies.len(), 0));
        let mut evidence: Vec<String> =
            case.events.iter().map(|event| event_about(self.ctx, *event, &case.about)).collect();
        evidence.append(&mut case.notes);
        self.anomalies.push(Anomaly {
            checker: self.checker,
            code: case.code,
            class,
            role: case.role,
            what: case.what,
            because: case.because,
            evidence,
            events: case.events,
            operations: case.operations,
            rows,
        });
    }

    /// Whether somebody else wrote one of these rows.
    #[must_use]
    pub fn is_about_others(&self, rows: &[RowId]) -> bool {
        self.foreign.concerns(rows)
    }

    /// Adds something that could not be judged.
    pub fn unknown(&mut self, why: String) {
        self.unknown.push(why);
    }

    /// What the checker says.
    #[must_use]
    pub fn finish(mut self) -> Finding {
        for (index, more) in self.seen.into_values() {
            let anomaly = &mut self.anomalies[index];
            if more > FURTHER {
                anomaly.evidence.push(format!("and {} more of the kind", more - FURTHER));
            }
            anomaly.events.sort_unstable();
            anomaly.events.dedup();
            anomaly.operations.sort_unstable();
            anomaly.operations.dedup();
            anomaly.rows.sort_unstable();
            anomaly.rows.dedup();
        }
        let mut finding = Finding::default();
        for why in self.unknown {
            finding.unknown(why);
        }
        for anomaly in self.anomalies {
            finding.invalid(anomaly);
        }
        finding
    }
}

/// One event as a line: `12.345000 s client/1 commits locally tx 4 (edit): sets tasks#12.title = "x"`.
#[must_use]
pub fn event(ctx: &Context<'_>, index: usize) -> String {
    event_about(ctx, index, &[])
}

/// As [`event`], but of transactions, commits and applies only what they do to these rows (to all, if there are none).
#[must_use]
pub fn event_about(ctx: &Context<'_>, index: usize, about: &[RowId]) -> String {
    let Some(Event { at_us, who: place, what }) = ctx.history.events.get(index) else {
        return format!("event {index}, which the history does not have");
    };
    format!("{} {} {}", time(*at_us), who(*place), self::what(ctx, what, about))
}

fn what(ctx: &Context<'_>, what: &What, about: &[RowId]) -> String {
    match what {
        What::Tx(tx) => local_tx(ctx, tx, about),
        What::Upload(upload) => self::upload(upload),
        What::Complete { tx_id } => format!("removes tx {tx_id} from its queue"),
        What::WriteCheckpoint { phase: Phase::Ok, number: Some(number), .. } => {
            format!("is given write checkpoint {number}")
        }
        What::WriteCheckpoint { phase, status, .. } => {
            format!("asks for a write checkpoint{}", outcome(*phase, *status))
        }
        What::Stream { phase: Phase::Info, reason, .. } => format!("loses its stream ({reason})"),
        What::Stream { phase, status, .. } => format!("opens a stream{}", outcome(*phase, *status)),
        What::Apply(apply) => self::apply(ctx, apply, about),
        What::Protocol { message } => format!("reports: {message}"),
        What::Read { scope: Scope::Final, rows } => format!("reads everything: {} rows", rows.len()),
        What::Read { scope: Scope::Look, rows } => {
            let rows = list(
                rows.iter()
                    .filter(|(row, _)| is_described(about, *row))
                    .map(|(row, image)| image_text(ctx, *row, image.as_ref())),
            );
            format!("reads {rows}")
        }
        What::Lifecycle(lifecycle) => self::lifecycle(*lifecycle),
        What::Commit(commit) => self::commit(ctx, commit, about),
        What::Invariants { answers } => format!("is asked {} invariants", answers.len()),
        What::Conflicts { user, records } => format!("tells {user} of {} conflicts", records.len()),
        What::Fault { phase: Phase::Ok, fault, .. } => format!("ends the fault {}", fault.name()),
        What::Fault { phase: Phase::Fail, fault, .. } => format!("fails to inject {}", fault.name()),
        What::Fault { fault, .. } => match fault.device() {
            Some(device) => format!("injects {} at {}", fault.name(), client(device)),
            None => format!("injects {}", fault.name()),
        },
        What::Barrier { barrier, phase, open } => {
            let open = if open.is_empty() { String::new() } else { format!("; open: {}", list(open.iter().cloned())) };
            format!(
                "{} {}{open}",
                match phase {
                    Phase::Invoke => "enters",
                    Phase::Ok => "has reached",
                    Phase::Fail | Phase::Info => "has not reached in time",
                },
                barrier_name(*barrier)
            )
        }
    }
}

/// What a phase of the run is called.
#[must_use]
pub fn barrier_name(barrier: Barrier) -> &'static str {
    match barrier {
        Barrier::Heal => "the healed state",
        Barrier::Settle => "the settled state",
        Barrier::Resume => "the end of the resumed traffic",
        Barrier::SettleAgain => "the settled state after resumed traffic",
    }
}

fn lifecycle(lifecycle: Lifecycle) -> String {
    match lifecycle {
        Lifecycle::Killed(moment) => format!("is killed ({moment:?})"),
        Lifecycle::Started => "starts".to_owned(),
        Lifecycle::Suspended => "is suspended".to_owned(),
        Lifecycle::Resumed => "goes on".to_owned(),
        Lifecycle::TabClosed => "loses the tab that owned the connection".to_owned(),
        Lifecycle::TabTookOver => "goes on with another tab".to_owned(),
        Lifecycle::CopyTaken(_) => "is copied".to_owned(),
        Lifecycle::CopyRestored(_) => "is replaced by an old copy of its database, and ends".to_owned(),
        Lifecycle::StorageLost => "loses its database, with what is queued, and ends".to_owned(),
    }
}

fn outcome(phase: Phase, status: Option<u16>) -> String {
    match (phase, status) {
        (Phase::Invoke, _) => String::new(),
        (Phase::Ok, _) => ": done".to_owned(),
        (_, Some(status)) => format!(": answer {status}"),
        (Phase::Fail, None) => ": not reached".to_owned(),
        (Phase::Info, None) => ": no answer".to_owned(),
    }
}

/// Whether the evidence describes the row.
fn is_described(about: &[RowId], row: RowId) -> bool {
    about.is_empty() || about.contains(&row)
}

/// How many of all things a line leaves out.
fn left_out(all: usize, described: usize) -> String {
    match all - described {
        0 => String::new(),
        1 if described == 0 => "another row".to_owned(),
        others if described == 0 => format!("{others} other rows"),
        1 => " (and another row)".to_owned(),
        others => format!(" (and {others} other rows)"),
    }
}

fn local_tx(ctx: &Context<'_>, tx: &LocalTx, about: &[RowId]) -> String {
    let id = tx.tx_id.map_or_else(|| "a transaction without effect".to_owned(), |id| format!("tx {id}"));
    if let Some(failed) = &tx.failed {
        return format!("fails to commit {id} ({}) locally: {failed}", tx.activity);
    }
    let ops = || tx.ops.iter().filter(|op| is_described(about, op.row));
    let others = left_out(tx.ops.len(), ops().count());
    format!("commits {id} ({}) locally: {}{others}", tx.activity, list(ops().map(|op| local_op(ctx, op))))
}

/// `op 3 sets tasks#12.title = "x"`.
#[must_use]
pub fn local_op(ctx: &Context<'_>, op: &LocalOp) -> String {
    let row = ctx.history.row_label(ctx.app, op.row);
    match op.op {
        Op::Delete => format!("op {} deletes {row}", op.op_id),
        Op::Put => format!("op {} inserts {row} {{{}}}", op.op_id, columns(ctx, op.row, &op.data)),
        Op::Patch => format!("op {} sets {row} {{{}}}", op.op_id, columns(ctx, op.row, &op.data)),
    }
}

fn columns(ctx: &Context<'_>, row: RowId, data: &[(usize, Value)]) -> String {
    list(data.iter().map(|(column, value)| format!("{} = {}", column_name(ctx, row, *column), self::value(value))))
}

fn column_name(ctx: &Context<'_>, row: RowId, column: usize) -> String {
    let label = ctx.history.column_label(ctx.app, row, column);
    label.rsplit_once('.').map_or_else(|| label.clone(), |(_, name)| name.to_owned())
}

fn upload(upload: &Upload) -> String {
    let result = match (upload.phase, upload.outcome) {
        (Phase::Invoke, _) => String::new(),
        (_, Some(TxOutcome::Committed)) => format!(": committed; {}", list(upload.ops.iter().map(answer))),
        (_, Some(TxOutcome::Refused)) => format!(": refused; {}", list(upload.ops.iter().map(answer))),
        (_, Some(TxOutcome::NotAttempted)) => ": not attempted".to_owned(),
        (phase, None) => outcome(phase, upload.status),
    };
    format!("uploads tx {} (attempt {}){result}", upload.tx_id, upload.attempt)
}

/// `op 3 superseded (latest, by client/2 op 7)`.
#[must_use]
pub fn answer(answer: &OpAnswer) -> String {
    let by = answer.by.as_ref().map(|by| format!("by {}", writer(by)));
    let details: Vec<String> = answer.reason.iter().cloned().chain(by).collect();
    let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
    format!("op {} {}{details}", answer.op_id, outcome_name(answer.outcome))
}

/// An outcome as the wire names it.
#[must_use]
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Merged => "merged",
        Outcome::Superseded => "superseded",
        Outcome::Rejected => "rejected",
        Outcome::RolledBack => "rolled back",
    }
}

fn apply(ctx: &Context<'_>, apply: &Apply, about: &[RowId]) -> String {
    let listed = || apply.rows.iter().filter(|(row, _)| is_described(about, *row));
    let rows = list(listed().map(|(row, image)| match image {
        Some(_) => ctx.history.row_label(ctx.app, *row),
        None => format!("{} gone", ctx.history.row_label(ctx.app, *row)),
    }));
    let others = left_out(apply.rows.len(), listed().count());
    let rows = if apply.rows.is_empty() { "no rows".to_owned() } else { rows };
    let kind = apply.priority.map_or_else(String::new, |priority| format!(" of priority {priority}"));
    let acknowledged =
        apply.write_checkpoint.map_or_else(String::new, |number| format!(" with write checkpoint {number}"));
    format!("applies a checkpoint{kind}{acknowledged}: {rows}{others}")
}

fn commit(ctx: &Context<'_>, commit: &Commit, about: &[RowId]) -> String {
    let origin = match commit.origin {
        Some(origin) => format!("{} tx {}", client(origin.device), origin.tx_id),
        None if commit.foreign => "somebody else's".to_owned(),
        None => "the server's own".to_owned(),
    };
    let listed = || commit.changes.iter().filter(|change| is_described(about, change.row));
    let changes =
        list(listed().map(|change| difference(ctx, change.row, change.before.as_ref(), change.after.as_ref())));
    let others = left_out(commit.changes.len(), listed().count());
    let changes = if commit.changes.is_empty() { "no row changes".to_owned() } else { changes };
    format!("commit {} ({origin}): {changes}{others}", commit.seq)
}

/// What became of a row: `tasks#12.title "a" -> "b"`, `tasks#12 deleted`.
#[must_use]
pub fn difference(ctx: &Context<'_>, row: RowId, before: Option<&Row>, after: Option<&Row>) -> String {
    let label = ctx.history.row_label(ctx.app, row);
    match (before, after) {
        (None, None) => format!("{label} absent"),
        (Some(_), None) => format!("{label} deleted"),
        (None, Some(after)) => {
            let shown = after.iter().enumerate().filter(|(_, value)| !value.is_null());
            format!(
                "{label} inserted {{{}}}",
                list(shown.map(|(column, value)| format!(
                    "{} = {}",
                    column_name(ctx, row, column),
                    self::value(value)
                )))
            )
        }
        (Some(before), Some(after)) => {
            let changed = before.iter().zip(after.iter()).enumerate().filter(|(_, (before, after))| before != after);
            let changed = list(changed.map(|(column, (before, after))| {
                format!("{} {} -> {}", column_name(ctx, row, column), value(before), value(after))
            }));
            if changed.is_empty() { format!("{label} unchanged") } else { format!("{label} {{{changed}}}") }
        }
    }
}

/// A row as it was seen: `tasks#12 {title = "x"}`, `tasks#12 absent`.
#[must_use]
pub fn image_text(ctx: &Context<'_>, row: RowId, image: Option<&Row>) -> String {
    let label = ctx.history.row_label(ctx.app, row);
    let Some(image) = image else { return format!("{label} absent") };
    let shown = image.iter().enumerate().filter(|(_, value)| !value.is_null());
    format!(
        "{label} {{{}}}",
        list(shown.map(|(column, value)| format!("{} = {}", column_name(ctx, row, column), self::value(value))))
    )
}

/// The first columns in which two images differ.
#[must_use]
pub fn differing_columns(left: &Row, right: &Row) -> Vec<usize> {
    left.iter()
        .zip(right.iter())
        .enumerate()
        .filter(|(_, (left, right))| left != right)
        .map(|(column, _)| column)
        .collect()
}

/// A list that names the first few and counts the rest.
#[must_use]
pub fn list(items: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    let mut count = 0;
    for item in items {
        count += 1;
        if count <= NAMED {
            if count > 1 {
                text.push_str(", ");
            }
            text.push_str(&item);
        }
    }
    if count > NAMED {
        text.push_str(&format!(" and {} more", count - NAMED));
    }
    text
}
