//! One register of a live row: whether an edit stands in it, joined it, or lost lawfully.

use fixtures::{OnMissingParent, OnParentDelete, Row, Rule, Value};

use super::Judge;
use super::commits::At;
use super::edit::{Edit, members};
use super::lawful::{self, Discipline, Win};
use super::registers::{Layout, Register};
use super::report::Loss;
use super::state::{self, Write};
use crate::history::{RowId, label};

/// What became of an edit in one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// It stands.
    Stands,
    /// The register held that value already.
    Same,
    /// It joined with what was there, or a rule changed it.
    Joined,
    /// Another's value stays.
    Lost,
}

/// A register before the commit, after it, and as the edit has it.
struct Sides<'s> {
    current: &'s Row,
    after: &'s Row,
    /// Whether the register was as the edit's base has it.
    base_equal: bool,
    /// Whether the edit has no base there, or not all of it.
    no_base: bool,
    /// Whether the edit's value is the current one.
    equal: bool,
    /// Whether the register is as the edit has it.
    is_new: bool,
    /// Whether it is as it was.
    is_current: bool,
}

/// Why a register may be neither as written nor as it was.
pub(super) struct Excuse {
    /// The rule.
    pub(super) rule: &'static str,
    /// Who wrote what stood in the way.
    pub(super) winners: Vec<Option<Write>>,
    /// Whether a record is owed: not by a device's own delete, nor by one that it had seen.
    pub(super) owed: bool,
}

static NULL: Value = Value::Null;

fn get(row: &Row, column: usize) -> &Value {
    row.get(column).unwrap_or(&NULL)
}

impl<'a, 't> Judge<'a, 't> {
    /// Judges one register that the edit writes.
    pub(super) fn register(&mut self, at: &At<'a>, edit: &Edit<'a>, index: usize, current: &Row, after: &Row) -> Stand {
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
        let mut sides =
            Sides { current, after, base_equal: true, no_base: false, equal: true, is_new: true, is_current: true };
        let state = &self.rows[edit.row as usize];
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
            let unchanged = self.equal(layout, register.rule, column, base, now) || (base.is_null() && state.is_filled(column));
            sides.base_equal &= unchanged;
            sides.no_base |= cell.blind || (cell.new.is_some() && cell.base.is_none() && edit.cells.iter().all(|cell| cell.base.is_none()));
            let new = cell.new.unwrap_or(base);
            let kept = cell.new.is_none() && unchanged;
            // A group that carries a running flag along unsent may find that another row runs meanwhile.
            let stopped = cell.new.is_none() && layout.running[column].is_some() && then == &Value::Int(0);
            sides.equal &= kept || self.equal(layout, register.rule, column, new, now);
            sides.is_new &= (kept && stayed) || stopped || self.equal(layout, register.rule, column, new, then);
        }
        sides.base_equal &= !sides.no_base;
        sides
    }

    fn equal(&self, layout: &Layout<'_>, rule: Rule, column: usize, one: &Value, other: &Value) -> bool {
        self.same(layout, column, one, other)
            || (rule == Rule::Set && members(Some(one)).is_some_and(|one| members(Some(other)) == Some(one)))
    }

    /// Typed equality; of references, two ids of one row are equal.
    pub(super) fn same(&self, layout: &Layout<'_>, column: usize, one: &Value, other: &Value) -> bool {
        if one == other {
            return true;
        }
        let (false, Some(parent)) = (self.aliases.is_empty(), layout.parents[column]) else { return false };
        match (one.as_text(), other.as_text()) {
            (Some(one), Some(other)) => {
                let row = self.find(parent.table, one);
                row.is_some() && row == self.find(parent.table, other)
            }
            _ => false,
        }
    }

    /// One of two values stays whole.
    fn scalar(&mut self, at: &At<'a>, edit: &Edit<'a>, index: usize, sides: &Sides<'_>) -> Stand {
        let layout = self.layout(edit.row);
        let register = &layout.registers[index];
        let stored = self.rows[edit.row as usize].register(index);
        let (rule, win) = self.contest(at, edit, index, sides, &stored);
        let author = self.register_author(edit, index);
        if sides.is_new {
            if sides.equal {
                return Stand::Same;
            }
            if let Some(by) = stored.by
                && !sides.base_equal
                && !self.saw(at, edit.row, &by)
                && !stored.also.is_some_and(|also| self.saw(at, edit.row, &also))
            {
                if win == Win::No {
                    let [new, current, _] = self.shown(edit, index, sides);
                    let what = format!(
                        "was set to {new} by {}, over {current} as {} had written it",
                        self.write_words(&at.write(author)),
                        self.write_words(&by)
                    );
                    let because = self.rule_words(edit, rule, &stored);
                    self.lose(at, Loss { code: "wrong-winner", row: edit.row, register: Some(index), writes: vec![by, at.write(author)] }, what, because);
                } else {
                    self.need(at, &super::report::Need {
                        losers: &[Some(by), stored.also],
                        winners: &[Some(at.write(author))],
                        row: edit.row,
                        register: Some(index),
                        rules: &[rule, "latest"],
                        counted: if edit.named == edit.row { rule } else { "alias" },
                    });
                }
            }
            return Stand::Stands;
        }
        let winners = self.winners(edit.row, &stored);
        let lost = super::report::Need {
            losers: &[Some(at.write(author))],
            winners: &winners,
            row: edit.row,
            register: Some(index),
            rules: &[rule, "latest", "alias"],
            counted: if edit.named == edit.row { rule } else { "alias" },
        };
        let may_lose = sides.is_current && win != Win::Yes;
        if may_lose && self.is_told(&lost) {
            self.need(at, &lost);
            return Stand::Lost;
        }
        if let Some(excuse) = self.excuse(at, edit, register, Some(sides.current), sides.after) {
            self.excused(at, edit, index, &excuse);
            return if sides.is_current { Stand::Lost } else { Stand::Joined };
        }
        if may_lose {
            self.need(at, &lost);
            return Stand::Lost;
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
        self.lose(at, Loss { code: "lost-update", row: edit.row, register: Some(index), writes }, what, because);
        Stand::Lost
    }

    /// The rule that decides between the edit and what is there, and whether the edit must win.
    fn contest(&self, at: &At<'_>, edit: &Edit<'_>, index: usize, sides: &Sides<'_>, stored: &state::Register) -> (&'static str, Win) {
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
            Discipline::Rules => {
                let win = match register.rule {
                    Rule::Max if lawful::greater(new, get(sides.current, column)) => Win::Yes,
                    Rule::Max | Rule::KeepServer => Win::No,
                    _ => lawful::beats(edit, at.device, &self.clients, stored),
                };
                win
            }
            Discipline::RowLatest => lawful::row_latest(edit, state, layout.clock, sides.current),
            Discipline::VersionCheck => lawful::version_check(edit, state, sides.current),
            Discipline::ServerWins if sides.base_equal => Win::Yes,
            Discipline::ServerWins if sides.no_base => Win::Either,
            Discipline::ServerWins => Win::No,
        };
        (self.discipline.name(rule), win)
    }

    /// Differences add up. `None` if something is no integer: then the rule is latest.
    fn counter(&mut self, at: &At<'a>, edit: &Edit<'a>, index: usize, sides: &Sides<'_>) -> Option<Stand> {
        let column = self.layout(edit.row).registers[index].columns[0];
        let cell = edit.cell(column)?;
        let number = |value: Option<&Value>| match value {
            None | Some(Value::Null) => Some(0i128),
            Some(Value::Int(int)) => Some(i128::from(*int)),
            Some(_) => None,
        };
        let (current, after) = (number(sides.current.get(column))?, number(sides.after.get(column))?);
        let (base, new) = (number(cell.base)?, number(cell.new)?);
        let expected = if cell.blind { current.max(new) } else { current + new - base };
        let stored = self.rows[edit.row as usize].register(index);
        if after == expected || (sides.base_equal && sides.is_new) {
            if sides.base_equal || after == new {
                return Some(if sides.equal { Stand::Same } else { Stand::Stands });
            }
            if stored.by.is_some_and(|by| !self.saw(at, edit.row, &by)) {
                super::count(&mut self.stats.merged, "counter", 1);
            }
            return Some(if after == current { Stand::Same } else { Stand::Joined });
        }
        let mut writes = Vec::new();
        if after == current || after != new {
            writes.push(at.write(cell.op_id));
        }
        if after != current {
            writes.extend(stored.by);
        }
        if writes.is_empty() {
            return Some(Stand::Joined);
        }
        let what = format!("is {after} after commit {}, not {expected}", at.seq);
        let because = if cell.blind {
            format!("It was {current}, and an insert wrote {new}: the greater value stays")
        } else {
            format!("It was {current}, and client/{} added {}: differences add up", at.device, new - base)
        };
        self.lose(at, Loss { code: "lost-increment", row: edit.row, register: Some(index), writes }, what, because);
        Some(if after == current { Stand::Lost } else { Stand::Joined })
    }

    /// Additions and removals join. `None` if something is no set: then the rule is latest.
    ///
    /// Where a removal meets a device's addition of the same element that it had not seen, both are lawful: the
    /// contract's formula removes the element and its sentence keeps it.
    fn set(&mut self, at: &At<'a>, edit: &Edit<'a>, index: usize, sides: &Sides<'_>) -> Option<Stand> {
        let column = self.layout(edit.row).registers[index].columns[0];
        let cell = edit.cell(column)?;
        let (current, after) = (members(sides.current.get(column))?, members(sides.after.get(column))?);
        let new = members(cell.new)?;
        let base = if cell.blind { Default::default() } else { members(cell.base)? };
        let stored = self.rows[edit.row as usize].register(index);
        let unseen = stored.by.filter(|by| !self.saw(at, edit.row, by));
        let mut mine = Vec::new();
        let mut others = Vec::new();
        if !(sides.base_equal && sides.is_new) {
            mine.extend(new.difference(&base).filter(|element| !after.contains(*element)));
            let removed = |element: &&String| !new.contains(*element) && !cell.blind;
            mine.extend(base.iter().filter(removed).filter(|element| after.contains(*element) && (unseen.is_none() || !current.contains(*element))));
            others.extend(current.iter().filter(|element| !after.contains(*element) && !(base.contains(*element) && removed(element))));
// What is there now, was not before, and is no addition of this edit: another's removal undone, or a stranger.
            let unmeant = after.difference(&current).filter(|element| !new.contains(*element) || base.contains(*element));
            for element in unmeant {
                if base.contains(element) { others.push(element) } else { mine.push(element) }
            }
        }
        if mine.is_empty() && others.is_empty() {
            if unseen.is_some() && !sides.base_equal && !sides.equal {
                super::count(&mut self.stats.merged, "set", 1);
            }
            return Some(match (sides.is_new, sides.is_current) {
                (true, true) => Stand::Same,
                (true, false) => Stand::Stands,
                (false, true) => Stand::Same,
                (false, false) => Stand::Joined,
            });
        }
        let element = others.first().or(mine.first()).map_or("", |element| element.as_str());
        let what = format!("is {} after commit {}; \"{element}\" is wrong in it", label::value(get(sides.after, column)), at.seq);
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
        if !others.is_empty() {
            writes.extend(stored.by);
        }
        // What went had been there before any device wrote.
        if !writes.is_empty() {
            self.lose(at, Loss { code: "lost-element", row: edit.row, register: Some(index), writes }, what, because);
        }
        Some(if mine.is_empty() { Stand::Joined } else { Stand::Lost })
    }

    /// Whether structure explains why a register is not as the edit has it: a parent that is not there, a cycle, a
    /// row that was running already.
    pub(super) fn excuse(
        &self,
        at: &At<'_>,
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
            if self.same(layout, column, new, then) {
                continue;
            }
            let stayed = current.map_or(then.is_null(), |current| get(current, column) == then);
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
    fn cycle(&self, at: &At<'_>, row: RowId, column: usize, parent: &Value) -> Option<Vec<Option<Write>>> {
        let table = self.table(row);
        let register = self.layouts[table].of_column[column];
        // The order of changes within the commit is not known: the tree before it, or after it.
        [false, true].into_iter().find_map(|later| {
            let mut writers = Vec::new();
            let mut next = self.find(table, parent.as_text()?);
            for _ in 0..=self.rows.len() {
                let ancestor = next?;
                if ancestor == row {
                    writers.push(None);
                    return Some(writers);
                }
                writers.push(self.rows[ancestor as usize].register(register).by);
                let image = match self.net(at, ancestor) {
                    Some(net) if later => net.after.as_ref(),
                    Some(net) => net.before.as_ref(),
                    None => self.rows[ancestor as usize].live.as_ref(),
                };
                // A parent that the transaction itself moved stands in the way as well.
                if self.net(at, ancestor).is_some_and(|net| net.edit.is_some()) {
                    writers.extend(at.tx.ops.iter().filter(|op| op.row == ancestor).map(|op| Some(at.write(op.op_id))));
                }
                next = image.and_then(|image| get(image, column).as_text()).and_then(|id| self.find(table, id));
            }
            None
        })
    }

    /// Who wrote that other rows of an exclusive invariant run, with a lease that may still hold.
    fn holders(&self, at: &At<'_>, row: RowId, exclusive: usize) -> Vec<Option<Write>> {
        let rule = &self.ctx.app.policy.exclusives[exclusive];
        let register = self.layouts[rule.table].of_column[rule.running];
        let lease_us = rule.lease_s.saturating_mul(1_000_000);
        let mut writers = Vec::new();
        for holder in self.running[exclusive].iter().copied().filter(|holder| *holder != row) {
            let state = &self.rows[holder as usize];
            if at.received_us.saturating_sub(state.touched_us.max(state.heartbeat_us)) <= lease_us {
                writers.extend([state.register(register).by, state.register(register).also, None]);
            }
        }
        for net in at.nets.iter().filter(|net| net.row != row && self.table(net.row) == rule.table) {
            if net.edit.is_some() && net.after.as_ref().is_some_and(|after| get(after, rule.running) == &Value::Int(1)) {
                writers.extend(at.tx.ops.iter().filter(|op| op.row == net.row).map(|op| Some(at.write(op.op_id))));
            }
        }
        writers
    }

    /// Whether the device itself took the parent away, in this transaction or before, or had seen it go.
    fn took_away(&self, at: &At<'_>, parent: Option<RowId>) -> bool {
        let Some(parent) = parent else { return false };
        let here = at.tx.ops.iter().any(|op| op.op == crate::history::Op::Delete && self.target(op.row) == parent);
        let death = self.rows[parent as usize].death.as_ref();
        here || death.and_then(|death| death.by).is_some_and(|by| self.saw(at, parent, &by))
    }

    /// Who may be named as having taken a parent away: whoever deleted it, this transaction, or the server.
    pub(super) fn deleters(&self, at: &At<'_>, parent: Option<RowId>) -> Vec<Option<Write>> {
        let mut deleters = vec![None];
        deleters.extend(at.tx.ops.iter().filter(|op| op.op == crate::history::Op::Delete).map(|op| Some(at.write(op.op_id))));
        if let Some(death) = parent.and_then(|parent| self.rows[parent as usize].death.as_ref()) {
            deleters.extend([death.by, death.also].into_iter().flatten().map(Some));
        }
        deleters
    }

    /// Demands the record of what structure did to an edit.
    pub(super) fn excused(&mut self, at: &At<'a>, edit: &Edit<'a>, index: usize, excuse: &Excuse) {
        let kind = if excuse.rule == "exclusive" { "exclusive" } else { "parent" };
        if !excuse.owed {
            return;
        }
        super::count(&mut self.stats.concurrent, kind, 1);
        let author = self.register_author(edit, index);
        self.need(at, &super::report::Need {
            losers: &[Some(at.write(author))],
            winners: &excuse.winners,
            row: edit.row,
            register: Some(index),
            rules: &[excuse.rule],
            counted: excuse.rule,
        });
    }

    /// The last operation of the edit that wrote the register.
    pub(super) fn register_author(&self, edit: &Edit<'_>, index: usize) -> i64 {
        let columns = &self.layout(edit.row).registers[index].columns;
        let written = edit.cells.iter().filter(|cell| cell.new.is_some() && columns.contains(&cell.column));
        written.map(|cell| cell.op_id).max().unwrap_or(edit.op_id)
    }

    /// Who may be named as the winner over an edit of this register.
    fn winners(&self, row: RowId, stored: &state::Register) -> Vec<Option<Write>> {
        let mut winners = vec![stored.by];
        winners.extend(stored.also.map(Some));
        if self.discipline != Discipline::Rules {
            winners.push(None);
            winners.extend(self.rows[row as usize].registers.iter().map(|register| register.by));
        }
        winners
    }

    /// Counts the writes of the register that the edit's device had not seen.
    fn count_concurrent(&mut self, at: &At<'a>, edit: &Edit<'a>, index: usize) {
        let layout = self.layout(edit.row);
        let register = &layout.registers[index];
        let seen = self.timeline.seen_row(at.device, at.tx_event, edit.row);
        let writes = &self.rows[edit.row as usize].writes;
        let unseen = writes[writes.partition_point(|(_, write)| write.seq <= seen)..]
            .iter()
            .filter(|(at_register, write)| *at_register == index && write.device != at.device)
            .count() as u64;
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
        super::count(&mut self.stats.concurrent, kind, unseen);
        self.stats.conflicts += unseen;
    }

    /// Remembers who wrote the register.
    fn note(&mut self, at: &At<'a>, edit: &Edit<'a>, index: usize, stand: Stand) {
        let write = at.write(self.register_author(edit, index));
        let registers = self.layout(edit.row).registers.len();
        let state = &mut self.rows[edit.row as usize];
        state.writes.push((index, write));
        if state.registers.is_empty() {
            state.registers = vec![state::SERVER; registers];
        }
        let register = &mut state.registers[index];
        let low = edit.clock_low.max(register.low.saturating_add(1));
        let high = edit.clock_high.max(register.high.saturating_add(1));
        match stand {
            Stand::Lost => return,
            Stand::Same if register.by.is_some_and(|by| by.device != at.device) => {
                (register.also, register.high) = (Some(write), high);
            }
            Stand::Stands | Stand::Joined | Stand::Same => {
                *register = state::Register { by: Some(write), also: None, low, high };
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
