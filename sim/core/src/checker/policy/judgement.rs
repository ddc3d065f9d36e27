//! One commit that is held against its prediction, and what is wrong with it in words.
//!
//! The evidence is the events of the transaction, and those of the writes that it met.

use std::collections::BTreeSet;

use fixtures::Value;

use crate::checker::context::Context;
use crate::checker::timeline::Timeline;
use crate::checker::wording;
use crate::history::{Commit, ConflictRecord, LocalTx, Op, OpAnswer, RowId, Writer, label};
use crate::model::explain::Note;
use crate::model::state::Stamp;
use crate::model::{Expected, Party, Predicted};
use crate::verdict::{Anomaly, Class, Finding};

/// More anomalies than this say nothing new.
pub(super) const ANOMALIES_MAX: usize = 100;

/// Where a commit stands in the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its event.
    pub(super) event: usize,
    /// The event of the local transaction that it is of.
    pub(super) local: Option<usize>,
    /// Whether the history's commits say what the backend's ledger holds.
    pub(super) ledger: bool,
}

/// One commit of a device's transaction, being judged.
pub(super) struct Judgement<'j, 'a> {
    pub(super) ctx: &'j Context<'a>,
    pub(super) timeline: &'j Timeline<'a>,
    pub(super) commit: &'j Commit,
    pub(super) tx: &'j LocalTx,
    pub(super) device: u32,
    pub(super) place: Place,
    pub(super) finding: &'j mut Finding,
    /// Rows that an anomaly is about: what follows from it is not reported again.
    pub(super) reported_rows: BTreeSet<RowId>,
    /// Codes and roles that were reported.
    pub(super) reported: BTreeSet<(&'static str, String)>,
}

/// What is wrong with one row or operation.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) code: &'static str,
    pub(super) row: RowId,
    pub(super) column: Option<usize>,
    /// The index of the operation in its transaction.
    pub(super) op: Option<usize>,
    pub(super) what: String,
    pub(super) because: String,
    /// Lines of evidence beside the events.
    pub(super) notes: Vec<String>,
    /// Those whose writes it met.
    pub(super) rivals: Vec<Writer>,
}

impl Wrong {
    pub(super) fn of_row(code: &'static str, row: RowId) -> Self {
        let (what, because) = (String::new(), String::new());
        Self { code, row, column: None, op: None, what, because, notes: Vec::new(), rivals: Vec::new() }
    }

    pub(super) fn of_op(code: &'static str, row: RowId, op: usize, what: String, because: String) -> Self {
        Self { op: Some(op), what, because, ..Self::of_row(code, row) }
    }
}

impl Judgement<'_, '_> {
    pub(super) fn report(&mut self, wrong: Wrong) {
        self.reported_rows.insert(wrong.row);
        let (history, app) = (self.ctx.history, self.ctx.app);
        let role = wrong
            .column
            .map_or_else(|| history.row_role(app, wrong.row), |column| history.column_role(app, wrong.row, column));
        if self.finding.anomalies.len() >= ANOMALIES_MAX || !self.reported.insert((wrong.code, role.clone())) {
            return;
        }
        let mut events: Vec<usize> = self.place.local.into_iter().chain([self.place.event]).collect();
        let mut operations: Vec<(u32, i64)> =
            wrong.op.and_then(|at| self.tx.ops.get(at)).map(|op| (self.device, op.op_id)).into_iter().collect();
        for rival in &wrong.rivals {
            let Writer::Client { device, op_id } = *rival else { continue };
            operations.push((device, op_id));
            let Some((_, tx, event)) = self.timeline.op(device, op_id) else { continue };
            events.push(event);
            let commits = tx.tx_id.into_iter().flat_map(|tx_id| self.timeline.commits_of(device, tx_id));
            events.extend(commits.filter_map(|seq| self.timeline.commit_event(seq)));
        }
        events.retain(|event| *event <= self.place.event);
        events.sort_unstable();
        events.dedup();
        let mut evidence: Vec<String> = events.iter().map(|event| wording::event(self.ctx, *event)).collect();
        evidence.extend(wrong.op.and_then(|at| self.base(at)));
        evidence.extend(wrong.notes);
        let tx_id = self.tx.tx_id.unwrap_or_default();
        self.finding.invalid(Anomaly {
            checker: "policy",
            code: wrong.code,
            class: Class::Safety,
            role,
            what: format!("{} tx {tx_id}, commit {}: {}.", label::client(self.device), self.commit.seq, wrong.what),
            because: wrong.because,
            evidence,
            events,
            operations,
            rows: vec![wrong.row],
        });
    }

    pub(super) fn answer(&self, op_id: i64) -> Option<&OpAnswer> {
        self.commit.ledger.iter().find(|answer| answer.op_id == op_id)
    }

    /// What the writer had, for the columns that it sent; all, for a delete.
    fn base(&self, at: usize) -> Option<String> {
        let op = self.tx.ops.get(at).filter(|op| !op.old.is_empty())?;
        let named = |column: usize| op.op == Op::Delete || op.data.iter().any(|(sent, _)| *sent == column);
        let table = &self.ctx.app.schema.tables[self.ctx.history.rows[op.row as usize].table];
        let old = op.old.iter().filter(|(column, value)| named(*column) && !(op.op == Op::Delete && value.is_null()));
        let old = old.map(|(column, value)| format!("{} = {}", table.columns[*column].name, label::value(value)));
        Some(format!("op {}'s base: {}", op.op_id, wording::list(old)))
    }

    pub(super) fn reason_text(&self, note: &Note<'_>) -> String {
        note.why.sentence(self.stamp(note.op), &|row| self.row(row))
    }

    /// The stamp of an operation as the model took it at first.
    fn stamp(&self, at: usize) -> Stamp {
        let Some(op) = self.tx.ops.get(at) else { return self.received(0) };
        let clock = self.ctx.app.policy.tables[self.ctx.history.rows[op.row as usize].table].clock;
        let sent = clock.and_then(|clock| op.data.iter().find(|(column, _)| *column == clock));
        let received = self.received(op.op_id);
        match sent {
            Some((_, Value::Time(sent_us))) => Stamp { clock_us: received.clock_us.min(*sent_us), ..received },
            _ => received,
        }
    }

    /// An operation stamped with its receipt.
    pub(super) fn received(&self, op_id: i64) -> Stamp {
        Stamp { clock_us: self.commit.received_us, device: self.device, op_id }
    }

    pub(super) fn row(&self, row: RowId) -> String {
        self.ctx.history.row_label(self.ctx.app, row)
    }

    pub(super) fn op_label(&self, at: usize) -> String {
        self.tx.ops.get(at).map_or_else(
            || "the transaction".to_owned(),
            |op| {
                let kind = match op.op {
                    Op::Put => "PUT",
                    Op::Patch => "PATCH",
                    Op::Delete => "DELETE",
                };
                format!("op {} ({kind} {})", op.op_id, self.row(op.row))
            },
        )
    }

    pub(super) fn answered(&self, op_id: i64) -> String {
        self.answer(op_id).map_or_else(|| "nothing".to_owned(), |answer| format!("`{}`", wording::answer(answer)))
    }

    pub(super) fn should_be(&self, predicted: &Predicted) -> String {
        let mut should = wording::outcome_name(predicted.outcome).to_owned();
        if let Some(reason) = predicted.reason {
            should += &format!(" ({reason})");
        }
        if !predicted.winners.is_empty() {
            should += &format!(" by {}", writers(&predicted.winners));
        }
        if let Some(row) = predicted.merged_into {
            should += &format!(", merged into {}", self.row(row));
        }
        should
    }

    /// The name of the group that the column is in, else its own.
    pub(super) fn register_name(&self, table: usize, column: usize) -> &str {
        let group = self.ctx.app.policy.group_of(table, column);
        group.map_or(self.ctx.app.schema.tables[table].columns[column].name.as_str(), |group| group.name.as_str())
    }

    /// The column, or the first of the group, with this name.
    pub(super) fn named_column(&self, row: RowId, name: Option<&str>) -> Option<usize> {
        let (name, table) = (name?, self.ctx.history.rows[row as usize].table);
        let groups = &self.ctx.app.policy.tables[table].groups;
        let group = groups.iter().find(|group| group.name == name).map(|group| group.columns[0]);
        group.or_else(|| self.ctx.app.schema.tables[table].column_index(name))
    }

    /// The operation of this transaction that the record is about.
    pub(super) fn op_in(&self, expected: &Expected<'_>) -> Option<usize> {
        let named = parties(expected);
        self.tx.ops.iter().position(|op| named.contains(&self.received(op.op_id).writer()))
    }

    /// Writers of other transactions that the record is about.
    pub(super) fn rivals_in(&self, expected: &Expected<'_>) -> Vec<Writer> {
        let own: Vec<Writer> = self.tx.ops.iter().map(|op| self.received(op.op_id).writer()).collect();
        parties(expected).into_iter().filter(|writer| !own.contains(writer)).collect()
    }

    pub(super) fn owed(&self, expected: &Expected<'_>) -> String {
        let party = |party: &Party| match party {
            Party::Anyone => "whoever won".to_owned(),
            Party::OneOf(named) => writers(named),
        };
        let column = expected.columns.as_ref().and_then(|names| *names.first()?);
        format!(
            "A record is owed on {}{}: loser {}, winner {}{}.",
            self.row(expected.row),
            column.map_or(String::new(), |name| format!(".{name}")),
            party(&expected.loser),
            party(&expected.winner),
            expected.rule.map_or(String::new(), |rule| format!(", rule {rule}"))
        )
    }

    pub(super) fn record(&self, record: &ConflictRecord) -> String {
        format!(
            "on {}{}: loser {}, winner {}, rule {}",
            self.row(record.row),
            record.column.as_ref().map_or(String::new(), |name| format!(".{name}")),
            label::writer(&record.loser),
            label::writer(&record.winner),
            record.rule
        )
    }
}

fn parties(expected: &Expected<'_>) -> Vec<Writer> {
    let named = |party: &Party| match party {
        Party::Anyone => Vec::new(),
        Party::OneOf(writers) => writers.clone(),
    };
    named(&expected.loser).into_iter().chain(named(&expected.winner)).collect()
}

fn writers(writers: &[Writer]) -> String {
    writers.iter().map(label::writer).collect::<Vec<_>>().join(" or ")
}

/// Whether a reason is the named one, perhaps with more words after it, or one of several.
pub(super) fn says(given: Option<&str>, named: &str) -> bool {
    let is_named = |reason: &str| {
        let rest = reason.strip_prefix(named);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    };
    given.is_some_and(|given| given.split("; ").any(is_named))
}
