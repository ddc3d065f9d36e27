//! Holds one commit against its prediction: rows, aliases, outcomes, records.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{OnParentDelete, Row, Value};

use super::compare::{Net, difference, went_with_parent};
use super::judgement::{Judgement, Wrong, says};
use crate::history::{ConflictRecord, LocalOp, Op, OpAnswer, Outcome, RowId, Writer, label};
use crate::model::explain::Note;
use crate::model::{Expected, Model, Predicted, Prediction};

impl<'a> Judgement<'_, 'a> {
    /// Compares, reports what is wrong, and leaves the model as the server is.
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
                    let because = format!(
                        "The operation is to be rejected ({}), and one rejected operation refuses its whole transaction.",
                        refusal.reason
                    );
                    let what = format!("the server committed {}", self.op_label(refusal.op));
                    self.report(Wrong::of_op(
                        "should-have-refused",
                        self.tx.ops[refusal.op].row,
                        refusal.op,
                        what,
                        because,
                    ));
                }
                self.adopt_all(model, changes);
            }
            (None, true) => {
                model.undo();
                let rejected = self.commit.ledger.iter().find(|answer| answer.outcome == Outcome::Rejected);
                let at =
                    rejected.and_then(|answer| self.tx.ops.iter().position(|op| op.op_id == answer.op_id)).unwrap_or(0);
                if let Some(op) = self.tx.ops.get(at) {
                    let what = format!("the server refused {}", self.op_label(at));
                    let because = "Nothing in the transaction is to be rejected.".to_owned();
                    let reason = rejected.and_then(|answer| answer.reason.as_ref());
                    self.report(Wrong {
                        notes: reason.map(|reason| format!("the server's reason: {reason}")).into_iter().collect(),
                        ..Wrong::of_op("should-not-have-refused", op.row, at, what, because)
                    });
                }
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
            let what = format!("the server refused the transaction and changed {}", self.row(*row));
            let because = "A refused transaction has no effect.".to_owned();
            self.report(Wrong::of_op("refused-but-changed", *row, refusal.op, what, because));
            return;
        }
        let mut rejected = false;
        for (at, op) in self.tx.ops.iter().enumerate() {
            let lawful = at == refusal.op || refusal.also.contains(&at);
            let right = match self.answer(op.op_id).map(|answer| (answer.outcome, &answer.reason)) {
                Some((Outcome::Rejected, given)) if lawful => {
                    rejected = true;
                    prediction.ops[at].reason.is_none_or(|named| says(given.as_deref(), named))
                }
                Some((Outcome::RolledBack, _)) => true,
                _ => false,
            };
            if !right {
                let because = format!("{} is to be rejected ({}).", self.op_label(refusal.op), refusal.reason);
                self.wrong_outcome(at, &prediction.ops[at], because);
                return;
            }
        }
        if !rejected {
            let because = "A transaction is refused because at least one operation is rejected.".to_owned();
            self.wrong_outcome(refusal.op, &prediction.ops[refusal.op], because);
        }
    }

    fn rows(&mut self, model: &mut Model<'a>, prediction: &Prediction<'_>, changes: &BTreeMap<RowId, Net<'_>>) {
        let touched: Vec<(RowId, Option<Row>)> =
            model.touched().iter().map(|(row, before)| (*row, before.live.clone())).collect();
        let mut judged = BTreeSet::new();
        for (row, before) in &touched {
            judged.insert(*row);
            let actual = changes.get(row).map_or(before.as_ref(), |net| net.after);
            self.judge_row(model, prediction, *row, before.as_ref(), actual, changes);
        }
        for (row, net) in changes.iter().filter(|(row, _)| !judged.contains(row)) {
            let before = model.live(*row).cloned();
            self.judge_row(model, prediction, *row, before.as_ref(), net.after, changes);
        }
    }

    fn judge_row(
        &mut self,
        model: &mut Model<'a>,
        prediction: &Prediction<'_>,
        row: RowId,
        before: Option<&Row>,
        actual: Option<&Row>,
        changes: &BTreeMap<RowId, Net<'_>>,
    ) {
        let table = self.ctx.history.rows[row as usize].table;
        let predicted = model.live(row).cloned();
        if let Some(wanted) = &predicted
            && actual.is_none()
            && went_with_parent(self.ctx, table, wanted, changes, OnParentDelete::Cascade).next().is_some()
        {
            model.adopt(row, actual, None);
            return;
        }
        let (column, what) = match (&predicted, actual) {
            (None, None) => return,
            (Some(wanted), Some(found)) => match self.difference(table, before, wanted, found, changes) {
                Some(at) => {
                    let column = self.ctx.history.column_label(self.ctx.app, row, at);
                    let (found, wanted) = (label::value(&found[at]), label::value(&wanted[at]));
                    (Some(at), format!("{column} is {found} after the commit and should be {wanted}"))
                }
                // The text of a merged set is the server's to choose, and counts from here on.
                None if **wanted != **found => {
                    model.adopt(row, actual, None);
                    return;
                }
                None => return,
            },
            (Some(_), None) => (None, format!("{} is absent after the commit and should be there", self.row(row))),
            (None, Some(_)) => (None, format!("{} is there after the commit and should be absent", self.row(row))),
        };
        let register = column.map(|at| self.register_name(table, at));
        let of_row = || prediction.notes.iter().rev().filter(|note| note.row == row);
        let note = of_row().find(|note| note.register == register).or_else(|| of_row().next());
        let op = note.map(|note| note.op).or_else(|| self.tx.ops.iter().position(|op| model.resolve(op.row) == row));
        let before = match (before, column) {
            (None, _) => "it was absent".to_owned(),
            (Some(_), None) => "it was there".to_owned(),
            (Some(before), Some(at)) => format!("it was {}", label::value(&before[at])),
        };
        self.report(Wrong {
            code: "wrong-row",
            row,
            column,
            op,
            what,
            because: note.map_or_else(
                || "No operation of the transaction, and nothing that follows from one, touches it.".to_owned(),
                |note| self.reason_text(note),
            ),
            notes: vec![format!("before the commit {before}")],
            rivals: note.and_then(|note| note.why.rival()).map(|stamp| stamp.writer()).into_iter().collect(),
        });
        let stamp = self.tx.ops.get(op.unwrap_or(0)).map(|op| self.received(op.op_id));
        model.adopt(row, actual, stamp);
    }

    /// The first column in which the server's image is not the predicted one, nor what the database made of it.
    fn difference(
        &self,
        table: usize,
        before: Option<&Row>,
        wanted: &Row,
        found: &Row,
        changes: &BTreeMap<RowId, Net<'_>>,
    ) -> Option<usize> {
        let mut expected = wanted.to_vec();
        for column in went_with_parent(self.ctx, table, wanted, changes, OnParentDelete::Null) {
            if found[column].is_null() {
                expected[column] = Value::Null;
            }
        }
        difference(self.ctx.app, table, before, &expected.into(), found)
    }

    fn aliases(&mut self, model: &mut Model<'a>, prediction: &Prediction<'_>) {
        let missing = prediction.aliases.iter().filter(|alias| !self.commit.aliases.contains(alias));
        let wrong = self.commit.aliases.iter().filter(|alias| !prediction.aliases.contains(alias));
        let missing = missing.map(|alias| (false, alias)).collect::<Vec<_>>();
        for (made, (losing, survivor)) in
            missing.into_iter().chain(wrong.map(|alias| (true, alias)).collect::<Vec<_>>())
        {
            model.adopt_alias(*losing, made.then_some(*survivor));
            if self.reported_rows.contains(losing) {
                continue;
            }
            let (code, verb) = if made { ("wrong-alias", "has") } else { ("missing-alias", "lacks") };
            self.report(Wrong {
                op: self.tx.ops.iter().position(|op| op.row == *losing),
                what: format!("the commit {verb} the alias {} -> {}", self.row(*losing), self.row(*survivor)),
                because: "An insert that collides on a mergeable key leaves an alias from its id to the survivor; nothing else does."
                    .to_owned(),
                ..Wrong::of_row(code, *losing)
            });
        }
    }

    fn outcomes(&mut self, model: &Model<'a>, prediction: &Prediction<'_>) {
        for (at, predicted) in prediction.ops.iter().enumerate() {
            if self.reported_rows.contains(&predicted.row) || self.reported_rows.contains(&self.tx.ops[at].row) {
                continue;
            }
            let right = self.answer(predicted.op_id).is_some_and(|answer| {
                (answer.outcome == predicted.outcome || says_more(answer, predicted.outcome))
                    && predicted.reason.is_none_or(|named| says(answer.reason.as_deref(), named))
                    && answer
                        .by
                        .as_ref()
                        .is_none_or(|by| predicted.winners.is_empty() || predicted.winners.contains(by))
                    && (predicted.merged_into.is_none() || answer.merged_into == predicted.merged_into)
                    && answer.merged_into.is_none_or(|row| model.resolve(row) == predicted.row)
            });
            if !right {
                let reason_text = |note: &Note<'_>| {
                    let of = note.register.map_or(String::new(), |name| format!("{name}: "));
                    format!("{of}{}", self.reason_text(note))
                };
                let reasons: Vec<String> =
                    prediction.notes.iter().filter(|note| note.op == at).map(reason_text).collect();
                self.wrong_outcome(at, predicted, reasons.join(" "));
            }
        }
    }

    fn wrong_outcome(&mut self, at: usize, predicted: &Predicted, because: String) {
        let what = format!(
            "{} is answered {} and should be {}",
            self.op_label(at),
            self.answered(predicted.op_id),
            self.should_be(predicted)
        );
        self.report(Wrong {
            rivals: predicted.winners.clone(),
            ..Wrong::of_op("wrong-outcome", self.tx.ops[at].row, at, what, because)
        });
        self.reported_rows.insert(predicted.row);
    }

    fn records(&mut self, model: &Model<'a>, prediction: &Prediction<'_>) {
        let of = |record: &ConflictRecord| model.resolve(record.row);
        let mut unexpected: Vec<&ConflictRecord> = self.commit.conflicts.iter().collect();
        unexpected.retain(|record| !prediction.records.iter().any(|expected| expected.is(record, of(record))));
        let there =
            |expected: &Expected<'_>| self.commit.conflicts.iter().any(|record| expected.is(record, of(record)));
        for expected in prediction.records.iter().filter(|expected| expected.owed && !there(expected)) {
            let near = unexpected.iter().position(|record| expected.concerns(record, of(record)));
            let near = near.map(|index| unexpected.remove(index));
            if self.reported_rows.contains(&expected.row) {
                continue;
            }
            let (code, what) = match near {
                Some(record) => ("wrong-record", format!("the commit records {}", self.record(record))),
                None => ("missing-record", "the commit lacks a conflict record".to_owned()),
            };
            let name = expected.columns.as_ref().and_then(|names| *names.first()?);
            self.report(Wrong {
                column: self.named_column(expected.row, name),
                op: self.op_in(expected),
                what,
                because: self.owed(expected),
                rivals: self.rivals_in(expected),
                ..Wrong::of_row(code, expected.row)
            });
        }
        for record in unexpected {
            if self.reported_rows.contains(&of(record))
                || self.reported_rows.contains(&record.row)
                || self.says_more(model, record)
            {
                continue;
            }
            self.report(Wrong {
                column: self.named_column(record.row, record.column.as_deref()),
                what: format!("the commit records {}", self.record(record)),
                because: "No such conflict occurred in the commit.".to_owned(),
                ..Wrong::of_row("unexpected-record", record.row)
            });
        }
    }

    /// Whether a record that is not owed is lawful all the same: one of what this transaction's deletes took along,
    /// or of an insert that it merged into another row. Durability tests that what a record says is so.
    fn says_more(&self, model: &Model<'a>, record: &ConflictRecord) -> bool {
        let is_gone = self.commit.changes.iter().any(|change| change.row == record.row && change.after.is_none());
        match record.rule.as_str() {
            "deleted" | "cascade" => is_gone && self.is_own(&record.winner, |op| op.op == Op::Delete),
            "unique" => self.is_own(&record.loser, |op| {
                op.op == Op::Put
                    && op.row != model.resolve(op.row)
                    && model.resolve(op.row) == model.resolve(record.row)
            }),
            _ => false,
        }
    }

    /// Whether the writer is an operation of this transaction, and such a one.
    fn is_own(&self, writer: &Writer, such: impl Fn(&LocalOp) -> bool) -> bool {
        let Writer::Client { device, op_id } = *writer else { return false };
        device == self.device && self.tx.ops.iter().any(|op| op.op_id == op_id && such(op))
    }

    /// The model takes over all that a commit did which is not as predicted as a whole.
    fn adopt_all(&self, model: &mut Model<'a>, changes: &BTreeMap<RowId, Net<'_>>) {
        for (row, net) in changes {
            let op = self.tx.ops.iter().rev().find(|op| op.row == *row).or(self.tx.ops.last());
            model.adopt(*row, net.after, op.map(|op| self.received(op.op_id)));
        }
        for (losing, survivor) in &self.commit.aliases {
            model.adopt_alias(*losing, Some(*survivor));
        }
    }
}

/// Whether an answer says `merged` of an operation that the model calls applied: both say that the effect stands,
/// and what stands is held to the model row by row.
fn says_more(answer: &OpAnswer, predicted: Outcome) -> bool {
    predicted == Outcome::Applied && answer.outcome == Outcome::Merged
}

fn not_done(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Rejected | Outcome::RolledBack)
}
