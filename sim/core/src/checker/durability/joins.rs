//! Counters and sets: writes that join, so that none is lost.

use fixtures::Value;

use super::edit::{Edit, members};
use super::judge::Judge;
use super::merge::{NULL, RegisterFate, Sides, get};
use super::report::Loss;
use super::state::Write;
use super::stats::count;
use super::transaction::JudgedTx;
use crate::history::{Op, RowId, label};

impl<'a> Judge<'a, '_> {
    /// Differences add up. `None` if something is no integer: then the rule is latest.
    pub(super) fn counter(
        &mut self,
        at: &JudgedTx<'a>,
        edit: &Edit<'a>,
        index: usize,
        sides: &Sides<'_>,
    ) -> Option<RegisterFate> {
        let column = self.layout(edit.row).registers[index].columns[0];
        let cell = edit.cell(column)?;
        let number = |value: Option<&Value>| match value {
            None | Some(Value::Null) => Some(0i128),
            Some(Value::Int(int)) => Some(i128::from(*int)),
            Some(_) => None,
        };
        let (current, after) = (number(sides.current.get(column))?, number(sides.after.get(column))?);
        let (base, new) = (number(cell.base)?, number(cell.new)?);
        // In the order of operations: differences add up, and of two counts that know nothing of each other the
        // greater stays.
        let mut expected = current;
        for op in at.ops.iter().filter(|op| self.target(op.row) == edit.row) {
            let of = |values: &'a [(usize, Value)]| values.iter().find(|(at, _)| *at == column).map(|(_, value)| value);
            let Some(data) = of(&op.data) else { continue };
            let data = number(Some(data))?;
            if op.op == Op::Patch && !op.old.is_empty() {
                expected += data - number(of(&op.old))?;
            } else {
                expected = expected.max(data);
            }
        }
        let stored = self.rows[edit.row as usize].register(index);
        if after == expected || (sides.base_equal && sides.is_new) {
            if sides.base_equal || after == new {
                return Some(if sides.equal { RegisterFate::Same } else { RegisterFate::Stands });
            }
            if stored.by.is_some_and(|by| !self.saw(at, edit.row, &by)) {
                count(&mut self.stats.merged, "counter", 1);
            }
            return Some(if after == current { RegisterFate::Same } else { RegisterFate::Joined });
        }
        let mut writes = Vec::new();
        if after == current || after != new {
            writes.push(at.write(cell.op_id));
        }
        if after != current {
            writes.extend(stored.by);
        }
        if writes.is_empty() && (cell.blind || cell.base.is_none()) {
            return Some(RegisterFate::Joined);
        }
        let replaces = writes.is_empty();
        if replaces {
            writes.push(at.write(cell.op_id));
        }
        let what = format!("is {after} after commit {}, not {expected}", at.seq);
        let because = if cell.blind {
            format!("It was {current}, and an insert wrote {new}: the greater value stays")
        } else {
            format!("It was {current}, and client/{} added {}: differences add up", at.device, new - base)
        };
        let because = if replaces {
            format!(
                "{because}; what was lost is what the server itself had written, replaced by a value that had not seen it"
            )
        } else {
            because
        };
        self.report_loss(
            at,
            Loss { code: "lost-increment", row: edit.row, register: Some(index), writes },
            what,
            because,
        );
        Some(if after == current { RegisterFate::Lost } else { RegisterFate::Joined })
    }

    /// Additions and removals join. `None` if something is no set: then the rule is latest.
    ///
    /// Where a removal meets a device's addition of the same element that it had not seen, both are lawful: the
    /// contract's formula removes the element and its sentence keeps it.
    pub(super) fn set(
        &mut self,
        at: &JudgedTx<'a>,
        edit: &Edit<'a>,
        index: usize,
        sides: &Sides<'_>,
    ) -> Option<RegisterFate> {
        let column = self.layout(edit.row).registers[index].columns[0];
        let cell = edit.cell(column)?;
        let (current, after) = (members(sides.current.get(column))?, members(sides.after.get(column))?);
        let new = members(cell.new)?;
        let base = if cell.blind { Default::default() } else { members(cell.base)? };
        let stored = self.rows[edit.row as usize].register(index);
        let unseen = stored.by.filter(|by| !self.saw(at, edit.row, by));
        for element in new.difference(&base) {
            self.rows[edit.row as usize].sets.note_addition(index, element, at.write(cell.op_id));
        }
        let mut mine = Vec::new();
        let mut others = Vec::new();
        if !(sides.base_equal && sides.is_new) {
            mine.extend(new.difference(&base).filter(|element| !after.contains(*element)));
            let removed = |element: &&String| !new.contains(*element) && !cell.blind;
            mine.extend(base.iter().filter(removed).filter(|element| after.contains(*element)).filter(|element| {
                !current.contains(*element) || !self.is_addition_unseen(at, edit.row, index, element)
            }));
            others.extend(
                current
                    .iter()
                    .filter(|element| !(after.contains(*element) || base.contains(*element) && removed(element))),
            );
            // What is there now, was not before, and is no addition of this edit: another's removal undone, or a stranger.
            // An insert after the transaction's own earlier write meets what that had added.
            let earlier = |element: &str| {
                cell.blind && cell.via.iter().any(|via| members(Some(via)).is_some_and(|via| via.contains(element)))
            };
            let unintended = after
                .difference(&current)
                .filter(|element| (!new.contains(*element) || base.contains(*element)) && !earlier(element));
            for element in unintended {
                if base.contains(element) { others.push(element) } else { mine.push(element) }
            }
        }
        // Without the old value, what the operation replaced knowingly is not told from what it had not seen.
        if cell.base.is_none() && !cell.blind {
            others.retain(|element| self.is_addition_unseen(at, edit.row, index, element));
        }
        if mine.is_empty() && others.is_empty() {
            if unseen.is_some() && !sides.base_equal && !sides.equal {
                count(&mut self.stats.merged, "set", 1);
            }
            return Some(match (sides.is_new, sides.is_current) {
                (true, true) => RegisterFate::Same,
                (true, false) => RegisterFate::Stands,
                (false, true) => RegisterFate::Same,
                (false, false) => RegisterFate::Joined,
            });
        }
        let element = others.first().or(mine.first()).map_or("", |element| element.as_str());
        let what = format!(
            "is {} after commit {}; \"{element}\" is wrong in it",
            label::value(get(sides.after, column)),
            at.seq
        );
        let because = format!(
            "It was {}, and client/{} turned {} into {}: additions and removals join",
            label::value(get(sides.current, column)),
            at.device,
            label::value(cell.base.unwrap_or(&NULL)),
            label::value(cell.new.unwrap_or(&NULL))
        );
        let mut writes = Vec::new();
        if !mine.is_empty() {
            writes.push(at.write(cell.op_id));
        }
        let victims: Vec<Write> = others.iter().flat_map(|element| self.hands(edit.row, index, element)).collect();
        writes.extend(victims.iter().filter(|write| write.device != at.device || write.op_id != cell.op_id));
        if writes.is_empty() && !others.is_empty() {
            writes.extend(stored.by);
        }
        // What the server itself had written was replaced, and the operation had been told what it replaces.
        if writes.is_empty() && !others.is_empty() && !cell.blind && cell.base.is_some() {
            writes.push(at.write(cell.op_id));
        }
        if !writes.is_empty() {
            self.report_loss(
                at,
                Loss { code: "lost-element", row: edit.row, register: Some(index), writes },
                what,
                because,
            );
        }
        Some(if mine.is_empty() { RegisterFate::Joined } else { RegisterFate::Lost })
    }

    /// Whether somebody added the element without the edit's device having seen the addition.
    fn is_addition_unseen(&self, at: &JudgedTx<'_>, row: RowId, index: usize, element: &str) -> bool {
        let Some(history) = self.rows[row as usize].sets.element(index, element) else { return false };
        let seen = self.timeline.seen_row(at.device, at.tx_event, row);
        history.added_by_server.is_some_and(|seq| seq > seen)
            || history.added.values().any(|write| !self.saw(at, row, write))
    }

    /// The writes that made an element what it was before the commit: those that added it, or that removed it.
    fn hands(&self, row: RowId, index: usize, element: &str) -> Vec<Write> {
        let Some(history) = self.rows[row as usize].sets.element(index, element) else { return Vec::new() };
        match history.removed {
            Some(by) => by.into_iter().collect(),
            None => history.added.values().copied().collect(),
        }
    }
}
