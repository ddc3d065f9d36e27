//! Changes in a commit that no operation of its transaction meant.

use fixtures::{MadeBy, OnMissingParent, OnParentDelete, Row, Value};

use super::edit::Edit;
use super::judge::Judge;
use super::lawful::Discipline;
use super::report::{Loss, RequiredRecord};
use super::state::{Net, Write};
use super::transaction::JudgedTx;
use crate::history::RowId;

impl<'a> Judge<'a, '_> {
    /// What the commit changed without any operation of its transaction meaning it: lawful for what follows from a
    /// delete, a merge of ids or the end of a lease; else the values that went are lost.
    pub(super) fn unintended(&mut self, at: &JudgedTx<'a>, index: usize, edits: &[Edit<'a>]) {
        let net = &at.nets[index];
        let edit = net.edit.map(|edit| &edits[edit]);
        if edit.is_none() && self.discipline != Discipline::Rules {
            self.rows[net.row as usize].everyone.extend(at.tx.ops.iter().map(|op| at.write(op.op_id)));
        }
        match (&net.before, &net.after) {
            // A row that the transaction deletes and creates again is a new one, with the insert's defaults.
            (Some(_), Some(_)) if net.gone && edit.is_some_and(|edit| edit.put) => {}
            (Some(before), Some(after)) => {
                let layout = self.layout(net.row);
                for column in 0..layout.of_column.len() {
                    if before.get(column) == after.get(column) || layout.clock == Some(column) {
                        continue;
                    }
                    let meant = edit.is_some_and(|edit| {
                        let register = &layout.registers[layout.of_column[column]];
                        register.columns.iter().any(|at| edit.cell(*at).is_some_and(|cell| cell.new.is_some()))
                    });
                    // A delete that gave way leaves what the transaction had written before it.
                    let before_delete = edit.is_some_and(|edit| {
                        edit.delete
                            && edit.cell(column).is_some_and(|cell| cell.via.iter().any(|via| **via == after[column]))
                    });
                    if before_delete {
                        self.forget_writer(at, net.row, layout.of_column[column]);
                    } else if !meant {
                        self.unintended_column(at, net, column, before, after);
                    }
                }
            }
            (Some(before), None) if edit.is_none() => self.unintended_end(at, net, before),
            (None, Some(_)) if edit.is_none() => {
                if let Some(by) = self.rows[net.row as usize].deletion.as_ref().and_then(|deletion| deletion.by) {
                    let because =
                        format!("{} and no operation of commit {} creates it again", self.deleted_by(&by), at.seq);
                    self.report_loss(
                        at,
                        Loss { code: "resurrected", row: net.row, register: None, writes: vec![by] },
                        "is there again after it was deleted".to_owned(),
                        because,
                    );
                }
            }
            _ => {}
        }
    }

    fn unintended_column(&mut self, at: &JudgedTx<'a>, net: &Net, column: usize, before: &Row, after: &Row) {
        let layout = self.layout(net.row);
        let register_index = layout.of_column[column];
        let register = self.rows[net.row as usize].register(register_index);
        let parent_went = layout.parents[column].is_some_and(|parent| {
            (parent.deleted == OnParentDelete::Null || parent.missing == OnMissingParent::Null)
                && after[column].is_null()
                && self.known_parent_went(at, parent.table, &before[column])
        });
        if parent_went && layout.parents[column].is_some_and(|parent| parent.made_by == MadeBy::Database) {
            self.forget_writer(at, net.row, register_index);
            return;
        }
        if parent_went {
            let parent = layout.parents[column].and_then(|parent| self.find(parent.table, before[column].as_text()?));
            let winners = self.deleters(at, parent);
            self.gave_way(at, net.row, register_index, "parent-missing", &winners);
            self.forget_writer(at, net.row, register_index);
            return;
        }
        if self.same(layout, column, &before[column], &after[column]) {
            return;
        }
        if layout.running[column].is_some_and(|exclusive| self.took_over(at, net.row, exclusive))
            && after[column] == Value::Int(0)
        {
            let winners: Vec<Option<Write>> = at.tx.ops.iter().map(|op| Some(at.write(op.op_id))).collect();
            self.gave_way(at, net.row, register_index, "exclusive", &winners);
            self.forget_writer(at, net.row, register_index);
            return;
        }
        if let Some(by) = register.by {
            let because = format!(
                "No operation of client/{} transaction {} writes this column, and no rule changes it",
                at.device,
                at.tx.tx_id.unwrap_or_default()
            );
            let what = format!(
                "went from {} to {} in commit {}",
                crate::history::label::value(&before[column]),
                crate::history::label::value(&after[column]),
                at.seq
            );
            self.report_loss(
                at,
                Loss { code: "lost-update", row: net.row, register: Some(register_index), writes: vec![by] },
                what,
                because,
            );
        }
        self.forget_writer(at, net.row, register_index);
    }

    /// The server set a register of a row that the transaction did not mean to write: a writer whose write it had not
    /// seen has a record.
    fn gave_way(&mut self, at: &JudgedTx<'a>, row: RowId, index: usize, rule: &'static str, winners: &[Option<Write>]) {
        let register = self.rows[row as usize].register(index);
        let seen = [register.by, register.also].into_iter().flatten().any(|by| self.saw(at, row, &by));
        if register.by.is_some() && !seen {
            let losers = self.rows[row as usize].writers(index);
            self.require_record(
                at,
                &RequiredRecord { losers: &losers, winners, row, register: Some(index), rules: &[rule], counted: rule },
            );
        }
    }

    /// A row that went without an operation that deletes it: lawful if it went with its parent.
    fn unintended_end(&mut self, at: &JudgedTx<'a>, net: &Net, before: &Row) {
        let layout = self.layout(net.row);
        let went_with: Vec<MadeBy> = (layout.parents.iter().enumerate())
            .filter_map(|(column, parent)| {
                let parent = parent.filter(|parent| parent.deleted == OnParentDelete::Cascade)?;
                self.known_parent_went(at, parent.table, &before[column]).then_some(parent.made_by)
            })
            .collect();
        if went_with.contains(&MadeBy::Database) {
            self.record_deletion(at, net.row, before, None, true);
            if let Some(deletion) = &mut self.rows[net.row as usize].deletion {
                deletion.by = None;
            }
            return;
        }
        let cascades = !went_with.is_empty();
        if cascades {
            self.check_deletion(at, net.row, None, before, true);
        } else if let Some(by) = self.last_writer(net.row) {
            let because = format!(
                "Neither an operation of client/{} transaction {} deletes it, nor does a parent of it go",
                at.device,
                at.tx.tx_id.unwrap_or_default()
            );
            self.report_loss(
                at,
                Loss { code: "lost-insert", row: net.row, register: None, writes: vec![by] },
                format!("is gone after commit {}", at.seq),
                because,
            );
        }
        self.record_deletion(at, net.row, before, None, cascades);
    }
}
