//! One operation being carried out: what it is about, and the notes and records that it leaves.

use fixtures::{App, Value};

use super::explain::{Note, Why};
use super::facts::{Discipline, TableFacts};
use super::prediction::{Expected, Party, Prediction};
use super::register::{Effect, Loss, Sides};
use super::state::{Slot, Stamp, State};
use super::upload::Upload;
use crate::history::{LocalOp, RowId, RowName, Writer};

/// One operation being carried out.
pub(super) struct Execution<'m, 'a> {
    pub(super) app: &'a App,
    pub(super) discipline: Discipline,
    pub(super) tables: &'m [TableFacts<'a>],
    pub(super) names: &'a [RowName],
    pub(super) clients: &'m [&'a str],
    pub(super) state: &'m mut State<'a>,
    pub(super) upload: &'m Upload<'m>,
    pub(super) out: &'m mut Prediction<'a>,
    /// Its index in the transaction.
    pub(super) index: usize,
    /// Whether all operations have run.
    pub(super) is_over: bool,
    pub(super) op: &'m LocalOp,
    /// The row that it acts on, after aliases.
    pub(super) row: RowId,
    pub(super) facts: &'m TableFacts<'a>,
    pub(super) table: usize,
    pub(super) stamp: Stamp,
    /// What it sends and what its writer had, by column.
    pub(super) data: Vec<Option<Value>>,
    pub(super) old: Vec<Option<Value>>,
    /// Columns whose base, as the device sent it, says nothing about what the server had.
    pub(super) unknown_base: Vec<usize>,
}

/// A row as the operation leaves it, before structure has its say.
pub(super) struct Draft {
    pub(super) row: Vec<Value>,
    /// By register.
    pub(super) effects: Vec<(usize, Effect)>,
    pub(super) stamps: Vec<(usize, Stamp)>,
    pub(super) losses: Vec<(usize, Loss)>,
    pub(super) reason: Option<&'static str>,
    /// Registers whose value joins what was there with what came, regardless of the stamp that they keep.
    pub(super) joined: Vec<usize>,
}

impl Execution<'_, '_> {
    /// The operation against a row that is there; `register`: whose stamp is stored.
    pub(super) fn sides<'s>(
        &'s self,
        slot: &'s Slot,
        current: &'s [Value],
        has_base: bool,
        register: Option<usize>,
    ) -> Sides<'s> {
        Sides {
            current,
            slot,
            data: &self.data,
            old: has_base.then_some(&*self.old),
            stored: register.and_then(|index| slot.stamp(index)),
            bypassed: register.is_some_and(|index| slot.is_bypassed(index)),
            op: self.stamp,
        }
    }

    /// Registers that the operation names, in order.
    pub(super) fn named(&self) -> Vec<usize> {
        let mut named: Vec<usize> =
            (0..self.data.len()).filter(|at| self.data[*at].is_some()).map(|at| self.facts.register_of[at]).collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    pub(super) fn sent(&self, register: usize) -> Vec<(usize, Value)> {
        let columns = self.facts.registers[register].columns.iter();
        columns.filter_map(|column| Some((*column, self.data[*column].clone()?))).collect()
    }

    pub(super) fn writer(&self) -> Writer {
        self.stamp.writer()
    }

    /// Whether another client wrote it: of a copy of one's own database that is not sure.
    pub(super) fn is_anothers(&self, stamp: Stamp) -> bool {
        let client = |stamp: Stamp| self.clients.get(stamp.device as usize);
        stamp.device != self.stamp.device && client(stamp) != client(self.stamp)
    }
}

impl<'a> Execution<'_, 'a> {
    pub(super) fn note(&mut self, row: RowId, register: Option<&'a str>, why: Why) {
        self.out.notes.push(Note { op: self.index, row, register, why });
    }

    /// A record about the whole row, or about a register of it. The contract names no rule for these.
    pub(super) fn expect(&mut self, row: RowId, register: Option<usize>, loser: Party, winner: Party, owed: bool) {
        let name = register.map(|register| self.facts.registers[register].name);
        // A delete removes the whole row, no matter who wrote its columns.
        let columns = if name.is_some() { vec![name, None] } else { vec![None] };
        self.out.records.push(Expected { row, columns: Some(columns), rule: None, loser, winner, owed });
    }

    /// A record that docs/semantics.md neither asks for nor forbids: this operation, or the server, over `loser`.
    pub(super) fn expect_any(&mut self, row: RowId, loser: Party) {
        let winner = Party::OneOf(vec![self.writer(), Writer::Server]);
        self.out.records.push(Expected { row, columns: None, rule: None, loser, winner, owed: false });
    }
}

impl Draft {
    pub(super) fn of(row: Vec<Value>) -> Self {
        Self { row, effects: Vec::new(), stamps: Vec::new(), losses: Vec::new(), reason: None, joined: Vec::new() }
    }
}

/// What makes an operation wrong whatever the server holds.
pub(super) fn defect(app: &App, names: &[RowName], op: &LocalOp) -> Option<&'static str> {
    if !op.unknown.is_empty() {
        return Some("unknown-column-or-bad-value");
    }
    let table = names[op.row as usize].table;
    let columns = &app.schema.tables[table].columns;
    if op.data.iter().any(|(column, value)| columns[*column].not_null && value.is_null()) {
        return Some("not-null");
    }
    let is_too_long = app.policy.uniques.iter().filter(|unique| unique.table == table).any(|unique| {
        let bytes_max = UNIQUE_BYTES_MAX / unique.columns.len();
        let texts =
            op.data.iter().filter(|(column, _)| unique.columns.contains(column)).map(|(_, value)| value.as_text());
        texts.flatten().any(|text| text.len() > bytes_max)
    });
    is_too_long.then_some("too-long-for-a-key")
}

/// The most bytes that the texts of a unique key may have together: an index entry of PostgreSQL holds little more.
const UNIQUE_BYTES_MAX: usize = 2_000;
