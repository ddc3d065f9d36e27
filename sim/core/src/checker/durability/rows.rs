//! Whole rows: which of the cases an edit is; inserts, and rows that return or stay away.

use fixtures::{OnParentDelete, Row, Rule, Value};

use super::edit::Edit;
use super::fate_counts::FateCounts;
use super::judge::Judge;
use super::lawful::Discipline;
use super::merge::RegisterFate;
use super::report::{Loss, RequiredRecord};
use super::state::{Deletion, Register, SERVER, State};
use super::stats::count;
use super::transaction::JudgedTx;
use crate::history::{Op, OpAnswer, Outcome, RowId};

/// Rows that go with a parent that goes with a parent: more generations than this are not followed.
const PARENTS_MOST: usize = 8;

impl<'a> Judge<'a, '_> {
    /// Judges what became of an edit in its commit.
    pub(super) fn edit(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>) -> FateCounts {
        let (before, after, gone) = match self.net(at, edit.row) {
            Some(net) => (net.before.clone(), net.after.clone(), net.gone),
            None => return FateCounts::default(),
        };
        if edit.named != edit.row && edit.put {
            self.check_alias(at, edit, before.as_ref());
        }
        if edit.delete {
            return self.delete(at, edit, before, after);
        }
        // It may also have gone with its parent, before an insert created it anew.
        let cascaded = !edit.recreated && edit.put && gone && after.is_some();
        // A delete before the insert may have given way: then the insert meets the row as it was.
        let gave_way = edit.recreated && !gone && after.is_some();
        if let Some(before) = before.as_ref().filter(|_| gave_way) {
            self.survived(at, edit, before);
        }
        let is_new = (edit.recreated && !gave_way) || cascaded;
        if let Some(before) = before.as_ref().filter(|_| is_new) {
            self.check_deletion(at, edit.row, Some(edit).filter(|_| !cascaded), before, cascaded);
            self.record_deletion(at, edit.row, before, Some(edit).filter(|_| !cascaded), cascaded);
        }
        let counts = match (before.filter(|_| !is_new), after) {
            (Some(before), Some(after)) => self.merge(at, edit, &before, &after),
            (Some(before), None) => self.went(at, edit, &before),
            (None, Some(after)) if edit.put => self.insert(at, edit, &after),
            (None, Some(after)) => self.revive(at, edit, &after),
            (None, None) => self.stays_away(at, edit),
        };
        // Of an operation that lost all else, the clock may have come.
        if self.discipline != Discipline::Rules {
            self.rows[edit.row as usize].everyone.push(at.write(edit.op_id));
        }
        counts
    }

    /// Counts the writes of other registers of the row that the edit's device had not seen: no conflict, and what a
    /// claim that all edits of different columns stay is about.
    fn count_beside(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>) {
        let layout = self.layout(edit.row);
        let seen = self.timeline.seen_row(at.device, at.tx_event, edit.row);
        let writes = &self.rows[edit.row as usize].writes;
        let others = (0..layout.registers.len()).filter(|index| !written(edit, layout).any(|mine| mine == *index));
        let beside: u64 = others.map(|index| writes.unseen(index, at.device, seen)).sum();
        if beside > 0 && written(edit, layout).next().is_some() {
            count(&mut self.stats.concurrent, "row", beside);
        }
    }

    fn merge(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, before: &Row, after: &Row) -> FateCounts {
        let layout = self.layout(edit.row);
        let mut counts = FateCounts::default();
        self.count_beside(at, edit);
        self.count_left_out(at, edit, before, after);
        for index in written(edit, layout) {
            match self.register(at, edit, index, before, after) {
                RegisterFate::Stands | RegisterFate::Won => counts.stands += 1,
                RegisterFate::Same | RegisterFate::Joined | RegisterFate::Undone => counts.other += 1,
                RegisterFate::Lost => counts.lost += 1,
            }
        }
        counts
    }

    /// A losing id may only stand for a row with the same mergeable key.
    fn check_alias(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, survivor: Option<&Row>) {
        let table = self.table(edit.named);
        let same_key =
            self.ctx.app.policy.uniques.iter().filter(|unique| unique.table == table && unique.merge).any(|unique| {
                unique.columns.iter().all(|column| {
                    let sent = edit.cell(*column).and_then(|cell| cell.new);
                    sent.is_some() && survivor.and_then(|survivor| survivor.get(*column)) == sent
                })
            });
        if !same_key && survivor.is_some() {
            let what = format!(
                "(client/{} op {}) was merged into {}",
                at.device,
                edit.op_id,
                self.ctx.history.row_label(self.ctx.app, edit.row)
            );
            let because = "That row does not hold the same value of a unique key whose collisions merge".to_owned();
            self.report_loss(
                at,
                Loss { code: "lost-insert", row: edit.named, register: None, writes: vec![at.write(edit.op_id)] },
                what,
                because,
            );
        }
    }

    /// A row that an edit did not delete went in its commit: lawful if it went with its parent.
    fn went(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, before: &Row) -> FateCounts {
        let cascades = self.went_with_parent(at, edit.row, Some(before), PARENTS_MOST);
        if cascades {
            self.check_deletion(at, edit.row, None, before, true);
        } else {
            let what = format!(
                "is gone after commit {}, and the write of client/{} op {} with it",
                at.seq, at.device, edit.op_id
            );
            let because = "No operation of the transaction deletes it, and no parent of it goes".to_owned();
            let mut writes = vec![at.write(edit.op_id)];
            writes.extend(self.last_writer(edit.row));
            self.report_loss(at, Loss { code: "lost-update", row: edit.row, register: None, writes }, what, because);
        }
        self.record_deletion(at, edit.row, before, Some(edit), cascades);
        FateCounts::OTHER
    }

    /// A row that was not there is there.
    fn insert(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, after: &Row) -> FateCounts {
        let layout = self.layout(edit.row);
        if let Some(deletion) = self.rows[edit.row as usize].deletion.clone() {
            let known = [deletion.by, deletion.also].into_iter().flatten().any(|by| self.saw(at, edit.row, &by));
            if let Some(by) = deletion.by.filter(|_| !known) {
                count(&mut self.stats.concurrent, "delete", 1);
                self.stats.conflicts += 1;
                if edit.clock_high < deletion.low {
                    let what = format!(
                        "is there again after commit {}: the insert of client/{} op {} is older than the delete of {}",
                        at.seq,
                        at.device,
                        edit.op_id,
                        self.write_words(&by)
                    );
                    let because = "An insert creates a deleted row anew only if its stamp is later".to_owned();
                    self.report_loss(
                        at,
                        Loss {
                            code: "resurrected",
                            row: edit.row,
                            register: None,
                            writes: vec![by, at.write(edit.op_id)],
                        },
                        what,
                        because,
                    );
                } else {
                    self.require_record(
                        at,
                        &RequiredRecord {
                            losers: &[Some(by), deletion.also],
                            winners: &[Some(at.write(edit.op_id))],
                            row: edit.row,
                            register: None,
                            rules: &["revived", "latest", "created"],
                            counted: "revived",
                        },
                    );
                }
            }
        }
        let mut counts = FateCounts::default();
        let mut registers = vec![Register { low: i64::MIN, high: edit.clock_high, ..SERVER }; layout.registers.len()];
        let mut filled = vec![true; layout.of_column.len()];
        for cell in &edit.cells {
            filled[cell.column] &= cell.new.is_none();
        }
        for index in written(edit, layout) {
            let register = &layout.registers[index];
            let author = at.write(self.register_author(edit, index));
            let stands = register.columns.iter().all(|column| {
                let cell = edit.cell(*column).and_then(|cell| cell.new);
                cell.is_none_or(|new| after.get(*column).is_some_and(|then| self.same(layout, *column, new, then)))
            });
            registers[index] = Register {
                by: Some(author),
                also: None,
                course: None,
                low: edit.clock_low,
                high: edit.clock_high.max(
                    self.rows[edit.row as usize]
                        .deletion
                        .as_ref()
                        .map_or(i64::MIN, |deletion| deletion.high.saturating_add(1)),
                ),
            };
            if stands {
                counts.stands += 1;
            } else if let Some(excuse) = self.excuse(at, edit, register, None, after) {
                self.excused(at, edit, index, &excuse);
                counts.other += 1;
            } else if edit.puts > 1 && !matches!(register.rule, Rule::Latest) || self.is_of_former(at, edit, register) {
                // A second insert met the first one, by the column's rule; or the row that was written went with
                // its parent, and the insert left the column to its default.
                counts.other += 1;
            } else {
                let what = format!(
                    "is not what the insert of client/{} op {} wrote after commit {}",
                    at.device, author.op_id, at.seq
                );
                let because = "The row was not there before, so the insert stands as sent".to_owned();
                self.report_loss(
                    at,
                    Loss { code: "lost-insert", row: edit.row, register: Some(index), writes: vec![author] },
                    what,
                    because,
                );
                counts.lost += 1;
            }
        }
        // A register that the insert left to its default is the insert's as well, at an unknown stamp.
        for register in registers.iter_mut().filter(|register| register.by.is_none()) {
            register.by = Some(at.write(edit.op_id));
        }
        let state = &mut self.rows[edit.row as usize];
        let sets = std::mem::take(&mut state.sets);
        *state = State { registers, filled, sets, mark: state.mark, live: state.live.take(), ..State::default() };
        written(edit, layout).for_each(|index| state.writes.push(index, at.write(edit.op_id)));
        counts
    }

    /// Whether the edit wrote the register only before the row went, and was created again.
    fn is_of_former(&self, at: &JudgedTx<'a>, edit: &Edit<'a>, register: &super::registers::Register<'_>) -> bool {
        let inserts = |column: &usize| edit.cell(*column).is_some_and(|cell| cell.blind);
        self.net(at, edit.row).is_some_and(|net| net.gone) && !register.columns.iter().any(inserts)
    }

    /// A row that was not there is there, though the edit only updates it.
    fn revive(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, after: &Row) -> FateCounts {
        let layout = self.layout(edit.row);
        let deletion = self.rows[edit.row as usize].deletion.take();
        let write = at.write(edit.op_id);
        if let Some(by) = deletion.as_ref().and_then(|deletion| deletion.by) {
            if layout.edit_revives && self.discipline == Discipline::Rules {
                if !self.saw(at, edit.row, &by) {
                    count(&mut self.stats.concurrent, "delete", 1);
                    self.stats.conflicts += 1;
                    self.require_record(
                        at,
                        &RequiredRecord {
                            losers: &[Some(by), deletion.as_ref().and_then(|deletion| deletion.also)],
                            winners: &[Some(write)],
                            row: edit.row,
                            register: None,
                            rules: &["revived"],
                            counted: "revived",
                        },
                    );
                }
            } else {
                let what = format!(
                    "is there again after commit {}: client/{} op {} only updates it",
                    at.seq, at.device, edit.op_id
                );
                let because = format!("{}, and an update of a deleted row is superseded", self.deleted_by(&by));
                self.report_loss(
                    at,
                    Loss { code: "resurrected", row: edit.row, register: None, writes: vec![by, write] },
                    what,
                    because,
                );
            }
        }
        let mut counts = FateCounts::default();
        let mut registers = deletion.map(|deletion| deletion.registers).unwrap_or_default();
        registers.resize(layout.registers.len(), SERVER);
        for index in written(edit, layout) {
            let register = &layout.registers[index];
            let author = at.write(self.register_author(edit, index));
            let joins = matches!(register.rule, fixtures::Rule::Counter { .. } | fixtures::Rule::Set);
            let stands = register.columns.iter().all(|column| {
                let new = edit.cell(*column).and_then(|cell| cell.new);
                new.is_none_or(|new| after.get(*column).is_some_and(|then| self.same(layout, *column, new, then)))
            });
            let excuse = if stands { None } else { self.excuse(at, edit, register, None, after) };
            if let Some(excuse) = excuse {
                self.excused(at, edit, index, &excuse);
                counts.other += 1;
                registers[index] =
                    Register { course: at.tx.ops.first().map(|op| at.write(op.op_id)), high: i64::MAX, ..SERVER };
                continue;
            } else if !stands && !joins {
                let what =
                    format!("is not what client/{} op {} wrote after commit {}", at.device, author.op_id, at.seq);
                let because = "The edit brings the deleted row back as it was, overlaid with what it wrote".to_owned();
                self.report_loss(
                    at,
                    Loss { code: "lost-update", row: edit.row, register: Some(index), writes: vec![author] },
                    what,
                    because,
                );
                counts.lost += 1;
                continue;
            }
            counts.stands += 1;
            registers[index] =
                Register { by: Some(author), also: None, course: None, low: edit.clock_low, high: i64::MAX };
        }
        let state = &mut self.rows[edit.row as usize];
        state.registers = registers;
        written(edit, layout).for_each(|index| state.writes.push(index, write));
        counts
    }

    /// Whether the row goes with a parent that goes in this commit: one that it had before, or that an operation of
    /// the transaction gave it, whatever a later operation gave it. (A device does not cascade by itself, so its
    /// transaction may go on writing a row that is gone on the server.)
    fn went_with_parent(&self, at: &JudgedTx<'a>, row: RowId, before: Option<&Row>, depth: usize) -> bool {
        let layout = self.layout(row);
        let goes = |column: usize, id: &Value| {
            let parent = layout.parents[column].filter(|parent| parent.deleted == OnParentDelete::Cascade);
            let parent = parent.and_then(|parent| self.find(parent.table, id.as_text()?));
            parent.is_some_and(|parent| {
                let deleted = at.tx.ops.iter().any(|op| op.op == Op::Delete && self.target(op.row) == parent);
                let net = self.net(at, parent);
                deleted
                    || net.is_some_and(|net| net.before.is_some() && net.after.is_none())
                    || (depth > 0
                        && net.is_some_and(|net| net.after.is_none())
                        && self.went_with_parent(at, parent, None, depth - 1))
            })
        };
        let had = before.is_some_and(|before| before.iter().enumerate().any(|(column, id)| goes(column, id)));
        had || at
            .tx
            .ops
            .iter()
            .filter(|op| self.target(op.row) == row)
            .any(|op| op.data.iter().any(|(column, id)| goes(*column, id)))
    }

    /// The row was not there, and is not there.
    fn stays_away(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>) -> FateCounts {
        let layout = self.layout(edit.row);
        let write = at.write(edit.op_id);
        let label = format!("client/{} op {}", at.device, edit.op_id);
        let Some(deletion) = self.rows[edit.row as usize].deletion.clone() else {
            if edit.put && self.went_with_parent(at, edit.row, None, PARENTS_MOST) {
                return FateCounts::default();
            }
            if edit.put {
                let what = format!("is not there after commit {}, although {label} inserts it", at.seq);
                let because = format!("It was not there before, nobody had deleted it, and {}", self.claim(at));
                self.report_loss(
                    at,
                    Loss { code: "lost-insert", row: edit.row, register: None, writes: vec![write] },
                    what,
                    because,
                );
            } else if written(edit, layout).next().is_some() {
                let what = format!("is not there after commit {}, although {label} updates it", at.seq);
                let because = format!("Nobody had deleted it, and {}", self.claim(at));
                self.report_loss(
                    at,
                    Loss { code: "lost-update", row: edit.row, register: None, writes: vec![write] },
                    what,
                    because,
                );
            }
            return FateCounts::LOST;
        };
        let by = deletion.by;
        let known =
            [by, deletion.also].into_iter().flatten().any(|by| by.device == at.device || self.saw(at, edit.row, &by));
        if !known && by.is_some() {
            count(&mut self.stats.concurrent, "delete", 1);
            self.stats.conflicts += 1;
        }
        let must_return = if edit.put {
            by.is_some_and(|by| by.device == at.device) && deletion.also.is_none() || edit.clock_low > deletion.high
        } else {
            layout.edit_revives && self.discipline == Discipline::Rules && !self.is_orphan(at, edit.row, &deletion)
        };
        if must_return && !(edit.put && edit.recreated) {
            let what = format!(
                "is not there after commit {}, although {label} {}",
                at.seq,
                if edit.put { "inserts it anew" } else { "edits it" }
            );
            let because = match (edit.put, by) {
                (true, Some(by)) => format!("{}, and the insert's stamp is later", self.deleted_by(&by)),
                (true, None) => "The insert's stamp is later than the delete's".to_owned(),
                (false, _) => "An edit of a deleted row of this table brings it back".to_owned(),
            };
            let mut writes = vec![write];
            writes.extend(by);
            let code = if edit.put { "lost-insert" } else { "lost-update" };
            self.report_loss(at, Loss { code, row: edit.row, register: None, writes }, what, because);
            return FateCounts::LOST;
        }
        if edit.put || written(edit, layout).next().is_some() {
            let mut winners = vec![by];
            winners.extend(deletion.also.map(Some));
            if deletion.cascade {
                // Any delete of that transaction may have been the one that took it along.
                winners.extend(by.into_iter().flat_map(|by| self.tx_writes(by)).map(Some));
                winners.push(None);
            }
            let name = self.discipline.name("deleted");
            self.require_record(
                at,
                &RequiredRecord {
                    losers: &[Some(write)],
                    winners: &winners,
                    row: edit.row,
                    register: None,
                    rules: &["deleted", "cascade", name],
                    counted: "deleted",
                },
            );
        }
        FateCounts::LOST
    }

    /// Whether a deleted row could not come back because a parent that it must have is gone as well.
    fn is_orphan(&self, at: &JudgedTx<'_>, row: RowId, deletion: &Deletion) -> bool {
        self.layout(row).parents.iter().enumerate().any(|(column, parent)| {
            parent.is_some_and(|parent| {
                parent.missing != fixtures::OnMissingParent::Keep
                    && deletion
                        .image
                        .as_ref()
                        .and_then(|image| image.get(column))
                        .is_some_and(|id| !id.is_null() && self.parent_went(at, parent.table, id))
            })
        })
    }

    fn claim(&self, at: &JudgedTx<'_>) -> String {
        if at.claimed {
            format!("the answer says that transaction {} is committed", at.tx.tx_id.unwrap_or_default())
        } else {
            "its transaction is committed".to_owned()
        }
    }

    /// Holds the backend's answer for a lone operation against what became of it: `applied` must not be said of an
    /// operation of which nothing stands, nor `superseded` of one that visibly took effect whole.
    pub(super) fn test_answer(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, counts: FateCounts, answers: &[OpAnswer]) {
        let Some(answer) = answers.iter().find(|answer| answer.op_id == edit.op_id).filter(|_| edit.ops == 1) else {
            return;
        };
        let false_outcome = match answer.outcome {
            Outcome::Applied => counts.lost > 0 && counts.stands == 0 && counts.other == 0,
            Outcome::Superseded => counts.stands > 0 && counts.lost == 0 && counts.other == 0,
            _ => false,
        };
        if false_outcome {
            let (said, is) = match answer.outcome {
                Outcome::Applied => ("applied", "nothing of it stands"),
                _ => ("superseded", "all of it stands"),
            };
            let what = format!(
                "is not as the answer to client/{} op {} says: {said}, but {is} after commit {}",
                at.device, edit.op_id, at.seq
            );
            let because = "Outcomes are claims, and the change feed contradicts this one".to_owned();
            self.report_loss(
                at,
                Loss { code: "false-outcome", row: edit.row, register: None, writes: vec![at.write(edit.op_id)] },
                what,
                because,
            );
        }
    }
}

/// The registers that an edit writes, the clock's left out.
fn written<'e>(edit: &'e Edit<'_>, layout: &'e super::registers::Layout<'_>) -> impl Iterator<Item = usize> + 'e {
    layout.registers.iter().enumerate().filter_map(move |(index, register)| {
        let writes = register.columns.iter().any(|column| edit.cell(*column).is_some_and(|cell| cell.new.is_some()));
        (writes && !layout.is_clock(register)).then_some(index)
    })
}
