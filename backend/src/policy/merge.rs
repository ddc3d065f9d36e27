//! Merges one operation into one live row, register by register.

use fixtures::{Rule, Value};

use crate::operation::OpKind;
use crate::policy::base::{told, unchanged_since_base};
use crate::policy::decision::{Conflict, Decision, Effect, RowWrite, Situation, out_of_range};
use crate::record::{Author, CONTRIBUTIONS_MAX, RowMeta, Stamp, StoredRow};
use crate::rules::Register;
use crate::wire::Outcome;

/// The merge of one operation into one row, register by register.
pub(crate) struct Merge<'a> {
    pub(crate) s: &'a Situation<'a>,
    pub(crate) stored: &'a StoredRow,
    row: Vec<Value>,
    meta: RowMeta,
    verdicts: Vec<(usize, Verdict)>,
    conflicts: Vec<Conflict>,
    /// The first loss: rule, register, author of what stands.
    loss: Option<(&'static str, usize, Author)>,
    restamped: bool,
}

/// What became of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It holds what was sent.
    Stands,
    /// It holds a combination of what was sent and what was there.
    Merged,
    /// It holds what was there.
    Lost,
}

/// One register of the operation against the row.
pub(crate) struct Contest<'a> {
    /// The register's index.
    pub(crate) index: usize,
    /// The register.
    pub(crate) register: &'a Register,
    /// What the operation makes of it, one value a column.
    pub(crate) new: Vec<Value>,
    /// Whether the row holds what the writer saw. `None`: the operation has no base.
    pub(crate) unchanged: Option<bool>,
    /// Whether `new` is what the row holds.
    pub(crate) equal: bool,
    /// Who wrote what the row holds.
    pub(crate) author: Author,
}

impl Contest<'_> {
    /// Refuses a counter's value outside its range.
    pub(crate) fn in_range(&self, value: &Value) -> Result<(), Box<Decision>> {
        match out_of_range(self.register.rule, value, &self.register.name) {
            Some(refusal) => Err(Box::new(refusal)),
            None => Ok(()),
        }
    }
}

impl<'a> Merge<'a> {
    pub(crate) fn new(s: &'a Situation<'a>, stored: &'a StoredRow) -> Self {
        let meta = match &stored.meta {
            Some(meta) => RowMeta::clone(meta),
            None => RowMeta::unknown(s.rules.registers.len(), &stored.row),
        };
        Self {
            s,
            stored,
            row: stored.row.to_vec(),
            meta,
            verdicts: Vec::new(),
            conflicts: Vec::new(),
            loss: None,
            restamped: false,
        }
    }

    /// The registers that the operation writes, in order of their first column.
    pub(crate) fn contests(&self) -> Vec<Contest<'a>> {
        let mut indices: Vec<usize> = Vec::with_capacity(self.s.op.data.len());
        for (column, _) in &self.s.op.data {
            let index = self.s.rules.register_of[*column];
            if !indices.contains(&index) {
                indices.push(index);
            }
        }
        indices.into_iter().map(|index| self.contest(index)).collect()
    }

    fn contest(&self, index: usize) -> Contest<'a> {
        let register = &self.s.rules.registers[index];
        let has_base = self.s.op.old.is_some() && self.s.op.kind == OpKind::Patch;
        let new: Vec<Value> = register.columns.iter().map(|column| self.overlaid(*column, has_base)).collect();
        let equal =
            register.columns.iter().zip(&new).all(|(column, new)| register.holds_same(self.stored.value(*column), new));
        Contest {
            index,
            register,
            equal,
            new,
            unchanged: has_base.then(|| unchanged_since_base(self.s, self.stored, register)),
            author: self.stored.author(index, &register.columns),
        }
    }

    /// A group's value is `old` overlaid with `data`. Where the device recorded nothing, or NULL where the server
    /// filled in the default, the server's value stands in.
    fn overlaid(&self, column: usize, has_base: bool) -> Value {
        if let Some(sent) = self.s.op.sent(column) {
            return sent.clone();
        }
        let current = self.stored.value(column);
        if !has_base {
            return current.clone();
        }
        match told(self.s, column) {
            Some(old) if !old.is_null() => old.clone(),
            Some(_) if !self.stored.is_defaulted(column) => Value::Null,
            _ => current.clone(),
        }
    }

    /// The stamp of a write that follows what is stored.
    pub(crate) fn next_stamp_us(&self, register: usize) -> i64 {
        let stored = self.stored.stamp(register).map_or(i64::MIN, |stamp| stamp.at_us.saturating_add(1));
        self.s.clock_us().max(stored)
    }

    /// The operation's value stands, with nothing overridden unseen.
    pub(crate) fn stand(&mut self, contest: &Contest<'_>, stamp_us: i64) {
        self.store(contest, contest.new.clone(), stamp_us);
        self.verdicts.push((contest.index, Verdict::Stands));
    }

    /// The operation's value stands; what it replaces had not been seen by its writer.
    pub(crate) fn win(&mut self, contest: &Contest<'_>, stamp_us: i64, rule: &'static str) {
        if !contest.equal && !self.s.rules.is_clock(contest.index) {
            let base = contest.unchanged.and_then(|_| self.s.op.base(contest.register.columns[0]));
            for loser in self.stored.unseen_authors(contest.index, contest.register, base, self.s.writer) {
                self.conflict(contest, rule, loser, self.s.author());
            }
        }
        self.stand(contest, stamp_us);
    }

    /// The server's value stands.
    pub(crate) fn lose(&mut self, contest: &Contest<'_>, rule: &'static str) {
        if contest.equal {
            self.verdicts.push((contest.index, Verdict::Stands));
            return;
        }
        self.verdicts.push((contest.index, Verdict::Lost));
        if self.s.rules.is_clock(contest.index) {
            return;
        }
        self.conflict(contest, rule, self.s.author(), contest.author.clone());
        if self.loss.is_none() {
            self.loss = Some((rule, contest.index, contest.author.clone()));
        }
    }

    /// A combination stands: nobody's write is lost.
    pub(crate) fn combine(&mut self, contest: &Contest<'_>, value: Value, stamp_us: i64) {
        let verdict = if value == contest.new[0] { Verdict::Stands } else { Verdict::Merged };
        self.store(contest, vec![value], stamp_us);
        self.add_contribution(contest);
        self.verdicts.push((contest.index, verdict));
    }

    /// The operation's value stands on what it had seen, and adds to it.
    pub(crate) fn add(&mut self, contest: &Contest<'_>, stamp_us: i64) {
        self.stand(contest, stamp_us);
        if contest.register.is_additive() {
            self.add_contribution(contest);
        }
    }

    /// The value that was just stored is attributed to its earlier contributors too.
    fn add_contribution(&mut self, contest: &Contest<'_>) {
        let column = contest.register.columns[0];
        let (Author::Client(author), Some(before)) = (&contest.author, self.stored.stamp(contest.index)) else {
            return;
        };
        let mut contributions = before.contributions.clone();
        if contributions.is_empty() {
            contributions.push((author.clone(), self.stored.value(column).clone()));
        }
        contributions.push((self.s.writer.clone(), self.row[column].clone()));
        let surplus = contributions.len().saturating_sub(CONTRIBUTIONS_MAX);
        contributions.drain(..surplus);
        if let Some(stamp) = &mut self.meta.stamps[contest.index] {
            stamp.contributions = contributions;
        }
    }

    fn conflict(&mut self, contest: &Contest<'_>, rule: &'static str, loser: Author, winner: Author) {
        self.conflicts.push(Conflict { column: Some(contest.register.name.clone()), rule: rule.into(), loser, winner });
    }

    fn store(&mut self, contest: &Contest<'_>, values: Vec<Value>, stamp_us: i64) {
        for (column, value) in contest.register.columns.iter().zip(values) {
            if self.s.op.sent(*column).is_some() || value != self.row[*column] {
                self.meta.defaulted.retain(|defaulted| defaulted != column);
            }
            self.meta.set_written(*column, &value);
            self.row[*column] = value;
        }
        self.meta.stamps[contest.index] = Some(Stamp::new(stamp_us, self.s.writer.clone()));
        self.restamped = true;
    }

    /// The decision that the verdicts come to.
    ///
    /// The clock column decides the outcome only when nothing else was sent.
    pub(crate) fn decide(self) -> Decision {
        let is_clock = |index: usize| self.s.rules.is_clock(index);
        let only_clock = self.verdicts.iter().all(|(index, _)| is_clock(*index));
        let judged =
            || self.verdicts.iter().filter(|(index, _)| only_clock || !is_clock(*index)).map(|(_, verdict)| *verdict);
        let outcome = if judged().all(|verdict| verdict == Verdict::Stands) {
            Outcome::Applied
        } else if judged().all(|verdict| verdict == Verdict::Lost) {
            Outcome::Superseded
        } else {
            Outcome::Merged
        };
        let (reason, by) = match (outcome, &self.loss) {
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
            if self.restamped { Effect::Write(RowWrite { row: self.row, meta: self.meta }) } else { Effect::None };
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

/// The whole operation is superseded. An operation that asks for what the row holds already simply stands.
pub(crate) fn superseded_whole(s: &Situation<'_>, stored: &StoredRow, rule: &'static str, author: Author) -> Decision {
    let asks_for_what_is_there =
        || Merge::new(s, stored).contests().iter().all(|contest| s.rules.is_clock(contest.index) || contest.equal);
    if s.op.kind != OpKind::Delete && asks_for_what_is_there() {
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
