//! Merges one operation into one live row, register by register.

use fixtures::{Rule, Value};

use crate::operation::OpKind;
use crate::policy::base::{base_value, unchanged_since_base};
use crate::policy::decision::{Conflict, Decision, Effect, RowWrite, Situation, out_of_range};
use crate::record::{Author, CONTRIBUTIONS_MAX, RowMeta, Stamp, StoredRow};
use crate::rules::Register;
use crate::wire::Outcome;

/// The merge of one operation into one row. Call one verdict method for each edit, then [`Merge::decide`].
pub(crate) struct Merge<'a> {
    pub(crate) s: &'a Situation<'a>,
    pub(crate) stored: &'a StoredRow,
    row: Vec<Value>,
    meta: RowMeta,
    verdicts: Vec<(usize, Verdict)>,
    conflicts: Vec<Conflict>,
    /// The first edit that did not take effect: rule, register, author of the stored value.
    first_loss: Option<(&'static str, usize, Author)>,
    is_written: bool,
}

/// How one register was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The row holds what was sent.
    Accepted,
    /// The row holds a combination of the sent and the stored value.
    Merged,
    /// The row keeps the stored value.
    Kept,
}

/// What an operation writes to one register.
pub(crate) struct RegisterEdit<'a> {
    /// The register's index.
    pub(crate) index: usize,
    /// The register.
    pub(crate) register: &'a Register,
    /// The new values, one for each column.
    pub(crate) values: Vec<Value>,
    /// Whether the row still holds what the writer saw. `None`: the operation has no base.
    pub(crate) base_holds: Option<bool>,
    /// Whether the row already holds the new values.
    pub(crate) is_same: bool,
    /// Who wrote the stored value.
    pub(crate) author: Author,
}

impl RegisterEdit<'_> {
    /// Rejects a counter's value outside its range.
    pub(crate) fn check_range(&self, value: &Value) -> Result<(), Box<Decision>> {
        match out_of_range(self.register.rule, value, &self.register.name) {
            Some(refusal) => Err(Box::new(refusal)),
            None => Ok(()),
        }
    }
}

impl<'a> Merge<'a> {
    pub(crate) fn new(s: &'a Situation<'a>, stored: &'a StoredRow) -> Self {
        Self {
            s,
            stored,
            row: stored.row.to_vec(),
            meta: stored.meta_or_unknown(s.rules.registers.len()),
            verdicts: Vec::new(),
            conflicts: Vec::new(),
            first_loss: None,
            is_written: false,
        }
    }

    /// The registers that the operation writes, in order of their first column.
    pub(crate) fn edits(&self) -> Vec<RegisterEdit<'a>> {
        let mut indices: Vec<usize> = Vec::with_capacity(self.s.op.data.len());
        for (column, _) in &self.s.op.data {
            let index = self.s.rules.register_of[*column];
            if !indices.contains(&index) {
                indices.push(index);
            }
        }
        indices.into_iter().map(|index| self.edit(index)).collect()
    }

    fn edit(&self, index: usize) -> RegisterEdit<'a> {
        let register = &self.s.rules.registers[index];
        let has_base = self.s.op.old.is_some() && self.s.op.kind == OpKind::Patch;
        let values: Vec<Value> = register.columns.iter().map(|column| self.overlaid(*column, has_base)).collect();
        let is_same = register
            .columns
            .iter()
            .zip(&values)
            .all(|(column, value)| register.holds_same(self.stored.value(*column), value));
        RegisterEdit {
            index,
            register,
            is_same,
            values,
            base_holds: has_base.then(|| unchanged_since_base(self.s, self.stored, register)),
            author: self.stored.author(index, &register.columns),
        }
    }

    /// A group's value is `old` overlaid with `data`. The server's value is used where the device recorded nothing, or
    /// recorded NULL and the server filled in the default.
    fn overlaid(&self, column: usize, has_base: bool) -> Value {
        if let Some(sent) = self.s.op.sent(column) {
            return sent.clone();
        }
        let current = self.stored.value(column);
        if !has_base {
            return current.clone();
        }
        match base_value(self.s, column) {
            Some(old) if !old.is_null() => old.clone(),
            Some(_) if !self.stored.is_defaulted(column) => Value::Null,
            _ => current.clone(),
        }
    }

    /// A stamp that is later than the stored one.
    pub(crate) fn next_stamp_us(&self, register: usize) -> i64 {
        let stored = self.stored.stamp(register).map_or(i64::MIN, |stamp| stamp.at_us.saturating_add(1));
        self.s.clock_us().max(stored)
    }

    /// Stores the operation's value. It overrides nothing that its writer had not seen.
    pub(crate) fn accept(&mut self, edit: &RegisterEdit<'_>, stamp_us: i64) {
        // A set whose members stay keeps its text: another order of them, or `[]` in place of NULL, changes nothing.
        let is_same_set = edit.register.rule == Rule::Set && edit.is_same;
        let column = edit.register.columns[0];
        let values = if is_same_set { vec![self.stored.value(column).clone()] } else { edit.values.clone() };
        self.store(edit, values, stamp_us);
        self.verdicts.push((edit.index, Verdict::Accepted));
    }

    /// Stores the operation's value in place of one that its writer had not seen.
    pub(crate) fn replace_stored(&mut self, edit: &RegisterEdit<'_>, stamp_us: i64, rule: &'static str) {
        if !edit.is_same && !self.s.rules.is_clock(edit.index) {
            let base = edit.base_holds.and_then(|_| self.s.op.base(edit.register.columns[0]));
            for loser in self.stored.unseen_authors(edit.index, edit.register, base, self.s.writer) {
                self.conflict(edit, rule, loser, self.s.author());
            }
        }
        self.accept(edit, stamp_us);
    }

    /// Keeps the stored value.
    pub(crate) fn keep_stored(&mut self, edit: &RegisterEdit<'_>, rule: &'static str) {
        if edit.is_same {
            self.verdicts.push((edit.index, Verdict::Accepted));
            return;
        }
        self.verdicts.push((edit.index, Verdict::Kept));
        if self.s.rules.is_clock(edit.index) {
            return;
        }
        self.conflict(edit, rule, self.s.author(), edit.author.clone());
        if self.first_loss.is_none() {
            self.first_loss = Some((rule, edit.index, edit.author.clone()));
        }
    }

    /// Stores a combination of both values, so that nobody's write is lost.
    pub(crate) fn combine(&mut self, edit: &RegisterEdit<'_>, value: Value, stamp_us: i64) {
        let verdict = if value == edit.values[0] { Verdict::Accepted } else { Verdict::Merged };
        self.store(edit, vec![value], stamp_us);
        self.add_contribution(edit);
        self.verdicts.push((edit.index, verdict));
    }

    /// Stores the operation's value, which adds to the value that its writer had seen.
    pub(crate) fn contribute(&mut self, edit: &RegisterEdit<'_>, stamp_us: i64) {
        self.accept(edit, stamp_us);
        if edit.register.is_additive() {
            self.add_contribution(edit);
        }
    }

    /// Attributes the value that was just stored to its earlier contributors too.
    fn add_contribution(&mut self, edit: &RegisterEdit<'_>) {
        let column = edit.register.columns[0];
        let (Author::Client(author), Some(before)) = (&edit.author, self.stored.stamp(edit.index)) else {
            return;
        };
        let mut contributions = before.contributions.clone();
        if contributions.is_empty() {
            contributions.push((author.clone(), self.stored.value(column).clone()));
        }
        contributions.push((self.s.writer.clone(), self.row[column].clone()));
        let surplus = contributions.len().saturating_sub(CONTRIBUTIONS_MAX);
        contributions.drain(..surplus);
        if let Some(stamp) = &mut self.meta.stamps[edit.index] {
            stamp.contributions = contributions;
        }
    }

    fn conflict(&mut self, edit: &RegisterEdit<'_>, rule: &'static str, loser: Author, winner: Author) {
        self.conflicts.push(Conflict { column: Some(edit.register.name.clone()), rule: rule.into(), loser, winner });
    }

    fn store(&mut self, edit: &RegisterEdit<'_>, values: Vec<Value>, stamp_us: i64) {
        for (column, value) in edit.register.columns.iter().zip(values) {
            if self.s.op.sent(*column).is_some() || value != self.row[*column] {
                self.meta.defaulted.retain(|defaulted| defaulted != column);
            }
            self.meta.set_written(*column, &value);
            self.row[*column] = value;
        }
        self.meta.stamps[edit.index] = Some(Stamp::new(stamp_us, self.s.writer.clone()));
        self.is_written = true;
    }

    /// The decision that follows from the verdicts. The clock column counts only when nothing else was sent.
    pub(crate) fn decide(self) -> Decision {
        let is_clock = |index: usize| self.s.rules.is_clock(index);
        let only_clock = self.verdicts.iter().all(|(index, _)| is_clock(*index));
        let judged =
            || self.verdicts.iter().filter(|(index, _)| only_clock || !is_clock(*index)).map(|(_, verdict)| *verdict);
        let outcome = if judged().all(|verdict| verdict == Verdict::Accepted) {
            Outcome::Applied
        } else if judged().all(|verdict| verdict == Verdict::Kept) {
            Outcome::Superseded
        } else {
            Outcome::Merged
        };
        let (reason, by) = match (outcome, &self.first_loss) {
            (Outcome::Applied, _) => (None, None),
            (_, Some((rule, index, author))) => {
                (Some(format!("{rule}: {}", self.s.rules.registers[*index].name)), Some(author.clone()))
            }
            (_, None) => {
                let merged = self.verdicts.iter().find(|(_, verdict)| *verdict == Verdict::Merged);
                (merged.map(|(index, _)| self.merged_reason(*index)), None)
            }
        };
        let effect =
            if self.is_written { Effect::Write(RowWrite { row: self.row, meta: self.meta }) } else { Effect::None };
        Decision { effect, outcome, reason, by, conflicts: self.conflicts }
    }

    fn merged_reason(&self, index: usize) -> String {
        let register = &self.s.rules.registers[index];
        let rule = match register.rule {
            Rule::Counter { .. } => "counter",
            Rule::Set => "set",
            _ => "merged",
        };
        format!("{rule}: {}", register.name)
    }
}

/// Supersedes a whole operation. One that writes what the row already holds is applied instead.
pub(crate) fn superseded_whole(s: &Situation<'_>, stored: &StoredRow, rule: &'static str, author: Author) -> Decision {
    let is_same = || Merge::new(s, stored).edits().iter().all(|edit| s.rules.is_clock(edit.index) || edit.is_same);
    if s.op.kind != OpKind::Delete && is_same() {
        return Decision::nothing();
    }
    Decision {
        effect: Effect::None,
        outcome: Outcome::Superseded,
        reason: Some(rule.to_owned()),
        by: Some(author.clone()),
        conflicts: vec![Conflict { column: None, rule: rule.into(), loser: s.author(), winner: author }],
    }
}
