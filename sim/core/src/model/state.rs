//! What the server holds: rows, and what the policy remembers beside them.
//!
//! Every change goes through [`State::write`] or [`State::edit`], which keep the look-up tables true and remember
//! each row as it was when the transaction began, so that a refused transaction leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use fixtures::{App, Row, Value};

use super::facts::TableFacts;
use crate::history::{RowId, RowName, Writer};

/// Who wrote a register, and when by that policy's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The operation's clock, never later than its receipt unless moved behind an earlier stamp.
    pub clock_us: i64,
    /// The device.
    pub device: u32,
    /// The operation.
    pub op_id: i64,
}

impl Stamp {
    /// The writer as records name it.
    #[must_use]
    pub fn writer(self) -> Writer {
        Writer::Client { device: self.device, op_id: self.op_id }
    }

    /// This stamp, moved behind one that its writer had seen: max(clock, stored + 1 microsecond).
    pub(super) fn after(self, stored: Option<Self>) -> Self {
        let least = stored.map_or(self.clock_us, |stored| stored.clock_us.saturating_add(1));
        Self { clock_us: self.clock_us.max(least), ..self }
    }
}

/// What is left of a deleted row.
#[derive(Clone, Debug)]
pub struct Tombstone {
    /// The delete.
    pub stamp: Stamp,
    /// The row as it was; `None` if there was none.
    pub image: Option<Row>,
}

/// One row and what the policy remembers of it.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Its image, if it is there.
    pub live: Option<Row>,
    /// The stamps of registers that an operation wrote, by register, ascending.
    pub(super) stamps: Vec<(u16, Stamp)>,
    /// Columns that its own insert did not name, and the defaults that they got.
    pub(super) filled: Option<Arc<[(usize, Value)]>>,
    /// Set while it is deleted.
    pub(super) tombstone: Option<Tombstone>,
    /// For each exclusive invariant: when the last heartbeat was received.
    pub(super) beats: Vec<(usize, i64)>,
    /// Registers that the server itself has written since an operation did, with what the operation left in them.
    /// Their stamps stay, for a write past the backend has no clock.
    pub(super) bypassed: Vec<(usize, Vec<Value>)>,
}

impl Slot {
    /// The stamp of a register.
    #[must_use]
    pub fn stamp(&self, register: usize) -> Option<Stamp> {
        let index = self.stamps.binary_search_by_key(&register, |(at, _)| usize::from(*at)).ok()?;
        Some(self.stamps[index].1)
    }

    pub(super) fn set_stamp(&mut self, register: usize, stamp: Option<Stamp>) {
        if stamp != self.stamp(register) {
            self.written(register);
        }
        let key = u16::try_from(register).expect("a table has fewer than 65536 columns");
        match (self.stamps.binary_search_by_key(&key, |(at, _)| *at), stamp) {
            (Ok(index), Some(stamp)) => self.stamps[index].1 = stamp,
            (Ok(index), None) => drop(self.stamps.remove(index)),
            (Err(index), Some(stamp)) => self.stamps.insert(index, (key, stamp)),
            (Err(_), None) => {}
        }
    }

    /// Whether the server itself wrote what the register holds, over an operation's value.
    pub(super) fn is_bypassed(&self, register: usize) -> bool {
        self.bypassed.iter().any(|(at, _)| *at == register)
    }

    /// An operation writes the register.
    pub(super) fn written(&mut self, register: usize) {
        self.bypassed.retain(|(at, _)| *at != register);
    }

    /// The server itself writes the row. What goes back to an operation's value is that operation's again.
    pub(super) fn bypass(&mut self, facts: &TableFacts<'_>, image: &Row) {
        let Some(before) = self.live.clone() else { return };
        for (index, register) in facts.registers.iter().enumerate() {
            let values = |row: &Row| -> Vec<Value> { register.columns.iter().map(|at| row[*at].clone()).collect() };
            let (old, new) = (values(&before), values(image));
            match self.bypassed.iter().position(|(at, _)| *at == index) {
                Some(known) if self.bypassed[known].1 == new => drop(self.bypassed.remove(known)),
                None if old != new && self.stamp(index).is_some() => self.bypassed.push((index, old)),
                _ => {}
            }
        }
    }

    /// Everyone whose value is in the row; the server, if nobody's is.
    pub(super) fn writers(&self) -> Vec<Writer> {
        let mut writers: Vec<Writer> = self.stamps.iter().map(|(_, stamp)| stamp.writer()).collect();
        if !self.bypassed.is_empty() {
            writers.push(Writer::Server);
        }
        writers.sort();
        writers.dedup();
        if writers.is_empty() {
            writers.push(Writer::Server);
        }
        writers
    }

    /// The default that this row's own insert filled in, if nobody has written the column since.
    pub(super) fn filled(&self, column: usize) -> Option<&Value> {
        let filled = self.filled.as_ref()?.iter().find(|(at, _)| *at == column).map(|(_, value)| value)?;
        self.live.as_ref().is_none_or(|live| live[column] == *filled).then_some(filled)
    }

    /// Those of the columns that are written hold no default any more; `written` gets the column and its value.
    pub(super) fn forget_filled(&mut self, columns: &[usize], written: impl Fn(usize, &Value) -> bool) {
        let (Some(filled), Some(live)) = (&self.filled, &self.live) else { return };
        let is_written = |column: usize| columns.contains(&column) && written(column, &live[column]);
        if filled.iter().any(|(column, _)| is_written(*column)) {
            let left: Vec<_> = filled.iter().filter(|(column, _)| !is_written(*column)).cloned().collect();
            self.filled = (!left.is_empty()).then(|| Arc::from(left));
        }
    }

    pub(super) fn beat(&self, exclusive: usize) -> Option<i64> {
        self.beats.iter().find(|(at, _)| *at == exclusive).map(|(_, at_us)| *at_us)
    }

    pub(super) fn set_beat(&mut self, exclusive: usize, at_us: i64) {
        match self.beats.iter_mut().find(|(at, _)| *at == exclusive) {
            Some(beat) => beat.1 = at_us,
            None => self.beats.push((exclusive, at_us)),
        }
    }
}

/// All rows, with look-up tables.
#[derive(Debug)]
pub(super) struct State<'a> {
    slots: Vec<Slot>,
    /// Per table: ids and their rows, sorted.
    ids: Vec<Vec<(&'a str, RowId)>>,
    /// Losing row and survivor.
    aliases: BTreeMap<RowId, RowId>,
    /// Per unique key: its value and who has it.
    keys: Vec<BTreeSet<(String, RowId)>>,
    /// Per reference: the id named and who names it.
    children: Vec<BTreeSet<(Arc<str>, RowId)>>,
    /// Per exclusive invariant: rows that run.
    running: Vec<BTreeSet<RowId>>,
    /// Rows that the transaction touched, as they were before.
    journal: Vec<(RowId, Slot)>,
    /// Per row: the transaction that last touched it.
    touched_in: Vec<u32>,
    transaction: u32,
    new_aliases: Vec<RowId>,
}

impl<'a> State<'a> {
    pub(super) fn new(app: &App, names: &'a [RowName]) -> Self {
        let mut ids: Vec<Vec<(&str, RowId)>> = vec![Vec::new(); app.schema.tables.len()];
        for (row, name) in (0..).zip(names) {
            ids[name.table].push((&name.id, row));
        }
        for ids in &mut ids {
            ids.sort_unstable();
        }
        Self {
            slots: vec![Slot::default(); names.len()],
            ids,
            aliases: BTreeMap::new(),
            keys: vec![BTreeSet::new(); app.policy.uniques.len()],
            children: vec![BTreeSet::new(); app.policy.references.len()],
            running: vec![BTreeSet::new(); app.policy.exclusives.len()],
            journal: Vec::new(),
            touched_in: vec![0; names.len()],
            transaction: 0,
            new_aliases: Vec::new(),
        }
    }

    /// A transaction begins: what happened before can no longer be undone.
    pub(super) fn begin(&mut self) {
        self.journal.clear();
        self.new_aliases.clear();
        self.transaction += 1;
    }

    /// Undoes the transaction.
    pub(super) fn roll_back(&mut self, tables: &[TableFacts<'_>], names: &[RowName]) {
        while let Some((row, slot)) = self.journal.pop() {
            let facts = &tables[names[row as usize].table];
            self.reindex(facts, row, slot.live.as_ref());
            self.slots[row as usize] = slot;
        }
        for losing in self.new_aliases.drain(..) {
            self.aliases.remove(&losing);
        }
        self.transaction += 1;
    }

    pub(super) fn slot(&self, row: RowId) -> &Slot {
        &self.slots[row as usize]
    }

    pub(super) fn live(&self, row: RowId) -> Option<&Row> {
        self.slots[row as usize].live.as_ref()
    }

    /// The rows that the transaction touched, as they were before it.
    pub(super) fn touched(&self) -> &[(RowId, Slot)] {
        &self.journal
    }

    /// What is remembered of a row, to be changed; its image is changed by [`State::write`] alone.
    pub(super) fn edit(&mut self, row: RowId) -> &mut Slot {
        let slot = &mut self.slots[row as usize];
        if self.touched_in[row as usize] != self.transaction {
            self.touched_in[row as usize] = self.transaction;
            self.journal.push((row, slot.clone()));
        }
        slot
    }

    /// Sets the image of a row.
    pub(super) fn write(&mut self, facts: &TableFacts<'_>, row: RowId, image: Option<Row>) {
        self.reindex(facts, row, image.as_ref());
        self.edit(row).live = image;
    }

    pub(super) fn alias(&mut self, losing: RowId, survivor: RowId) {
        self.aliases.insert(losing, survivor);
        self.new_aliases.push(losing);
    }

    pub(super) fn forget_alias(&mut self, losing: RowId) {
        self.aliases.remove(&losing);
    }

    /// The row that operations on this one act on.
    pub(super) fn resolve(&self, row: RowId) -> RowId {
        let mut at = row;
        // A chain is as long as the number of its merges; a circle cannot come from lawful merges.
        for _ in 0..=self.aliases.len() {
            match self.aliases.get(&at) {
                Some(survivor) => at = *survivor,
                None => return at,
            }
        }
        at
    }

    /// The row of the table with this id, if the history knows one.
    pub(super) fn find(&self, table: usize, id: &str) -> Option<RowId> {
        let ids = &self.ids[table];
        ids.binary_search_by_key(&id, |(known, _)| known).ok().map(|index| ids[index].1)
    }

    /// The live row of the table with this id.
    pub(super) fn find_live(&self, table: usize, id: &str) -> Option<RowId> {
        self.find(table, id).filter(|row| self.live(*row).is_some())
    }

    /// Live rows that name the id through the reference.
    pub(super) fn children(&self, reference: usize, id: &Arc<str>) -> Vec<RowId> {
        self.children[reference]
            .range((Arc::clone(id), 0)..=(Arc::clone(id), RowId::MAX))
            .map(|(_, child)| *child)
            .collect()
    }

    /// A live row other than this one that has the key.
    pub(super) fn holder(&self, unique: usize, key: String, except: RowId) -> Option<RowId> {
        let to = (key.clone(), RowId::MAX);
        self.keys[unique].range((key, 0)..=to).map(|(_, row)| *row).find(|row| *row != except)
    }

    /// Rows that run, other than this one.
    pub(super) fn running(&self, exclusive: usize, except: RowId) -> Vec<RowId> {
        self.running[exclusive].iter().copied().filter(|row| *row != except).collect()
    }

    fn reindex(&mut self, facts: &TableFacts<'_>, row: RowId, image: Option<&Row>) {
        let before = self.slots[row as usize].live.as_ref();
        for (index, unique) in &facts.uniques {
            let same = before.is_some() == image.is_some()
                && before.zip(image).is_none_or(|(old, new)| unique.columns.iter().all(|at| old[*at] == new[*at]));
            if same {
                continue;
            }
            let keys = &mut self.keys[*index];
            if let Some(key) = before.and_then(|old| key(old, &unique.columns)) {
                keys.remove(&(key, row));
            }
            if let Some(key) = image.and_then(|new| key(new, &unique.columns)) {
                keys.insert((key, row));
            }
        }
        for (index, reference) in &facts.references {
            let old = before.map_or(&Value::Null, |old| &old[reference.column]);
            let new = image.map_or(&Value::Null, |new| &new[reference.column]);
            if old == new {
                continue;
            }
            if let Value::Text(parent) = old {
                self.children[*index].remove(&(Arc::clone(parent), row));
            }
            if let Value::Text(parent) = new {
                self.children[*index].insert((Arc::clone(parent), row));
            }
        }
        for (index, exclusive) in &facts.exclusives {
            if image.is_some_and(|new| new[exclusive.running] == Value::Int(1)) {
                self.running[*index].insert(row);
            } else {
                self.running[*index].remove(&row);
            }
        }
    }
}

/// A unique key's value as text; `None` if it has a NULL, which collides with nothing.
pub(super) fn key(row: &[Value], columns: &[usize]) -> Option<String> {
    let mut key = String::new();
    for column in columns {
        match &row[*column] {
            Value::Null => return None,
            Value::Text(text) => key.push_str(text),
            Value::Int(int) | Value::Time(int) => {
                write!(key, "{int}").expect("writing to a string cannot fail");
            }
            // Adding zero makes one of the two zeros.
            Value::Real(real) => write!(key, "{}", real + 0.0).expect("writing to a string cannot fail"),
        }
        // No PostgreSQL text has a NUL, so that two columns cannot run together.
        key.push('\0');
    }
    Some(key)
}
