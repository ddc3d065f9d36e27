//! Deletes: what they override, what keeps a row, and tombstones.

use fixtures::{Row, Value};

use super::edit::Edit;
use super::fate_counts::FateCounts;
use super::judge::Judge;
use super::lawful::{self, Discipline, Win};
use super::report::{Loss, RequiredRecord};
use super::state::{Deletion, Write};
use super::stats::count;
use super::transaction::JudgedTx;
use crate::history::{Op, RowId};

impl<'a> Judge<'a, '_> {
    /// Judges a delete.
    pub(super) fn delete(
        &mut self,
        at: &JudgedTx<'a>,
        edit: &Edit<'a>,
        before: Option<Row>,
        after: Option<Row>,
    ) -> FateCounts {
        let write = at.write(edit.op_id);
        match (before, after) {
            (None, None) => {
                if let Some(deletion) = &mut self.rows[edit.row as usize].deletion {
                    // The later stamp stays, and with it perhaps its writer.
                    deletion.also = Some(write);
                    deletion.high = deletion.high.max(edit.clock_high);
                    let unseen = deletion.by.filter(|by| by.device != at.device);
                    if unseen.is_some_and(|by| !self.saw(at, edit.row, &by)) {
                        count(&mut self.stats.concurrent, "delete", 1);
                    }
                }
                FateCounts::OTHER
            }
            (Some(before), None) => {
                self.check_deletion(at, edit.row, Some(edit), &before, false);
                self.record_deletion(at, edit.row, &before, Some(edit), false);
                FateCounts::STANDS
            }
            (None, Some(_)) => {
                let what = format!(
                    "is there after commit {}, although client/{} op {} deletes it",
                    at.seq, at.device, edit.op_id
                );
                let because = "It was not there before, and nothing creates it after the delete".to_owned();
                self.report_loss(
                    at,
                    Loss { code: "resurrected", row: edit.row, register: None, writes: vec![write] },
                    what,
                    because,
                );
                FateCounts::LOST
            }
            (Some(before), Some(_)) => self.survived(at, edit, &before),
        }
    }

    /// A delete had no effect: lawful where an edit that it had not seen brings the row back, or where the policy
    /// keeps rows that changed.
    pub(super) fn survived(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, before: &Row) -> FateCounts {
        let layout = self.layout(edit.row);
        let edited = self.edited(at, edit.row, Some(edit), before);
        // Servers compare values: what the device's own refused or replaced write left in the base is a difference
        // as well.
        let differing = self.differing(edit, before);
        let lawful = match self.discipline {
            Discipline::Rules => layout.edit_revives && !(edited.is_empty() && differing.is_empty()),
            Discipline::RowLatest => {
                lawful::row_latest(edit, &self.rows[edit.row as usize], layout.clock, before, at.received_us)
                    != Win::Yes
            }
            Discipline::VersionCheck | Discipline::ServerWins => {
                lawful::version_check(edit, &self.rows[edit.row as usize], before) != Win::Yes
            }
        };
        let write = at.write(edit.op_id);
        if lawful {
            let mut winners: Vec<Option<Write>> =
                edited.iter().flat_map(|(_, writes)| writes.iter().copied().map(Some)).collect();
            winners.extend(differing);
            if self.discipline != Discipline::Rules {
                winners.push(None);
                winners.extend(self.rows[edit.row as usize].everyone.iter().copied().map(Some));
            }
            let rule = self.discipline.name("revived");
            self.require_record(
                at,
                &RequiredRecord {
                    losers: &[Some(write)],
                    winners: &winners,
                    row: edit.row,
                    register: None,
                    rules: &[rule, "deleted"],
                    counted: rule,
                },
            );
        } else {
            let what = format!(
                "is still there after commit {}, although client/{} op {} deletes it",
                at.seq, at.device, edit.op_id
            );
            let because = if layout.edit_revives {
                "Nobody had edited it since the deleting device saw it"
            } else {
                "A delete wins over edits that it had not seen"
            };
            let mut writes = vec![write];
            writes.extend(edited.iter().flat_map(|(_, writes)| writes.iter().copied()));
            self.report_loss(
                at,
                Loss { code: "lost-delete", row: edit.row, register: None, writes },
                what,
                because.to_owned(),
            );
        }
        FateCounts::LOST
    }

    /// Who wrote the registers that are not as the delete's base has them.
    fn differing(&self, edit: &Edit<'a>, before: &Row) -> Vec<Option<Write>> {
        let (layout, state) = (self.layout(edit.row), &self.rows[edit.row as usize]);
        let mut writers = Vec::new();
        for (index, register) in layout.registers.iter().enumerate() {
            let differs = register.columns.iter().any(|column| {
                let base = edit.cell(*column).and_then(|cell| cell.base);
                base.is_some_and(|base| {
                    let now = super::merge::get(before, *column);
                    !(self.equal(layout, register.rule, *column, base, now)
                        || (base.is_null() && state.is_filled(*column)))
                })
            });
            if differs && !layout.is_clock(register) {
                writers.extend(state.writers(index));
            }
        }
        writers
    }

    /// The registers that devices wrote since the deleting device saw the row, with their writers. A register that
    /// holds what the delete's base says is unchanged, no matter who wrote it.
    fn edited(&self, at: &JudgedTx<'a>, row: RowId, edit: Option<&Edit<'a>>, before: &Row) -> Vec<(usize, Vec<Write>)> {
        let layout = self.layout(row);
        let state = &self.rows[row as usize];
        let seen = self.timeline.seen_row(at.device, at.tx_event, row);
        let mut edited = Vec::new();
        for (index, register) in layout.registers.iter().enumerate() {
            let stored = state.register(index);
            // What structure set in the course of a transaction counts as an edit of that transaction.
            let course = stored.course.filter(|_| stored.by.is_none());
            let mut writes: Vec<Write> = [stored.by, stored.also].into_iter().flatten().collect();
            writes.extend(course.into_iter().flat_map(|course| self.tx_writes(course)));
            let joins = matches!(register.rule, fixtures::Rule::Counter { .. } | fixtures::Rule::Set);
            if joins && self.discipline == Discipline::Rules {
                writes.extend(state.writes.since(index, seen).iter().rev().copied());
            }
            writes.retain(|write| !self.saw(at, row, write));
            let both_unseen = stored.also.is_none() || writes.len() >= 2;
            if writes.is_empty() || layout.is_clock(register) || !both_unseen || self.may_be_seen(at, row, index) {
                continue;
            }
            let with_base = edit.filter(|edit| edit.cells.iter().any(|cell| cell.base.is_some()));
            let unchanged = with_base.is_some_and(|edit| {
                register.columns.iter().all(|column| {
                    let base = edit.cell(*column).and_then(|cell| cell.base).unwrap_or(&Value::Null);
                    let via = edit.cell(*column).map_or(&[][..], |cell| cell.via.as_slice());
                    let now = super::merge::get(before, *column);
                    self.equal(layout, register.rule, *column, base, now)
                        || via.contains(&now)
                        || (base.is_null() && state.is_filled(*column))
                })
            });
            if !unchanged {
                let alike = state
                    .alike
                    .iter()
                    .filter(|(at, write)| *at == index && !writes.contains(write))
                    .map(|(_, write)| *write);
                let alike: Vec<Write> = alike.filter(|write| !self.saw(at, row, write)).collect();
                writes.extend(alike);
                edited.push((index, writes));
            }
        }
        edited
    }

    /// Demands the records of a row that went: every write in it that the deleting device had not seen.
    pub(super) fn check_deletion(
        &mut self,
        at: &JudgedTx<'a>,
        row: RowId,
        edit: Option<&Edit<'a>>,
        before: &Row,
        cascade: bool,
    ) {
        let edited = self.edited(at, row, edit, before);
        let table = self.table(row);
        let revives = self.layout(row).edit_revives && self.discipline == Discipline::Rules && !cascade;
        let mut deletes: Vec<Option<Write>> = match edit {
            Some(edit) if !cascade => vec![Some(at.write(edit.op_id))],
            _ => at.tx.ops.iter().filter(|op| op.op == Op::Delete).map(|op| Some(at.write(op.op_id))).collect(),
        };
        if cascade {
            deletes.push(None);
        }
        let rule = if cascade { "cascade" } else { "deleted" };
        let mut counted: Vec<(u32, usize)> = Vec::new();
        for (register, writes) in edited {
            let first = writes[0];
            if counted.contains(&(first.device, first.event)) {
                continue;
            }
            counted.push((first.device, first.event));
            count(&mut self.stats.concurrent, "delete", 1);
            self.stats.conflicts += 1;
            // Where the transaction edited the register before it deleted the row, its edit won over them already.
            let over = edit.is_some_and(|edit| {
                let columns = &self.layouts[table].registers[register].columns;
                columns.iter().any(|column| edit.cell(*column).is_some_and(|cell| !cell.via.is_empty()))
            });
            if revives && !over {
                let what = format!("went in commit {} with the edit of {}", at.seq, self.write_words(&first));
                let because = "An edit of a row of this table that its deleter had not seen keeps the row".to_owned();
                self.report_loss(
                    at,
                    Loss { code: "wrong-winner", row, register: Some(register), writes: vec![first] },
                    what,
                    because,
                );
                continue;
            }
            // Likewise where the register may hold what the deleting device had written before: that won over them.
            let alike = &self.rows[row as usize].alike;
            let own = alike.iter().filter(|(of, write)| *of == register && self.saw(at, row, write));
            let mut winners: Vec<Option<Write>> = own.map(|(_, write)| Some(*write)).collect();
            let over = over || !winners.is_empty();
            winners.extend(&deletes);
            let losers: Vec<Option<Write>> = writes.into_iter().map(Some).collect();
            let rules = [rule, "deleted", "latest", "max", "keep-server", self.discipline.name("latest")];
            self.require_record(
                at,
                &RequiredRecord {
                    losers: &losers,
                    winners: &winners,
                    row,
                    register: None,
                    rules: if over { &rules } else { &rules[..2] },
                    counted: rule,
                },
            );
        }
    }

    /// The row is a tombstone from here on.
    pub(super) fn record_deletion(
        &mut self,
        at: &JudgedTx<'a>,
        row: RowId,
        before: &Row,
        edit: Option<&Edit<'a>>,
        cascade: bool,
    ) {
        let by = match edit {
            Some(edit) if !cascade => Some(edit.op_id),
            _ => at.tx.ops.iter().rev().find(|op| op.op == Op::Delete).map(|op| op.op_id),
        };
        let (low, high) = match edit {
            Some(edit) => (edit.clock_low, edit.clock_high),
            None => (i64::MIN, at.received_us),
        };
        let state = &mut self.rows[row as usize];
        let greatest = state.registers.iter().map(|register| register.high).max().unwrap_or(i64::MIN);
        state.deletion = Some(Deletion {
            by: by.map(|op_id| at.write(op_id)),
            also: None,
            cascade,
            low,
            high: high.max(greatest.saturating_add(1)),
            registers: std::mem::take(&mut state.registers),
            image: Some(before.clone()),
        });
        state.filled.clear();
        state.writes.clear();
        state.alike.clear();
    }
}
