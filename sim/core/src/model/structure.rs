//! What holds between rows: references, trees, exclusive invariants, unique keys.
//!
//! A write is held to these where it takes effect: a value that lost to the server's is not looked at, nor is one
//! that was there before. The order is references, trees, exclusive, NOT NULL, unique.
//!
//! - **References**, on a write that names no live row: refuse (rejected), null (NULL instead, with a record) or
//!   keep. Soft-deleted parents are rows like any other. A row may name itself.
//! - **References**, on the deletion of the row named: cascade (deleted by the same transaction, recorded), null
//!   (recorded if another device had written it), refuse (rejected), keep. NULL in a NOT NULL column is rejected. A
//!   child that would go, or forbid the deletion, and that the transaction goes on to delete itself is left to that
//!   operation; what is then still an orphan goes, or forbids, at the end.
//! - **Trees:** a write that would close a cycle leaves the parent column at the server's value (NULL in a new
//!   row): superseded (cycle).
//! - **Exclusive:** a start, from not running to running, while another row runs whose last heartbeat was received
//!   no longer ago than the lease, is merged to not running, with a record. The start itself is a heartbeat, and so
//!   is any write of the heartbeat column. Rows whose lease is over stop when another starts.
//! - **Unique keys** that a PATCH, or a PUT on a live row, would take from another row: rejected (unique). What a
//!   PUT of a new row does is [`super::operation`]'s.

use std::sync::Arc;

use fixtures::{MadeBy, OnMissingParent, OnParentDelete, Reference, Row, Value};

use super::execution::{Draft, Execution};
use super::explain::Why;
use super::prediction::{Expected, LeftChild, Party};
use super::register::Effect;
use super::state::{Stamp, Tombstone, key};
use crate::history::{RowId, Writer};

impl Execution<'_, '_> {
    /// Changes the draft to what structure allows.
    ///
    /// # Errors
    /// The reason for which the operation is rejected.
    pub(super) fn structure(
        &mut self,
        row: RowId,
        before: Option<&Row>,
        draft: &mut Draft,
    ) -> Result<(), &'static str> {
        let written = |draft: &Draft, column: usize| before.is_none_or(|before| before[column] != draft.row[column]);
        self.missing_parents(row, draft, &written)?;
        self.cycles(row, before, draft, &written);
        self.starts(row, before, draft);
        let columns = &self.app.schema.tables[self.table].columns;
        let empty = |at: usize| columns[at].not_null && draft.row[at].is_null() && written(draft, at);
        if (0..columns.len()).any(empty) {
            return Err("not-null");
        }
        for (index, unique) in &self.facts.uniques {
            if !unique.columns.iter().any(|column| written(draft, *column)) {
                continue;
            }
            let taken = key(&draft.row, &unique.columns).and_then(|key| self.state.holder(*index, key, row));
            if taken.is_some() {
                return Err("unique");
            }
        }
        Ok(())
    }

    fn missing_parents(
        &mut self,
        row: RowId,
        draft: &mut Draft,
        written: &dyn Fn(&Draft, usize) -> bool,
    ) -> Result<(), &'static str> {
        for (_, reference) in &self.facts.references {
            let column = reference.column;
            let Some(parent) = draft.row[column].as_text().filter(|_| written(draft, column)) else { continue };
            let itself = reference.parent == self.table && parent == &*self.names[row as usize].id;
            if itself || self.state.find_live(reference.parent, parent).is_some() {
                continue;
            }
            match reference.on_missing_parent {
                OnMissingParent::Keep => {}
                OnMissingParent::Refuse => return Err("no-such-parent"),
                OnMissingParent::Null => {
                    draft.row[column] = Value::Null;
                    self.overrule(row, column, draft, Effect::Joined, Why::NoParent);
                }
            }
        }
        Ok(())
    }

    fn cycles(&mut self, row: RowId, before: Option<&Row>, draft: &mut Draft, written: &dyn Fn(&Draft, usize) -> bool) {
        for tree in &self.facts.trees {
            if !written(draft, tree.column) {
                continue;
            }
            let Some(path) = self.cycle(row, tree.column, &draft.row[tree.column]) else { continue };
            let register = self.facts.register_of[tree.column];
            for column in &self.facts.registers[register].columns {
                draft.row[*column] = before.map_or(Value::Null, |before| before[*column].clone());
            }
            draft.stamps.retain(|(at, _)| *at != register);
            draft.losses.retain(|(at, _)| *at != register);
            draft.reason = Some("cycle");
            self.overrule(row, tree.column, draft, Effect::Lost, Why::Cycle { path });
        }
    }

    /// The way from the row up to itself, if this parent would close one.
    fn cycle(&self, row: RowId, column: usize, parent: &Value) -> Option<Vec<RowId>> {
        let mut path = vec![row];
        let mut at = self.state.find(self.table, parent.as_text()?)?;
        // A circle that is there already and does not go through the row is not this write's.
        for _ in 0..self.names.len() {
            path.push(at);
            if at == row {
                return Some(path);
            }
            at = self.state.find(self.table, self.state.live(at)?[column].as_text()?)?;
        }
        None
    }

    fn starts(&mut self, row: RowId, before: Option<&Row>, draft: &mut Draft) {
        let received_us = self.upload.received_us;
        for (index, exclusive) in &self.facts.exclusives {
            let running = |row: &[Value]| row[exclusive.running] == Value::Int(1);
            if !running(&draft.row) || before.is_some_and(|before| running(before)) {
                continue;
            }
            let others = self.state.running(*index, row);
            let holder = others.iter().find_map(|other| {
                let beat_us = self.state.slot(*other).beat(*index)?;
                (received_us - beat_us <= exclusive.lease_s * 1_000_000).then_some((*other, beat_us))
            });
            if let Some((by, beat_us)) = holder {
                draft.row[exclusive.running] = Value::Int(0);
                self.overrule(row, exclusive.running, draft, Effect::Joined, Why::Held { by, beat_us });
                continue;
            }
            for other in others {
                self.stop(other, exclusive.running);
            }
            self.state.edit(row).set_beat(*index, received_us);
        }
    }

    /// A row whose lease is over no longer runs.
    fn stop(&mut self, row: RowId, running: usize) {
        let register = self.facts.register_of[running];
        let stored = self.state.slot(row).stamp(register);
        let winner = Party::OneOf(vec![self.writer(), Writer::Server]);
        let loser = stored.map_or(Party::Anyone, |stored| Party::only(stored.writer()));
        let owed = stored.is_some_and(|stored| self.is_anothers(stored));
        self.expect_column(row, self.table, running, loser, winner, owed);
        self.note(row, Some(self.facts.registers[register].name), Why::LeaseOver);
        self.set_by_server(row, self.table, running, Value::Int(0));
    }

    /// The operation's value of a column gave way to structure.
    fn overrule(&mut self, row: RowId, column: usize, draft: &mut Draft, effect: Effect, why: Why) {
        let register = self.facts.register_of[column];
        let sent = self.data[column].is_some();
        // A row that came back holds values that the operation did not send: those are no effect of it.
        if let Some(entry) = draft.effects.iter_mut().find(|(at, _)| *at == register) {
            entry.1 = effect;
        }
        let loser = if sent { Party::only(self.writer()) } else { Party::Anyone };
        self.expect_column(row, self.table, column, loser, Party::Anyone, sent);
        self.note(row, Some(self.facts.registers[register].name), why);
    }

    /// Deletes the row, and does to its children what their references say.
    ///
    /// # Errors
    /// The reason for which the operation is rejected.
    pub(super) fn remove(&mut self, first: RowId) -> Result<(), &'static str> {
        let mut doomed = vec![(first, MadeBy::Backend)];
        while let Some((row, made_by)) = doomed.pop() {
            let Some(image) = self.state.live(row).cloned() else { continue };
            let table = self.names[row as usize].table;
            if row != first {
                self.cascaded(row, first, made_by);
            }
            self.state.write(&self.tables[table], row, None);
            let slot = self.state.edit(row);
            slot.tombstone = Some(Tombstone { stamp: self.stamp, image: Some(image) });
            slot.beats.clear();
            for (index, reference) in &self.tables[table].children {
                for child in self.state.children(*index, &self.names[row as usize].id) {
                    match reference.on_parent_delete {
                        OnParentDelete::Keep => {}
                        OnParentDelete::Refuse | OnParentDelete::Cascade if self.goes_later(child) => {
                            let by = self.index;
                            self.out.left.push(LeftChild { by, table, reference: *index, child, parent: row });
                        }
                        OnParentDelete::Refuse => return Err("referenced"),
                        OnParentDelete::Cascade => doomed.push((child, reference.made_by)),
                        OnParentDelete::Null => self.orphan(child, reference, row)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the transaction goes on to delete the row itself.
    fn goes_later(&self, row: RowId) -> bool {
        let rest = if self.is_over { &[][..] } else { &self.upload.ops[self.index + 1..] };
        rest.iter().any(|op| op.op == crate::history::Op::Delete && self.state.resolve(op.row) == row)
    }

    /// What becomes, when all operations have run, of a child that was left to one of them.
    ///
    /// # Errors
    /// The reason for which the operation that deleted its parent is rejected.
    pub(super) fn let_go(&mut self, left: &LeftChild) -> Result<(), &'static str> {
        let facts = &self.tables[left.table];
        let Some((_, reference)) = facts.children.iter().find(|(index, _)| *index == left.reference) else {
            return Ok(());
        };
        let parent = &self.names[left.parent as usize];
        let child = self.state.live(left.child);
        let is_orphan = child.is_some_and(|child| child[reference.column].as_text() == Some(&*parent.id))
            && self.state.live(left.parent).is_none();
        match reference.on_parent_delete {
            OnParentDelete::Refuse if is_orphan => Err("referenced"),
            OnParentDelete::Cascade if is_orphan => {
                self.cascaded(left.child, left.parent, reference.made_by);
                self.remove(left.child)
            }
            _ => Ok(()),
        }
    }

    fn cascaded(&mut self, row: RowId, parent: RowId, made_by: MadeBy) {
        let writers = self.state.slot(row).writers();
        let owed = writers != [Writer::Server] && made_by == MadeBy::Backend;
        self.out.records.push(Expected {
            row,
            columns: None,
            rule: None,
            loser: Party::OneOf(writers),
            winner: Party::OneOf(vec![self.writer(), Writer::Server]),
            owed,
        });
        self.note(row, None, Why::Cascaded { parent });
    }

    fn orphan(&mut self, child: RowId, reference: &Reference, parent: RowId) -> Result<(), &'static str> {
        let Reference { table, column, made_by, .. } = *reference;
        if self.app.schema.tables[table].columns[column].not_null {
            return Err("not-null");
        }
        let facts = &self.tables[table];
        let register = facts.register_of[column];
        let stored = self.state.slot(child).stamp(register);
        let loser = stored.map_or(Party::Anyone, |stored| Party::only(stored.writer()));
        let winner = Party::OneOf(vec![self.writer(), Writer::Server]);
        // A child that the transaction goes on to delete itself owes what that delete owes.
        let owed = made_by == MadeBy::Backend
            && !self.goes_later(child)
            && stored.is_some_and(|stored| self.is_anothers(stored));
        self.expect_column(child, table, column, loser, winner, owed);
        self.note(child, Some(facts.registers[register].name), Why::ParentDeleted { parent });
        self.set_by_server(child, table, column, Value::Null);
        Ok(())
    }

    /// The transaction sets a column that no operation of it named; it is the operation's write all the same, of the
    /// moment at which it was received.
    fn set_by_server(&mut self, row: RowId, table: usize, column: usize, value: Value) {
        let facts = &self.tables[table];
        let Some(image) = self.state.live(row) else { return };
        let mut image = image.to_vec();
        image[column] = value;
        self.state.write(facts, row, Some(Arc::from(image)));
        let register = facts.register_of[column];
        let slot = self.state.edit(row);
        let received = Stamp { clock_us: self.upload.received_us, ..self.stamp };
        slot.set_stamp(register, Some(received.after(slot.stamp(register))));
    }

    /// A record about a column that structure decided; it may be named by its group. The contract names no rule.
    fn expect_column(&mut self, row: RowId, table: usize, column: usize, loser: Party, winner: Party, owed: bool) {
        let register = &self.tables[table].registers[self.tables[table].register_of[column]];
        let own = self.app.schema.tables[table].columns[column].name.as_str();
        let columns = Some(vec![Some(register.name), Some(own)]);
        self.out.records.push(Expected { row, columns, rule: None, loser, winner, owed });
    }
}
