//! One commit beside its prediction.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::Row;

use super::compare::{Net, difference};
use super::{Place, TOLD};
use crate::checker::Context;
use crate::history::{Commit, ConflictRecord, LocalTx, OpAnswer, Outcome, RowId, label};
use crate::model::state::Stamp;
use crate::model::{Expected, Model, Party, Predicted, Prediction};
use crate::verdict::{Anomaly, Class, Finding};

/// One commit of a device's transaction, being judged.
pub(super) struct Judgement<'j, 'a> {
    ctx: &'j Context<'a>,
    commit: &'j Commit,
    tx: &'j LocalTx,
    place: Place,
    finding: &'j mut Finding,
    device: u32,
    /// Rows about which something was told: what follows from it is not told again.
    told_rows: BTreeSet<RowId>,
    /// Codes and roles that were told.
    told: BTreeSet<(&'static str, String)>,
}

/// What is wrong with one row or operation.
struct Wrong {
    code: &'static str,
    row: RowId,
    column: Option<usize>,
    op: Option<usize>,
    what: String,
    because: String,
    more: Vec<String>,
}

impl<'j, 'a> Judgement<'j, 'a> {
    pub(super) fn new(
        ctx: &'j Context<'a>,
        commit: &'j Commit,
        tx: &'j LocalTx,
        place: Place,
        finding: &'j mut Finding,
    ) -> Self {
        let device = commit.origin.map_or(0, |origin| origin.device);
        let (told_rows, told) = (BTreeSet::new(), BTreeSet::new());
        Self { ctx, commit, tx, place, finding, device, told_rows, told }
    }

    /// Compares, tells what is wrong, and leaves the model as the server is.
    pub(super) fn compare(
        &mut self,
        model: &mut Model<'a>,
        prediction: &Prediction<'_>,
        changes: &BTreeMap<RowId, Net<'_>>,
    ) {
        let refused = self.commit.ledger.iter().any(|answer| not_done(answer.outcome));
        match (&prediction.refusal, refused) {
            (Some(refusal), false) => {
                let nothing = changes.is_empty() && self.commit.aliases.is_empty();
                if self.place.ledger || !nothing {
                    let op = &self.tx.ops[refusal.op];
                    self.tell(Wrong {
                        code: "should-have-refused",
                        row: op.row,
                        column: None,
                        op: Some(refusal.op),
                        what: format!("the server committed {}", self.op_label(refusal.op)),
                        because: format!(
                            "The operation is to be rejected ({}), and one rejected operation refuses its whole transaction.",
                            refusal.reason
                        ),
                        more: Vec::new(),
                    });
                }
                self.adopt_all(model, changes);
            }
            (None, true) => {
                let at = self.refused_op();
                model.undo();
                self.tell(Wrong {
                    code: "should-not-have-refused",
                    row: self.tx.ops.get(at).map_or(0, |op| op.row),
                    column: None,
                    op: Some(at),
                    what: format!("the server refused {}", self.op_label(at)),
                    because: "Nothing in the transaction is to be rejected.".to_owned(),
                    more: self.reason_given(at),
                });
                self.adopt_all(model, changes);
            }
            (Some(_), true) => {
                self.refused(prediction, changes);
                self.adopt_all(model, changes);
            }
            (None, false) => {
                self.rows(model, prediction, changes);
                self.aliases(model, prediction);
                if self.place.ledger {
                    self.outcomes(model, prediction);
                    self.records(model, prediction);
                }
            }
        }
    }

    /// A transaction that is rightly refused.
    fn refused(&mut self, prediction: &Prediction<'_>, changes: &BTreeMap<RowId, Net<'_>>) {
        let Some(refusal) = &prediction.refusal else { return };
        if let Some(row) = changes.keys().next() {
            self.tell(Wrong {
                code: "refused-but-changed",
                row: *row,
                column: None,
                op: Some(refusal.op),
                what: format!("the server refused the transaction and changed {}", self.row(*row)),
                because: "A refused transaction has no effect.".to_owned(),
                more: Vec::new(),
            });
            return;
        }
        let mut rejected = false;
        for (at, op) in self.tx.ops.iter().enumerate() {
            let lawful = at == refusal.op || refusal.also.contains(&at);
            let wrong = match self.answer(op.op_id).map(|answer| (answer.outcome, &answer.reason)) {
                Some((Outcome::Rejected, reason)) if lawful => {
                    rejected = true;
                    let named = prediction.ops[at].reason;
                    !named.is_none_or(|named| reason.as_deref().is_some_and(|given| says(given, named)))
                }
                Some((Outcome::RolledBack, _)) => false,
                _ => true,
            };
            if wrong {
                self.wrong_outcome(at, &prediction.ops[at], format!("The transaction is refused because of {}.", refusal.reason));
                return;
            }
        }
        if !rejected {
            self.wrong_outcome(
                refusal.op,
                &prediction.ops[refusal.op],
                "A transaction is refused because at least one operation is rejected.".to_owned(),
            );
        }
    }

    fn rows(&mut self, model: &mut Model<'a>, prediction: &Prediction<'_>, changes: &BTreeMap<RowId, Net<'_>>) {
        let touched: Vec<(RowId, Option<Row>)> =
            model.touched().iter().map(|(row, before)| (*row, before.live.clone())).collect();
        let mut judged = BTreeSet::new();
        for (row, before) in &touched {
            judged.insert(*row);
            let actual = changes.get(row).map_or(before.as_ref(), |net| net.after);
            self.judge_row(model, prediction, *row, before.as_ref(), actual);
        }
        for (row, net) in changes.iter().filter(|(row, _)| !judged.contains(row)) {
            let before = model.live(*row).cloned();
            self.judge_row(model, prediction, *row, before.as_ref(), net.after);
        }
    }

    fn judge_row(
        &mut self,
        model: &mut Model<'a>,
        prediction: &Prediction<'_>,
        row: RowId,
        before: Option<&Row>,
        actual: Option<&Row>,
    ) {
        let table = self.ctx.history.rows[row as usize].table;
        let predicted = model.live(row).cloned();
        let column = match (&predicted, actual) {
            (None, None) => return,
            (Some(wanted), Some(found)) => match difference(self.ctx.app, table, before, wanted, found) {
                Some(column) => Some(column),
                // The text of a merged set is the server's to choose, and counts from here on.
                None if **wanted != **found => {
                    model.adopt(row, actual, None);
                    return;
                }
                None => return,
            },
            _ => None,
        };
        let (what, name) = match (column, &predicted, actual) {
            (Some(at), Some(wanted), Some(found)) => (
                format!(
                    "{} is {} after the commit and should be {}",
                    self.ctx.history.column_label(self.ctx.app, row, at),
                    label::value(&found[at]),
                    label::value(&wanted[at])
                ),
                Some(self.register_name(table, at)),
            ),
            (_, Some(_), _) => (format!("{} is absent after the commit and should be there", self.row(row)), None),
            _ => (format!("{} is there after the commit and should be absent", self.row(row)), None),
        };
        let note = prediction.notes.iter().rev().filter(|note| note.row == row);
        let note = note.clone().find(|note| note.register == name).or_else(|| note.clone().next());
        let op = note.map(|note| note.op).or_else(|| self.tx.ops.iter().position(|op| model.resolve(op.row) == row));
        let because = note.map_or_else(
            || "No operation of the transaction, and nothing that follows from one, touches it.".to_owned(),
            |note| note.why.sentence(self.stamp(note.op), &|row| self.row(row)),
        );
        let more = vec![before.map_or_else(
            || format!("before: {} was absent", self.row(row)),
            |before| {
                column.map_or_else(
                    || format!("before: {} was there", self.row(row)),
                    |at| format!("before: {} was {}", self.ctx.history.column_label(self.ctx.app, row, at), label::value(&before[at])),
                )
            },
        )];
        self.tell(Wrong { code: "wrong-row", row, column, op, what, because, more });
        model.adopt(row, actual, self.tx.ops.get(op.unwrap_or(0)).map(|op| self.stamp_of(op.op_id)));
    }

    fn aliases(&mut self, model: &mut Model<'a>, prediction: &Prediction<'_>) {
        for (losing, survivor) in &prediction.aliases {
            if !self.commit.aliases.contains(&(*losing, *survivor)) {
                model.adopt_alias(*losing, None);
                self.alias("missing-alias", *losing, format!("the commit has no alias {} -> {}", self.row(*losing), self.row(*survivor)));
            }
        }
        for (losing, survivor) in &self.commit.aliases {
            if !prediction.aliases.contains(&(*losing, *survivor)) {
                model.adopt_alias(*losing, Some(*survivor));
                self.alias("wrong-alias", *losing, format!("the commit has the alias {} -> {}", self.row(*losing), self.row(*survivor)));
            }
        }
    }

    fn alias(&mut self, code: &'static str, row: RowId, what: String) {
        let op = self.tx.ops.iter().position(|op| op.row == row);
        if self.told_rows.contains(&row) {
            return;
        }
        let because = "An insert that collides on a mergeable key leaves an alias from its id to the survivor; nothing else does.";
        self.tell(Wrong { code, row, column: None, op, what, because: because.to_owned(), more: Vec::new() });
    }

    fn outcomes(&mut self, model: &Model<'a>, prediction: &Prediction<'_>) {
        for (at, predicted) in prediction.ops.iter().enumerate() {
            if self.told_rows.contains(&predicted.row) || self.told_rows.contains(&self.tx.ops[at].row) {
                continue;
            }
            let right = self.answer(predicted.op_id).is_some_and(|answer| {
                answer.outcome == predicted.outcome
                    && predicted.reason.is_none_or(|named| answer.reason.as_deref().is_some_and(|given| says(given, named)))
                    && answer.by.as_ref().is_none_or(|by| predicted.winners.is_empty() || predicted.winners.contains(by))
                    && (predicted.merged_into.is_none() || answer.merged_into == predicted.merged_into)
                    && answer.merged_into.is_none_or(|row| model.resolve(row) == predicted.row)
            });
            if !right {
                let notes = prediction.notes.iter().filter(|note| note.op == at);
                let because: Vec<String> = notes
                    .map(|note| {
                        let of = note.register.map_or(String::new(), |name| format!("{name}: "));
                        format!("{of}{}", note.why.sentence(self.stamp(at), &|row| self.row(row)))
                    })
                    .collect();
                self.wrong_outcome(at, predicted, because.join(" "));
            }
        }
    }

    fn wrong_outcome(&mut self, at: usize, predicted: &Predicted, because: String) {
        let answered = self.answer(predicted.op_id).map_or_else(|| "nothing".to_owned(), spoken);
        let mut should = word(predicted.outcome).to_owned();
        if let Some(reason) = predicted.reason {
            should = format!("{should} ({reason})");
        }
        if let [winner] = &*predicted.winners {
            should = format!("{should}, by {}", label::writer(winner));
        }
        if let Some(row) = predicted.merged_into {
            should = format!("{should}, merged into {}", self.row(row));
        }
        self.tell(Wrong {
            code: "wrong-outcome",
            row: self.tx.ops[at].row,
            column: None,
            op: Some(at),
            what: format!("{} is answered {answered} and should be {should}", self.op_label(at)),
            because,
            more: Vec::new(),
        });
        self.told_rows.insert(predicted.row);
    }

    fn records(&mut self, model: &Model<'a>, prediction: &Prediction<'_>) {
        let mut stray: Vec<&ConflictRecord> = Vec::new();
        for record in &self.commit.conflicts {
            let row = model.resolve(record.row);
            if !prediction.records.iter().any(|expected| expected.is(record, row)) {
                stray.push(record);
            }
        }
        let there = |expected: &Expected<'_>| {
            self.commit.conflicts.iter().any(|record| expected.is(record, model.resolve(record.row)))
        };
        let missing: Vec<&Expected<'_>> =
            prediction.records.iter().filter(|expected| expected.owed && !there(expected)).collect();
        for expected in missing {
            let near = stray.iter().position(|record| expected.concerns(record, model.resolve(record.row)));
            let near = near.map(|index| stray.remove(index));
            if self.told_rows.contains(&expected.row) {
                continue;
            }
            let column = self.named_column(expected.row, expected.columns.as_ref().and_then(|names| *names.first()?));
            let owed = self.owed(expected);
            let (code, what) = match near {
                Some(record) => ("wrong-record", format!("the commit records {}", self.record(record))),
                None => ("missing-record", "the commit lacks a conflict record".to_owned()),
            };
            self.tell(Wrong { code, row: expected.row, column, op: self.op_in(expected), what, because: owed, more: Vec::new() });
        }
        for record in stray {
            let row = model.resolve(record.row);
            if self.told_rows.contains(&row) || self.told_rows.contains(&record.row) {
                continue;
            }
            self.tell(Wrong {
                code: "unexpected-record",
                row: record.row,
                column: self.named_column(record.row, record.column.as_deref()),
                op: None,
                what: format!("the commit records {}", self.record(record)),
                because: "No such conflict occurred in the commit.".to_owned(),
                more: Vec::new(),
            });
        }
    }

    /// The model takes over all that a commit did which is not as predicted as a whole.
    fn adopt_all(&self, model: &mut Model<'a>, changes: &BTreeMap<RowId, Net<'_>>) {
        for (row, net) in changes {
            let op = self.tx.ops.iter().rev().find(|op| op.row == *row).or(self.tx.ops.last());
            model.adopt(*row, net.after, op.map(|op| self.stamp_of(op.op_id)));
        }
        for (losing, survivor) in &self.commit.aliases {
            model.adopt_alias(*losing, Some(*survivor));
        }
    }

    fn tell(&mut self, wrong: Wrong) {
        self.told_rows.insert(wrong.row);
        let (history, app) = (self.ctx.history, self.ctx.app);
        let role = wrong.column.map_or_else(
            || history.row_role(app, wrong.row),
            |column| history.column_role(app, wrong.row, column),
        );
        if !self.told.insert((wrong.code, role.clone())) || self.finding.anomalies.len() >= TOLD {
            return;
        }
        let origin = format!("{}'s transaction {}", label::client(self.device), self.tx.tx_id.unwrap_or_default());
        let mut evidence = vec![format!("{origin} was made: {}", self.tx.activity)];
        evidence.extend(wrong.op.filter(|at| *at < self.tx.ops.len()).map(|at| self.op_in_full(at)));
        evidence.extend(wrong.more);
        evidence.push(format!(
            "commit {} of it, received at {}",
            self.commit.seq,
            fixtures::value::time_to_iso(self.commit.received_us)
        ));
        let operation = wrong.op.and_then(|at| self.tx.ops.get(at)).map(|op| (self.device, op.op_id));
        self.finding.invalid(Anomaly {
            checker: "policy",
            code: wrong.code,
            class: Class::Safety,
            role,
            what: format!("{origin} (commit {}): {}.", self.commit.seq, wrong.what),
            because: wrong.because,
            evidence,
            events: self.place.local.into_iter().chain([self.place.event]).collect(),
            operations: operation.into_iter().collect(),
        });
    }
}

/// Words.
impl Judgement<'_, '_> {
    fn answer(&self, op_id: i64) -> Option<&OpAnswer> {
        self.commit.ledger.iter().find(|answer| answer.op_id == op_id)
    }

    /// The operation that the server rejected; the first, if it does not say.
    fn refused_op(&self) -> usize {
        let rejected = self.commit.ledger.iter().find(|answer| answer.outcome == Outcome::Rejected);
        rejected.and_then(|answer| self.tx.ops.iter().position(|op| op.op_id == answer.op_id)).unwrap_or(0)
    }

    fn reason_given(&self, at: usize) -> Vec<String> {
        let answer = self.tx.ops.get(at).and_then(|op| self.answer(op.op_id));
        answer.and_then(|answer| answer.reason.as_ref()).map(|reason| format!("the server's reason: {reason}")).into_iter().collect()
    }

    /// The stamp of an operation as far as words need it: its clock is that of its receipt unless it was sent.
    fn stamp(&self, at: usize) -> Stamp {
        let Some(op) = self.tx.ops.get(at) else { return self.stamp_of(0) };
        let clock = self.ctx.app.policy.tables[self.ctx.history.rows[op.row as usize].table].clock;
        let sent = clock.and_then(|clock| op.data.iter().find(|(column, _)| *column == clock));
        match sent {
            Some((_, fixtures::Value::Time(sent_us))) => {
                Stamp { clock_us: (*sent_us).min(self.commit.received_us), ..self.stamp_of(op.op_id) }
            }
            _ => self.stamp_of(op.op_id),
        }
    }

    fn stamp_of(&self, op_id: i64) -> Stamp {
        Stamp { clock_us: self.commit.received_us, device: self.device, op_id }
    }

    fn row(&self, row: RowId) -> String {
        self.ctx.history.row_label(self.ctx.app, row)
    }

    fn op_label(&self, at: usize) -> String {
        match self.tx.ops.get(at) {
            Some(op) => format!("op {} ({} {})", op.op_id, kind(op.op), self.row(op.row)),
            None => "the transaction".to_owned(),
        }
    }

    fn op_in_full(&self, at: usize) -> String {
        let op = &self.tx.ops[at];
        let named = |values: &[(usize, fixtures::Value)]| -> String {
            let table = &self.ctx.app.schema.tables[self.ctx.history.rows[op.row as usize].table];
            let pairs = values.iter().take(8).map(|(at, value)| format!("{} {}", table.columns[*at].name, label::value(value)));
            pairs.collect::<Vec<_>>().join(", ")
        };
        let sent: Vec<usize> = op.data.iter().map(|(at, _)| *at).collect();
        let old: Vec<(usize, fixtures::Value)> =
            op.old.iter().filter(|(at, _)| sent.is_empty() || sent.contains(at)).cloned().collect();
        format!("{} sends {{{}}}, old {{{}}}", self.op_label(at), named(&op.data), named(&old))
    }

    fn register_name(&self, table: usize, column: usize) -> &str {
        let group = self.ctx.app.policy.group_of(table, column);
        group.map_or(self.ctx.app.schema.tables[table].columns[column].name.as_str(), |group| group.name.as_str())
    }

    /// The column, or the first of the group, with this name.
    fn named_column(&self, row: RowId, name: Option<&str>) -> Option<usize> {
        let (name, table) = (name?, self.ctx.history.rows[row as usize].table);
        let groups = &self.ctx.app.policy.tables[table].groups;
        let group = groups.iter().find(|group| group.name == name).map(|group| group.columns[0]);
        group.or_else(|| self.ctx.app.schema.tables[table].column_index(name))
    }

    fn op_in(&self, expected: &Expected<'_>) -> Option<usize> {
        let names = |party: &Party, op_id: i64| match party {
            Party::Anyone => false,
            Party::OneOf(writers) => writers.contains(&self.stamp_of(op_id).writer()),
        };
        self.tx.ops.iter().position(|op| names(&expected.loser, op.op_id) || names(&expected.winner, op.op_id))
    }

    fn owed(&self, expected: &Expected<'_>) -> String {
        let party = |party: &Party| match party {
            Party::Anyone => "whoever won".to_owned(),
            Party::OneOf(writers) => writers.iter().map(label::writer).collect::<Vec<_>>().join(" or "),
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

    fn record(&self, record: &ConflictRecord) -> String {
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

fn not_done(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Rejected | Outcome::RolledBack)
}

/// Whether a reason is the named one, perhaps with more words after it.
fn says(given: &str, named: &str) -> bool {
    given.strip_prefix(named).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
}

fn spoken(answer: &OpAnswer) -> String {
    let reason = answer.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    let by = answer.by.as_ref().map_or(String::new(), |by| format!(", by {}", label::writer(by)));
    format!("{}{reason}{by}", word(answer.outcome))
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Merged => "merged",
        Outcome::Superseded => "superseded",
        Outcome::Rejected => "rejected",
        Outcome::RolledBack => "rolled back",
    }
}

fn kind(op: crate::history::Op) -> &'static str {
    match op {
        crate::history::Op::Put => "PUT",
        crate::history::Op::Patch => "PATCH",
        crate::history::Op::Delete => "DELETE",
    }
}
