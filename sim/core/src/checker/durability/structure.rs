//! Structure: parents, trees and exclusive invariants, which may change what an edit wrote.

use fixtures::{OnMissingParent, OnParentDelete, Row, Value};

use super::edit::Edit;
use super::judge::Judge;
use super::merge::get;
use super::registers::Register;
use super::report::RequiredRecord;
use super::state::Write;
use super::stats::count;
use super::transaction::JudgedTx;
use crate::checker::tree::path_to;
use crate::history::RowId;

/// Why a register may be neither as written nor as it was.
pub(super) struct Excuse {
    /// The rule.
    pub(super) rule: &'static str,
    /// Who wrote what stood in the way.
    pub(super) winners: Vec<Option<Write>>,
    /// Whether a record is owed: not by a device's own delete, nor by one that it had seen.
    pub(super) owed: bool,
}

impl<'a> Judge<'a, '_> {
    /// Whether structure explains why a register is not as the edit has it: a parent that is not there, a cycle, a
    /// row that was running already.
    pub(super) fn excuse(
        &self,
        at: &JudgedTx<'_>,
        edit: &Edit<'_>,
        register: &Register<'_>,
        current: Option<&Row>,
        after: &Row,
    ) -> Option<Excuse> {
        let layout = self.layout(edit.row);
        let exclusive = register.columns.iter().find_map(|column| {
            let exclusive = layout.running[*column]?;
            let starts = edit.cell(*column)?.new == Some(&Value::Int(1)) && get(after, *column) == &Value::Int(0);
            let winners = self.holders(at, edit.row, exclusive);
            (starts && !winners.is_empty()).then_some(winners)
        });
        let mut excuse: Option<Excuse> = None;
        for column in register.columns.iter().copied() {
            let then = get(after, column);
            let Some(cell) = edit.cell(column) else { continue };
            let Some(new) = cell.new.or(cell.base).filter(|_| cell.new.is_some() || !cell.blind) else { continue };
            // A column that the row's insert left out, in the same transaction, has the server's default.
            let left_out = current.is_none() && cell.new.is_none() && new.is_null();
            if left_out || self.same(layout, column, new, then) {
                continue;
            }
            // An earlier operation of the same transaction may have given it the value that it kept.
            // Or the parent that it had went before, and left nothing.
            let left = layout.parents[column].is_some_and(|parent| {
                parent.deleted == OnParentDelete::Null
                    && then.is_null()
                    && current.is_some_and(|current| self.parent_went(at, parent.table, get(current, column)))
            });
            let stayed = left
                || current.map_or(then.is_null(), |current| get(current, column) == then)
                || cell.via.contains(&then);
            // A row may name itself: that is a cycle, and no missing parent.
            let path = if layout.trees[column] && stayed { self.cycle(at, edit.row, column, new) } else { None };
            let missing = layout.parents[column].is_some_and(|parent| {
                (parent.missing == OnMissingParent::Null || parent.deleted == OnParentDelete::Null)
                    && then.is_null()
                    && self.parent_went(at, parent.table, new)
            });
            if let Some(path) = path {
                excuse = Some(Excuse { rule: "cycle", winners: path, owed: true });
            } else if missing {
                let parent = layout.parents[column].and_then(|parent| self.find(parent.table, new.as_text()?));
                let owed = !self.took_away(at, parent);
                excuse.get_or_insert(Excuse { rule: "parent-missing", winners: self.deleters(at, parent), owed });
            } else if let Some(winners) = exclusive.as_ref().filter(|_| layout.running[column].is_some() || stayed) {
                excuse = Some(Excuse { rule: "exclusive", winners: winners.clone(), owed: true });
            } else if !(stayed && cell.new.is_none()) {
                return None;
            }
        }
        excuse
    }

    /// The writers of the parents on the cycle that this parent would close; `None` if it closes none.
    fn cycle(&self, at: &JudgedTx<'_>, row: RowId, column: usize, parent: &Value) -> Option<Vec<Option<Write>>> {
        let table = self.table(row);
        let register = self.layouts[table].of_column[column];
        // The order of changes within the commit is not known: the tree before it, or after it.
        [false, true].into_iter().find_map(|later| {
            let parent_of = |row: RowId| {
                let image = match self.net(at, row) {
                    Some(net) if later => net.after.as_ref(),
                    Some(net) => net.before.as_ref(),
                    None => self.rows[row as usize].live.as_ref(),
                };
                self.find(table, get(image?, column).as_text()?)
            };
            let path = path_to(row, self.find(table, parent.as_text()?)?, parent_of)?;
            let mut writers = Vec::new();
            for ancestor in path.into_iter().filter(|ancestor| *ancestor != row) {
                // Several may have written the same parent; a row that nobody wrote is the server's.
                let ancestor_row = &self.rows[ancestor as usize];
                writers.extend(ancestor_row.writers(register));
                writers.extend(ancestor_row.register(register).by.is_none().then_some(None));
                // A parent that the transaction itself moved stands in the way as well.
                if self.net(at, ancestor).is_some_and(|net| net.edit.is_some()) {
                    writers.extend(at.tx.ops.iter().filter(|op| op.row == ancestor).map(|op| Some(at.write(op.op_id))));
                }
            }
            writers.push(None);
            Some(writers)
        })
    }

    /// Who wrote that other rows of an exclusive invariant run, with a lease that may still hold.
    fn holders(&self, at: &JudgedTx<'_>, row: RowId, exclusive: usize) -> Vec<Option<Write>> {
        let rule = &self.ctx.app.policy.exclusives[exclusive];
        let register = self.layouts[rule.table].of_column[rule.running];
        let lease_us = rule.lease_s.saturating_mul(1_000_000);
        let mut writers = Vec::new();
        for holder in self.running[exclusive].iter().copied().filter(|holder| *holder != row) {
            let state = &self.rows[holder as usize];
            if at.received_us.saturating_sub(state.touched_us.max(state.heartbeat_us)) <= lease_us {
                writers.extend([state.register(register).by, state.register(register).also, None]);
                // The transaction itself may have written the holder since.
                writers.extend(state.writes.of(register).iter().copied().map(Some));
            }
        }
        for net in at.nets.iter().filter(|net| net.row != row && self.table(net.row) == rule.table) {
            if net.edit.is_some() && net.after.as_ref().is_some_and(|after| get(after, rule.running) == &Value::Int(1))
            {
                writers.extend(at.tx.ops.iter().filter(|op| op.row == net.row).map(|op| Some(at.write(op.op_id))));
            }
        }
        writers
    }

    /// Whether the device itself took the parent away, in this transaction or before, or had seen it go.
    fn took_away(&self, at: &JudgedTx<'_>, parent: Option<RowId>) -> bool {
        let Some(parent) = parent else { return false };
        let here = at.tx.ops.iter().any(|op| op.op == crate::history::Op::Delete && self.target(op.row) == parent);
        let deletion = self.rows[parent as usize].deletion.as_ref();
        here || deletion.and_then(|deletion| deletion.by).is_some_and(|by| self.saw(at, parent, &by))
    }

    /// Who may be named as having taken a parent away: whoever deleted it, this transaction, or the server.
    pub(super) fn deleters(&self, at: &JudgedTx<'_>, parent: Option<RowId>) -> Vec<Option<Write>> {
        let mut deleters = vec![None];
        deleters.extend(
            at.tx.ops.iter().filter(|op| op.op == crate::history::Op::Delete).map(|op| Some(at.write(op.op_id))),
        );
        if let Some(deletion) = parent.and_then(|parent| self.rows[parent as usize].deletion.as_ref()) {
            deleters.extend([deletion.by, deletion.also].into_iter().flatten().map(Some));
        }
        deleters
    }

    /// Demands the record of what structure did to an edit.
    pub(super) fn excused(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, index: usize, excuse: &Excuse) {
        let kind = if excuse.rule == "exclusive" { "exclusive" } else { "parent" };
        if !excuse.owed {
            return;
        }
        count(&mut self.stats.concurrent, kind, 1);
        let author = self.register_author(edit, index);
        self.require_record(
            at,
            &RequiredRecord {
                losers: &[Some(at.write(author))],
                winners: &excuse.winners,
                row: edit.row,
                register: Some(index),
                rules: &[excuse.rule],
                counted: excuse.rule,
            },
        );
    }
}
