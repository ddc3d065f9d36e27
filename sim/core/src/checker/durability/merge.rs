//! One register of a live row: whether an edit stands in it, joined it, or lost lawfully.

use fixtures::{Row, Rule, Value};

use super::edit::{Edit, members};
use super::judge::Judge;
use super::lawful::{self, Discipline, Win};
use super::registers::{Layout, Register};
use super::report::{Loss, RequiredRecord};
use super::state::{self, Write};
use super::stats::count;
use super::transaction::JudgedTx;
use crate::history::{RowId, label};

/// What became of an edit in one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegisterFate {
    /// It stands.
    Stands,
    /// It stands in place of a write that it had not seen, by its stamp.
    Won,
    /// The register held that value already.
    Same,
    /// It joined with what was there, or a rule changed it.
    Joined,
    /// Another's value stays.
    Lost,
    /// Another operation of the same transaction undid it.
    Undone,
}

/// A register before the commit, after it, and as the edit has it.
pub(super) struct Sides<'s> {
    pub(super) current: &'s Row,
    pub(super) after: &'s Row,
    /// Whether the register was as the edit's base has it.
    pub(super) base_equal: bool,
    /// Whether the edit has no base there, or not all of it.
    pub(super) no_base: bool,
    /// Whether the edit's value is the current one.
    pub(super) equal: bool,
    /// Whether the register is as the edit has it.
    pub(super) is_new: bool,
    /// Whether it is so only if the server stopped what the edit let run on.
    pub(super) is_stopped: bool,
    /// Whether it is as it was.
    pub(super) is_current: bool,
}

pub(super) static NULL: Value = Value::Null;

pub(super) fn get(row: &Row, column: usize) -> &Value {
    row.get(column).unwrap_or(&NULL)
}

impl<'a, 't> Judge<'a, 't> {
    /// Judges one register that the edit writes.
    pub(super) fn register(
        &mut self,
        at: &JudgedTx<'a>,
        edit: &Edit<'a>,
        index: usize,
        current: &Row,
        after: &Row,
    ) -> RegisterFate {
        let layout = self.layout(edit.row);
        let register = &layout.registers[index];
        self.count_concurrent(at, edit, index);
        let sides = self.sides(layout, register, edit, current, after);
        let stand = match (self.discipline, register.rule) {
            (Discipline::Rules, Rule::Counter { .. }) => self.counter(at, edit, index, &sides),
            (Discipline::Rules, Rule::Set) => self.set(at, edit, index, &sides),
            _ => None,
        };
        let stand = stand.unwrap_or_else(|| self.scalar(at, edit, index, &sides));
        self.note(at, edit, index, stand);
        stand
    }

    fn sides<'s>(
        &self,
        layout: &Layout<'_>,
        register: &Register<'_>,
        edit: &Edit<'_>,
        current: &'s Row,
        after: &'s Row,
    ) -> Sides<'s> {
        let mut sides = Sides {
            current,
            after,
            base_equal: true,
            no_base: false,
            equal: true,
            is_new: true,
            is_stopped: false,
            is_current: true,
        };
        let state = &self.rows[edit.row as usize];
        let written = edit.cells.iter().filter(|cell| cell.new.is_some() && register.columns.contains(&cell.column));
        let last = written.map(|cell| cell.op_id).max();
        for column in register.columns.iter().copied() {
            let (now, then) = (get(current, column), get(after, column));
            let stayed = self.equal(layout, register.rule, column, now, then);
            sides.is_current &= stayed;
            let Some(cell) = edit.cell(column).filter(|cell| cell.new.is_some() || !cell.blind) else {
                // A group's column that the edit knows nothing of stays; an insert has no base at all.
                sides.no_base |= edit.put;
                sides.is_new &= stayed;
                continue;
            };
            let base = cell.base.unwrap_or(&NULL);
            let joins = matches!(register.rule, Rule::Counter { .. } | Rule::Set);
            let unchanged = self.equal(layout, register.rule, column, base, now)
                || (base.is_null() && state.is_filled(column))
                // An operation in between came to the current value: the next one has it as its base.
                || (!joins && cell.via.iter().any(|via| self.same(layout, column, via, now)))
                || (!joins
                    && last.is_some_and(|last| cell.op_id < last)
                    && cell.new.is_some_and(|new| self.same(layout, column, new, now)));
            sides.base_equal &= unchanged;
            sides.no_base |= cell.blind
                || (cell.new.is_some() && cell.base.is_none() && edit.cells.iter().all(|cell| cell.base.is_none()));
            let new = cell.new.unwrap_or(base);
            let kept = cell.new.is_none() && unchanged;
            // A group that carries a running flag along unsent may find that another row runs meanwhile.
            let stopped = cell.new.is_none() && layout.running[column].is_some() && then == &Value::Int(0);
            sides.equal &= kept || self.equal(layout, register.rule, column, new, now);
            let is_new = (kept && stayed) || self.equal(layout, register.rule, column, new, then);
            sides.is_new &= is_new || stopped;
            sides.is_stopped |= stopped && !is_new;
        }
        sides.base_equal &= !sides.no_base;
        sides
    }

    pub(super) fn equal(&self, layout: &Layout<'_>, rule: Rule, column: usize, one: &Value, other: &Value) -> bool {
        self.same(layout, column, one, other)
            || (rule == Rule::Set && members(Some(one)).is_some_and(|one| members(Some(other)) == Some(one)))
    }

    /// Typed equality; of references, two ids of one row are equal.
    pub(super) fn same(&self, layout: &Layout<'_>, column: usize, one: &Value, other: &Value) -> bool {
        if one == other {
            return true;
        }
        let (false, Some(parent)) = (self.ids.has_no_alias(), layout.parents[column]) else { return false };
        match (one.as_text(), other.as_text()) {
            (Some(one), Some(other)) => {
                let row = self.find(parent.table, one);
                row.is_some() && row == self.find(parent.table, other)
            }
            _ => false,
        }
    }

    /// One of two values stays whole.
    fn scalar(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, index: usize, sides: &Sides<'_>) -> RegisterFate {
        let layout = self.layout(edit.row);
        let register = &layout.registers[index];
        let stored = self.rows[edit.row as usize].register(index);
        let (rule, win) = self.contest(at, edit, index, sides, &stored);
        let author = self.register_author(edit, index);
        // Nothing was set, and nothing had to be, where the edit loses.
        let is_lost = sides.is_stopped && sides.is_current && win == Win::No;
        if sides.is_new && !is_lost {
            if sides.equal {
                return RegisterFate::Same;
            }
            let left_out = register.columns.iter().all(|column| self.rows[edit.row as usize].is_filled(*column));
            if let Some(by) = stored.by.filter(|_| !left_out)
                && !sides.base_equal
                && !self.saw(at, edit.row, &by)
                && !stored.also.is_some_and(|also| self.saw(at, edit.row, &also))
                && !self.may_be_seen(at, edit.row, index)
            {
                if win == Win::No {
                    let [new, current, _] = self.shown(edit, index, sides);
                    let what = format!(
                        "was set to {new} by {}, over {current} as {} had written it",
                        self.write_words(&at.write(author)),
                        self.write_words(&by)
                    );
                    let because = self.rule_words(edit, rule, &stored);
                    self.report_loss(
                        at,
                        Loss {
                            code: "wrong-winner",
                            row: edit.row,
                            register: Some(index),
                            writes: vec![by, at.write(author)],
                        },
                        what,
                        because,
                    );
                } else {
                    let losers = self.rows[edit.row as usize].writers(index);
                    self.require_record(
                        at,
                        &RequiredRecord {
                            losers: &losers,
                            winners: &[Some(at.write(author))],
                            row: edit.row,
                            register: Some(index),
                            rules: &[rule, "latest"],
                            counted: if edit.named == edit.row { rule } else { "alias" },
                        },
                    );
                }
                if rule == "latest" {
                    return RegisterFate::Won;
                }
            }
            return RegisterFate::Stands;
        }
        let winners = self.winners(edit.row, index, &stored);
        let lost = RequiredRecord {
            losers: &[Some(at.write(author))],
            winners: &winners,
            row: edit.row,
            register: Some(index),
            rules: &[rule, "latest", "alias"],
            counted: if edit.named == edit.row { rule } else { "alias" },
        };
        let may_lose = sides.is_current && win != Win::Yes;
        if may_lose && self.is_recorded(&lost) {
            self.require_record(at, &lost);
            return RegisterFate::Lost;
        }
        if let Some(excuse) = self.excuse(at, edit, register, Some(sides.current), sides.after) {
            self.excused(at, edit, index, &excuse);
            if sides.is_current && (excuse.owed || excuse.rule == "parent-missing") {
                self.may_have_written(at.write(author), edit, index);
            }
            return match (excuse.owed, sides.is_current) {
                (false, true) => RegisterFate::Undone,
                (true, true) => RegisterFate::Lost,
                (_, false) => RegisterFate::Joined,
            };
        }
        if may_lose {
            self.require_record(at, &lost);
            return RegisterFate::Lost;
        }
        let [new, current, after] = self.shown(edit, index, sides);
        let writer = self.write_words(&at.write(author));
        let what = if sides.is_current {
            format!("is still {after} after commit {}, and not {new} as {writer} wrote it", at.seq)
        } else {
            format!("is {after} after commit {}: neither {new} as {writer} wrote it, nor {current} as it was", at.seq)
        };
        let because = if sides.base_equal {
            "The value was what the device had seen, so the write stands".to_owned()
        } else {
            self.rule_words(edit, rule, &stored)
        };
        let mut writes = vec![at.write(author)];
        if !sides.is_current {
            writes.extend(stored.by);
        }
        self.report_loss(at, Loss { code: "lost-update", row: edit.row, register: Some(index), writes }, what, because);
        RegisterFate::Lost
    }

    /// Under a policy that supersedes whole operations, whether somebody whose write the device saw may have written
    /// what the register holds, beside its writer.
    pub(super) fn may_be_seen(&self, at: &JudgedTx<'a>, row: RowId, index: usize) -> bool {
        let alike = &self.rows[row as usize].alike;
        self.discipline != Discipline::Rules && alike.iter().any(|(of, write)| *of == index && self.saw(at, row, write))
    }

    /// Structure (a leader, a cycle) took back what an edit wrote, and it came out as it was: the value may be the
    /// edit's now, with its stamp, or still its former writer's.
    fn may_have_written(&mut self, write: Write, edit: &Edit<'_>, index: usize) {
        let state = &mut self.rows[edit.row as usize];
        state.alike.push((index, write));
        if let Some(register) = state.registers.get_mut(index) {
            register.high = register.high.max(edit.clock_high);
        }
    }

    /// The rule that decides between the edit and what is there, and whether the edit must win.
    fn contest(
        &self,
        at: &JudgedTx<'_>,
        edit: &Edit<'_>,
        index: usize,
        sides: &Sides<'_>,
        stored: &state::Register,
    ) -> (&'static str, Win) {
        let layout = self.layout(edit.row);
        let register = &layout.registers[index];
        let state = &self.rows[edit.row as usize];
        let column = register.columns[0];
        let new = edit.cell(column).and_then(|cell| cell.new).unwrap_or(&NULL);
        let rule = match register.rule {
            Rule::Max => "max",
            Rule::KeepServer => "keep-server",
            _ => "latest",
        };
        let win = match self.discipline {
            Discipline::Rules if sides.base_equal => Win::Yes,
            Discipline::Rules => match register.rule {
                Rule::Max if lawful::greater(new, get(sides.current, column)) => Win::Yes,
                Rule::Max | Rule::KeepServer => Win::No,
                _ => lawful::beats(edit, at.device, &self.clients, stored),
            },
            Discipline::RowLatest => lawful::row_latest(edit, state, layout.clock, sides.current, at.received_us),
            Discipline::VersionCheck => lawful::version_check(edit, state, sides.current),
            Discipline::ServerWins if sides.base_equal => Win::Yes,
            Discipline::ServerWins if sides.no_base => Win::Either,
            Discipline::ServerWins => Win::No,
        };
        (self.discipline.name(rule), win)
    }

    /// The last operation of the edit that wrote the register.
    pub(super) fn register_author(&self, edit: &Edit<'_>, index: usize) -> i64 {
        let columns = &self.layout(edit.row).registers[index].columns;
        let written = edit.cells.iter().filter(|cell| cell.new.is_some() && columns.contains(&cell.column));
        written.map(|cell| cell.op_id).max().unwrap_or(edit.op_id)
    }

    /// Who may be named as the winner over an edit of this register.
    fn winners(&self, row: RowId, index: usize, stored: &state::Register) -> Vec<Option<Write>> {
        let mut winners = self.rows[row as usize].writers(index);
        // What an insert left out is the insert's, or nobody's.
        let register = &self.layout(row).registers[index];
        if stored.by.is_none() || register.columns.iter().all(|column| self.rows[row as usize].is_filled(*column)) {
            winners.push(None);
        }
        winners.extend(stored.course.into_iter().flat_map(|course| self.tx_writes(course)).map(Some));
        if self.discipline != Discipline::Rules {
            winners.push(None);
            winners.extend(self.rows[row as usize].everyone.iter().copied().map(Some));
        }
        winners
    }

    /// Counts the writes of the register that the edit's device had not seen.
    fn count_concurrent(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, index: usize) {
        let layout = self.layout(edit.row);
        let register = &layout.registers[index];
        let seen = self.timeline.seen_row(at.device, at.tx_event, edit.row);
        let unseen = self.rows[edit.row as usize].writes.unseen(index, at.device, seen);
        if unseen == 0 {
            return;
        }
        let kind = match register.rule {
            Rule::Counter { .. } => "counter",
            Rule::Set => "set",
            _ if register.is_group() => "group",
            _ if layout.trees[register.columns[0]] => "parent",
            _ => "column",
        };
        count(&mut self.stats.concurrent, kind, unseen);
        self.stats.conflicts += unseen;
    }

    /// Remembers who wrote the register.
    fn note(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, index: usize, stand: RegisterFate) {
        let write = at.write(self.register_author(edit, index));
        let registers = self.layout(edit.row).registers.len();
        let state = &mut self.rows[edit.row as usize];
        state.writes.push(index, write);
        if state.registers.is_empty() {
            state.registers = vec![state::SERVER; registers];
        }
        let register = &mut state.registers[index];
        // A write that its device had seen is left behind; over one that it had not seen it keeps its own stamp.
        let (low, high) = match stand {
            RegisterFate::Won => (edit.clock_low, edit.clock_high),
            _ => (
                edit.clock_low.max(register.low.saturating_add(1)),
                edit.clock_high.max(register.high.saturating_add(1)),
            ),
        };
        match stand {
            RegisterFate::Lost | RegisterFate::Undone => return,
            // An operation that is superseded whole wrote nothing, also where it asked for what is there.
            RegisterFate::Same if self.discipline != Discipline::Rules => {
                state.alike.push((index, write));
                register.high = high;
                return;
            }
            RegisterFate::Same if register.by.is_some_and(|by| by.device != at.device) => {
                (register.also, register.high) = (Some(write), high);
                state.alike.push((index, write));
            }
            // What structure set stays the deed of whose transaction it came with; this one asked for the same.
            RegisterFate::Same if register.by.is_none() && register.course.is_some() => {
                (register.also, register.high) = (Some(write), high);
                state.alike.push((index, write));
            }
            RegisterFate::Stands | RegisterFate::Won | RegisterFate::Joined | RegisterFate::Same => {
                match (stand, register.by) {
                    (RegisterFate::Same, Some(by)) => state.alike.push((index, by)),
                    _ => state.alike.retain(|(at, _)| *at != index),
                }
                *register = state::Register { by: Some(write), also: None, course: None, low, high };
            }
        }
        let columns = &self.layouts[self.ctx.history.rows[edit.row as usize].table].registers[index].columns;
        for column in columns {
            if edit.cell(*column).is_some_and(|cell| cell.new.is_some())
                && let Some(filled) = state.filled.get_mut(*column)
            {
                *filled = false;
            }
        }
    }

    fn rule_words(&self, edit: &Edit<'_>, rule: &str, stored: &state::Register) -> String {
        let time = fixtures::value::time_to_iso;
        match rule {
            "latest" => match stored.by {
                Some(by) => format!(
                    "The rule is latest: its clock is {}, the stamp of {} is {}",
                    time(edit.clock_high),
                    self.write_words(&by),
                    time(stored.high)
                ),
                None => "The rule is latest, and no device had written that value".to_owned(),
            },
            "max" => "The rule is max: the greater value stays".to_owned(),
            "keep-server" => "The rule is keep-server: the server's value stays".to_owned(),
            policy => format!("The policy {policy} decides otherwise"),
        }
    }

    /// The register as the edit has it, before the commit, and after it, in words.
    fn shown(&self, edit: &Edit<'_>, index: usize, sides: &Sides<'_>) -> [String; 3] {
        let register = &self.layout(edit.row).registers[index];
        let list = |value: &dyn Fn(usize) -> String| {
            let values: Vec<String> = register.columns.iter().map(|column| value(*column)).collect();
            if register.is_group() { format!("({})", values.join(", ")) } else { values.concat() }
        };
        let new = |column| {
            let cell = edit.cell(column);
            label::value(cell.and_then(|cell| cell.new.or(cell.base)).unwrap_or(get(sides.current, column)))
        };
        [
            list(&new),
            list(&|column| label::value(get(sides.current, column))),
            list(&|column| label::value(get(sides.after, column))),
        ]
    }
}
