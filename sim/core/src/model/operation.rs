//! One operation: what PUT, PATCH and DELETE mean for a row that is live, deleted, or neither.
//!
//! | | live | tombstone | neither |
//! |---|---|---|---|
//! | PUT | sent columns merge with no base; columns not sent stay | creates anew if its stamp is later, or the delete is its own device's; else superseded (deleted) | creates; a taken mergeable key merges into the live row and leaves an alias |
//! | PATCH | register by register | superseded (deleted); on edit-revives tables the image overlaid with data | rejected (no-such-row) |
//! | DELETE | tombstone with image; children follow their reference; on edit-revives tables superseded if the row was edited since its base | applied: nothing to do, the later stamp stays | applied: a tombstone without image |
//!
//! The operation's clock is the table's clock column as sent, capped at receive time, else receive time. Names of
//! losing ids, as row or as reference, are rewritten to the survivor first.

use std::sync::Arc;

use fixtures::{ColumnDefault, Row, Rule, Value};

use super::execution::{Draft, Execution, defect};
use super::explain::Why;
use super::facts::{Discipline, TableFacts};
use super::prediction::{Expected, Party, Predicted};
use super::register::{self, Effect};
use super::simple_policies;
use super::state::{Slot, Stamp, Tombstone, key};
use crate::history::{Op, Outcome, RowId, Writer};

/// The fate of the operation.
pub(super) struct Fate {
    outcome: Outcome,
    reason: Option<&'static str>,
    winners: Vec<Writer>,
    merged_into: Option<RowId>,
}

impl Fate {
    fn applied() -> Self {
        Self { outcome: Outcome::Applied, reason: None, winners: Vec::new(), merged_into: None }
    }

    fn superseded(reason: Option<&'static str>, winners: Vec<Writer>) -> Self {
        Self { outcome: Outcome::Superseded, reason, winners, merged_into: None }
    }
}

impl Execution<'_, '_> {
    /// Carries the operation out.
    ///
    /// # Errors
    /// The reason for which it is rejected, and its transaction with it.
    pub(super) fn run(mut self) -> Result<(), &'static str> {
        if let Some(reason) = defect(self.app, self.names, self.op) {
            return Err(reason);
        }
        let fate = match self.op.op {
            Op::Put => self.put()?,
            Op::Patch => self.patch()?,
            Op::Delete => self.delete()?,
        };
        self.out.ops.push(Predicted {
            op_id: self.op.op_id,
            row: fate.merged_into.unwrap_or(self.row),
            outcome: fate.outcome,
            reason: fate.reason,
            winners: fate.winners,
            merged_into: fate.merged_into,
        });
        Ok(())
    }

    fn put(&mut self) -> Result<Fate, &'static str> {
        let slot = self.state.slot(self.row);
        if let Some(current) = slot.live.clone() {
            return self.put_live(self.row, &current);
        }
        let mut stamp = self.stamp;
        if let Some(tombstone) = &slot.tombstone {
            let by = tombstone.stamp;
            if by.device == self.stamp.device {
                stamp = stamp.after(Some(by));
            } else if register::beats(self.stamp, by, self.clients) {
                self.expect(self.row, None, Party::only(by.writer()), Party::only(self.writer()), false);
            } else {
                return Ok(self.stays_deleted(by));
            }
        }
        self.create(stamp)
    }

    fn create(&mut self, stamp: Stamp) -> Result<Fate, &'static str> {
        let (image, filled) = self.inserted();
        let merge = self
            .facts
            .uniques
            .iter()
            .filter(|(_, unique)| unique.merge)
            .find_map(|(index, unique)| self.state.holder(*index, key(&image, &unique.columns)?, self.row));
        if let Some(survivor) = merge {
            self.note(self.row, None, Why::SameKey { survivor });
            self.state.alias(self.row, survivor);
            self.out.aliases.push((self.row, survivor));
            let current = self.state.live(survivor).cloned().expect("only live rows hold keys");
            let fate = self.put_live(survivor, &current)?;
            let outcome = if fate.outcome == Outcome::Superseded { fate.outcome } else { Outcome::Merged };
            return Ok(Fate { outcome, merged_into: Some(survivor), ..fate });
        }
        let mut draft = Draft::of(image);
        for register in self.named() {
            register::in_range(&self.facts.registers[register], &self.sent(register))?;
            draft.effects.push((register, Effect::AsSent));
            draft.stamps.push((register, stamp));
        }
        let slot = self.state.edit(self.row);
        *slot = Slot { filled: (!filled.is_empty()).then(|| Arc::from(filled)), ..Slot::default() };
        self.note(self.row, None, Why::Created);
        self.settle(self.row, None, draft)
    }

    /// The row that the insert would make, and the defaults that it fills in.
    pub(super) fn inserted(&self) -> (Vec<Value>, Vec<(usize, Value)>) {
        let mut filled = Vec::new();
        let columns = &self.app.schema.tables[self.table].columns;
        let image = columns
            .iter()
            .enumerate()
            .map(|(column, declared)| {
                if let Some(sent) = &self.data[column] {
                    return sent.clone();
                }
                let value = match &declared.default {
                    ColumnDefault::Null => return Value::Null,
                    ColumnDefault::Literal(value) => value.clone(),
                    // The server's clock is read from what it wrote, never predicted.
                    ColumnDefault::Now => {
                        (self.upload.generated)(self.row, column).unwrap_or(Value::Time(self.upload.received_us))
                    }
                    ColumnDefault::Expression => (self.upload.generated)(self.row, column).unwrap_or(Value::Null),
                };
                filled.push((column, value.clone()));
                value
            })
            .collect();
        (image, filled)
    }

    fn put_live(&mut self, row: RowId, current: &Row) -> Result<Fate, &'static str> {
        self.merge(row, current, false)
    }

    fn patch(&mut self) -> Result<Fate, &'static str> {
        let slot = self.state.slot(self.row);
        if let Some(current) = slot.live.clone() {
            return self.merge(self.row, &current, true);
        }
        let Some(tombstone) = slot.tombstone.clone() else { return Err("no-such-row") };
        match tombstone.image {
            Some(image) if self.revives() => self.revive(tombstone.stamp, &image),
            _ => Ok(self.stays_deleted(tombstone.stamp)),
        }
    }

    /// Merges what is sent into a live row.
    fn merge(&mut self, row: RowId, current: &Row, has_base: bool) -> Result<Fate, &'static str> {
        if let Some(fate) = self.superseded_whole(row, current, has_base) {
            return Ok(fate);
        }
        let mut draft = Draft::of(current.to_vec());
        for index in self.named() {
            let register = &self.facts.registers[index];
            let sides = self.sides(self.state.slot(row), current, has_base, Some(index));
            let decision = match self.discipline {
                Discipline::FieldMerge => register::decide(register, &sides, self.clients)?,
                Discipline::ServerWins => simple_policies::server_wins(register, &sides)?,
                other => simple_policies::overwrite(other, register, &sides)?,
            };
            for (column, value) in decision.values {
                draft.row[column] = value;
            }
            if matches!(decision.why, Why::Counted | Why::United) {
                draft.joined.push(index);
            }
            draft.effects.push((index, decision.effect));
            draft.stamps.extend(decision.stamp.map(|stamp| (index, stamp)));
            draft.losses.extend(decision.loss.map(|loss| (index, loss)));
            let name = register.name;
            self.note(row, Some(name), decision.why);
        }
        self.settle(row, Some(current), draft)
    }

    /// The whole-row policies' first question.
    fn superseded_whole(&mut self, row: RowId, current: &Row, has_base: bool) -> Option<Fate> {
        let slot = self.state.slot(row);
        let at = |register| self.sides(slot, current, has_base, register);
        let sides = at(None);
        let deletes = self.op.op == Op::Delete;
        let why = match self.discipline {
            Discipline::RowLatest => {
                simple_policies::older_than_row(self.facts, current, slot, self.stamp, self.upload.received_us)
            }
            Discipline::VersionCheck if !has_base => Some(Why::AlreadyThere),
            Discipline::VersionCheck => simple_policies::base_differs(self.facts, at),
            Discipline::ServerWins if deletes => simple_policies::base_differs(self.facts, at),
            _ => None,
        }?;
        let is_there = !deletes && simple_policies::asks_for_what_is_there(self.facts, &sides);
        let mut winners = slot.writers();
        // A heartbeat counts when it is received, whatever becomes of it.
        self.beat(row);
        if is_there {
            self.note(row, None, Why::Equal);
            return Some(Fate::applied());
        }
        // The value that differs may be the seed's, where the base is the device's own that never came.
        if !winners.contains(&Writer::Server) {
            winners.push(Writer::Server);
        }
        self.note(row, None, why);
        self.expect(row, None, Party::only(self.writer()), Party::Anyone, true);
        Some(Fate::superseded(None, winners))
    }

    /// Notes that a heartbeat was received.
    fn beat(&mut self, row: RowId) {
        for (index, exclusive) in &self.facts.exclusives {
            if self.data[exclusive.heartbeat].is_some() {
                self.state.edit(row).set_beat(*index, self.upload.received_us);
            }
        }
    }

    /// Whether an edit brings a deleted row of this table back.
    fn revives(&self) -> bool {
        self.discipline == Discipline::FieldMerge && self.app.policy.tables[self.table].edit_revives
    }

    fn revive(&mut self, deleted: Stamp, image: &Row) -> Result<Fate, &'static str> {
        let mut draft = Draft::of(image.to_vec());
        let slot = self.state.slot(self.row);
        let mut stamps = Vec::new();
        for register in self.named() {
            for (column, value) in self.sent(register) {
                draft.row[column] = value;
            }
            draft.effects.push((register, Effect::AsSent));
            stamps.push((register, self.stamp.after(slot.stamp(register))));
        }
        draft.stamps = stamps;
        self.state.edit(self.row).tombstone = None;
        self.note(self.row, None, Why::Revived);
        let owed = self.is_anothers(deleted);
        self.expect(self.row, None, Party::only(deleted.writer()), Party::only(self.writer()), owed);
        self.settle(self.row, None, draft)
    }

    fn delete(&mut self) -> Result<Fate, &'static str> {
        let slot = self.state.slot(self.row);
        let Some(current) = slot.live.clone() else {
            let stamp = match &slot.tombstone {
                Some(tombstone) if !register::beats(self.stamp, tombstone.stamp, self.clients) => tombstone.stamp,
                _ => self.stamp,
            };
            let image = slot.tombstone.as_ref().and_then(|tombstone| tombstone.image.clone());
            self.state.edit(self.row).tombstone = Some(Tombstone { stamp, image });
            self.note(self.row, None, Why::NothingThere);
            return Ok(Fate::applied());
        };
        if let Some(fate) = self.superseded_whole(self.row, &current, true) {
            return Ok(fate);
        }
        let edits = self.edited_since(&current);
        let others: Vec<Writer> = edits.iter().map(|(_, stamp)| stamp.writer()).collect();
        let field_merge = self.discipline == Discipline::FieldMerge;
        if self.revives() && !edits.is_empty() {
            self.note(self.row, None, Why::Edited);
            let adds = |(register, _): &(usize, Stamp)| {
                matches!(self.facts.registers[*register].rule, Rule::Counter { .. } | Rule::Set)
            };
            let (winner, others) = if edits.iter().any(adds) {
                (Party::Anyone, Vec::new())
            } else {
                (Party::OneOf(others.clone()), others)
            };
            self.expect(self.row, None, Party::only(self.writer()), winner, true);
            return Ok(Fate::superseded(None, others));
        }
        for (register, stamp) in edits {
            // Several may have added to what is there, and the delete may have seen any of them.
            let adds = matches!(self.facts.registers[register].rule, Rule::Counter { .. } | Rule::Set);
            let loser = if adds { Party::Anyone } else { Party::only(stamp.writer()) };
            self.expect(self.row, Some(register), loser, Party::only(self.writer()), field_merge);
        }
        // Who else is named as overridden by the delete did write the row.
        let writers = Party::OneOf(self.state.slot(self.row).writers());
        self.expect_any(self.row, writers);
        self.note(self.row, None, Why::Deletes);
        self.remove(self.row)?;
        Ok(Fate::applied())
    }

    /// Registers that another device's operation wrote since the delete's base.
    fn edited_since(&self, current: &Row) -> Vec<(usize, Stamp)> {
        let slot = self.state.slot(self.row);
        let sides = self.sides(slot, current, true, None);
        let registers = self.facts.registers.iter().enumerate();
        registers
            .filter(|(_, register)| {
                let unknown_base = register.columns.iter().any(|column| self.unknown_base.contains(column));
                !register.clock && (unknown_base || !sides.unchanged_since(register))
            })
            .filter(|(index, _)| !slot.is_bypassed(*index))
            .filter_map(|(index, _)| Some((index, slot.stamp(index)?)))
            .filter(|(_, stamp)| stamp.device != self.stamp.device)
            .collect()
    }

    /// The operation came to a tombstone, and that stays.
    fn stays_deleted(&mut self, by: Stamp) -> Fate {
        self.note(self.row, None, Why::Deleted { by });
        self.expect(self.row, None, Party::only(self.writer()), Party::only(by.writer()), true);
        Fate::superseded(Some("deleted"), vec![by.writer()])
    }

    /// Lets structure have its say, and writes the row.
    fn settle(&mut self, row: RowId, before: Option<&Row>, mut draft: Draft) -> Result<Fate, &'static str> {
        self.structure(row, before, &mut draft)?;
        let mut winners = Vec::new();
        let mut counted_less = false;
        for (register, loss) in draft.losses {
            let register = &self.facts.registers[register];
            if register.clock {
                continue;
            }
            let is_count = loss.rule == "counter";
            counted_less |= is_count && loss.loser == self.writer();
            if loss.loser == self.writer() && !winners.contains(&loss.winner) {
                winners.push(loss.winner.clone());
            }
            // Several may have counted up to what was there; and the inserter of a row may be taken for the writer
            // of what the insert left out.
            let several = loss.loser != self.writer() && (is_count || !loss.owed);
            self.out.records.push(Expected {
                row,
                columns: Some(vec![Some(register.name)]),
                rule: Some(loss.rule),
                winner: if is_count { Party::Anyone } else { Party::only(loss.winner) },
                loser: if several { Party::Anyone } else { Party::only(loss.loser) },
                owed: loss.owed,
            });
        }
        if before.is_none_or(|before| **before != *draft.row) {
            self.state.write(self.facts, row, Some(Arc::from(draft.row)));
        }
        let slot = self.state.edit(row);
        for (register, stamp) in draft.stamps {
            slot.set_stamp(register, Some(stamp));
            // What an operation has written is no default any more.
            if (stamp.device, stamp.op_id) == (self.stamp.device, self.stamp.op_id) {
                slot.forget_filled(&self.facts.registers[register].columns, |column, now| {
                    self.data[column].is_some() || before.is_some_and(|before| before[column] != *now)
                });
            }
        }
        draft.joined.into_iter().for_each(|register| slot.written(register));
        self.beat(row);
        let outcome = outcome(self.facts, &draft.effects);
        // The reason says why nothing took effect; of an operation that did in part, records say it by column.
        let reason = draft.reason.filter(|_| outcome == Outcome::Superseded);
        if counted_less {
            // Several devices contribute to a count: docs/semantics.md does not say which of them a record names.
            winners.clear();
        }
        Ok(Fate { outcome, reason, winners, merged_into: None })
    }
}

/// All as sent: applied. Nothing: superseded. Else merged. The clock column is bookkeeping and counts only if the
/// operation names nothing else.
fn outcome(facts: &TableFacts<'_>, effects: &[(usize, Effect)]) -> Outcome {
    let edits = || effects.iter().filter(|(register, _)| !facts.registers[*register].clock).map(|(_, effect)| *effect);
    let counted: Vec<Effect> =
        if edits().next().is_some() { edits().collect() } else { effects.iter().map(|(_, effect)| *effect).collect() };
    if counted.iter().all(|effect| *effect == Effect::AsSent) {
        Outcome::Applied
    } else if counted.iter().all(|effect| *effect == Effect::Lost) {
        Outcome::Superseded
    } else {
        Outcome::Merged
    }
}
