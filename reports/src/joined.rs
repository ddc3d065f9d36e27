//! A history whose events are joined: which upload led to which commit, what an apply changed on its device, which
//! faults were active during a transaction, and what each register holds in the end.
//!
//! This judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fixtures::{App, Row, Value};
use sim_core::history::{Change, Commit, LocalOp, Op, Phase, RowId, Scope, Upload, What, Who};
use sim_core::plan::Fault;
use sim_core::{History, Plan};

use crate::difference::{Difference, differences};
use crate::faults::{Lifeline, lifeline, state};
use crate::initial_rows::initial_rows;
use crate::registers::{Register, RegisterState};
use crate::words::{Names, device_of};

/// A history with what belongs together.
#[derive(Debug)]
pub(crate) struct JoinedHistory<'a> {
    pub(crate) names: Names<'a>,
    pub(crate) attempts: Vec<Attempt>,
    /// The attempt that an event is part of.
    pub(crate) attempt_of: BTreeMap<usize, usize>,
    /// What an apply changed of what its device showed.
    pub(crate) applied: BTreeMap<usize, Vec<Difference>>,
    /// The faults that were active on a device when it ran a transaction: `offline`.
    pub(crate) conditions: BTreeMap<usize, Vec<String>>,
    /// Every register that a device wrote.
    pub(crate) registers: Vec<Register>,
    /// Rows that existed before the plan began.
    pub(crate) initial: BTreeMap<RowId, Row>,
    /// Events that only fill server and devices with seed rows: the first commits, the first whole apply of each device.
    pub(crate) seeding: BTreeSet<usize>,
    transactions: BTreeMap<(u32, i64), usize>,
    operations: BTreeMap<(u32, i64), (usize, usize)>,
    written: BTreeMap<(RowId, usize), Vec<(Value, u32)>>,
    devices_end: Vec<BTreeMap<RowId, Row>>,
    server_end: BTreeMap<RowId, Row>,
}

/// One attempt to upload a transaction, from sending to its end.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) device: u32,
    pub(crate) invoke: usize,
    pub(crate) commits: Vec<usize>,
    pub(crate) end: Option<usize>,
}

impl<'a> JoinedHistory<'a> {
    pub(crate) fn new(plan: &'a Plan, history: &'a History, app: &'a App) -> Self {
        let names = Names::new(plan, history, app);
        let initial = initial_rows(plan, history, app);
        let devices = names.devices() as usize;
        let mut joined = Self {
            names,
            attempts: Vec::new(),
            attempt_of: BTreeMap::new(),
            applied: BTreeMap::new(),
            conditions: BTreeMap::new(),
            registers: Vec::new(),
            seeding: BTreeSet::new(),
            transactions: BTreeMap::new(),
            operations: BTreeMap::new(),
            written: BTreeMap::new(),
            devices_end: vec![initial.clone(); devices],
            server_end: initial.clone(),
            initial,
        };
        joined.read_events();
        joined
    }

    fn read_events(&mut self) {
        let history = self.names.history;
        let mut registers: BTreeMap<(RowId, Option<usize>), Register> = BTreeMap::new();
        let mut latest: BTreeMap<(u32, i64), usize> = BTreeMap::new();
        let mut active: Vec<(u32, &Fault)> = Vec::new();
        let mut started: BTreeSet<u32> = BTreeSet::new();
        for (index, event) in history.events.iter().enumerate() {
            let device = device_of(event.who);
            match (&event.what, device) {
                (What::Tx(tx), Some(device)) => {
                    let own_faults = active.iter().filter(|(_, fault)| lifeline(fault) == Lifeline::Device(device));
                    self.conditions.insert(index, own_faults.filter_map(|(_, fault)| state(fault)).collect());
                    if let Some(tx_id) = tx.tx_id {
                        self.transactions.insert((device, tx_id), index);
                    }
                    for (position, op) in tx.ops.iter().enumerate() {
                        self.operations.insert((device, op.op_id), (index, position));
                        self.write_local(device, op);
                        self.record_writer(&mut registers, index, device, op);
                    }
                }
                (What::Upload(upload), Some(device)) => self.upload(&mut latest, index, device, upload),
                (What::Commit(commit), _) => {
                    self.commit(&latest, index, commit);
                    if commit.origin.is_none() && event.at_us <= 0 {
                        self.seeding.insert(index);
                    }
                }
                (What::Apply(apply), Some(device)) => {
                    let first = apply.whole && started.insert(device);
                    let differences = self.apply(device, &apply.rows, apply.whole);
                    if first {
                        self.seeding.insert(index);
                    } else {
                        started.insert(device);
                        self.applied.insert(index, differences);
                    }
                }
                (What::Read { scope: Scope::Final, rows }, _) => {
                    let rows = rows.iter().filter_map(|(row, seen)| Some((*row, seen.clone()?))).collect();
                    match event.who {
                        Who::Client(device) => {
                            if let Some(end) = self.devices_end.get_mut(device as usize) {
                                *end = rows;
                            }
                        }
                        Who::Server => self.server_end = rows,
                        Who::Run => {}
                    }
                }
                (What::Fault { phase: Phase::Invoke, key, fault }, _) => active.push((*key, fault)),
                (What::Fault { key, .. }, _) => active.retain(|(other, _)| other != key),
                _ => {}
            }
        }
        self.registers = registers.into_values().collect();
    }

    /// Applies a local operation to the rows of its device.
    fn write_local(&mut self, device: u32, op: &LocalOp) {
        let width = self.names.table(op.row).map_or(0, |table| self.names.app.schema.tables[table].columns.len());
        let Some(state) = self.devices_end.get_mut(device as usize) else { return };
        if op.op == Op::Delete {
            state.remove(&op.row);
            return;
        }
        let base = state.get(&op.row).filter(|_| op.op == Op::Patch);
        let mut row: Vec<Value> = base.map_or_else(|| vec![Value::Null; width], |row| row.to_vec());
        let known = if base.is_some() { &[][..] } else { &op.old[..] };
        for (column, value) in known.iter().chain(&op.data) {
            if let Some(current) = row.get_mut(*column) {
                *current = value.clone();
            }
        }
        state.insert(op.row, Row::from(row));
    }

    fn record_writer(
        &mut self,
        registers: &mut BTreeMap<(RowId, Option<usize>), Register>,
        index: usize,
        device: u32,
        op: &LocalOp,
    ) {
        let mut add_writer = |column| {
            let new = Register { row: op.row, column, writers: BTreeSet::new(), first: index };
            registers.entry((op.row, column)).or_insert(new).writers.insert(device);
        };
        if op.op == Op::Delete {
            add_writer(None);
        }
        for (column, value) in &op.data {
            if !self.names.is_clock(op.row, *column) {
                add_writer(Some(*column));
            }
            let written = self.written.entry((op.row, *column)).or_default();
            if !written.iter().any(|(other, by)| other == value && *by == device) {
                written.push((value.clone(), device));
            }
        }
    }

    fn upload(&mut self, latest: &mut BTreeMap<(u32, i64), usize>, index: usize, device: u32, upload: &Upload) {
        if upload.phase == Phase::Invoke {
            latest.insert((device, upload.tx_id), self.attempts.len());
            self.attempt_of.insert(index, self.attempts.len());
            self.attempts.push(Attempt { device, invoke: index, commits: Vec::new(), end: None });
        } else if let Some(attempt) = latest.get(&(device, upload.tx_id)) {
            self.attempt_of.insert(index, *attempt);
            self.attempts[*attempt].end = Some(index);
        }
    }

    fn commit(&mut self, latest: &BTreeMap<(u32, i64), usize>, index: usize, commit: &Commit) {
        if let Some(attempt) = commit.origin.and_then(|origin| latest.get(&(origin.device, origin.tx_id))) {
            self.attempt_of.insert(index, *attempt);
            self.attempts[*attempt].commits.push(index);
        }
        for change in &commit.changes {
            match &change.after {
                Some(row) => self.server_end.insert(change.row, Arc::clone(row)),
                None => self.server_end.remove(&change.row),
            };
        }
    }

    fn apply(&mut self, device: u32, rows: &[(RowId, Option<Row>)], whole: bool) -> Vec<Difference> {
        let Some(state) = self.devices_end.get_mut(device as usize) else { return Vec::new() };
        let mut changes = Vec::new();
        if whole {
            let present: BTreeSet<RowId> = rows.iter().filter(|(_, row)| row.is_some()).map(|(row, _)| *row).collect();
            let missing: Vec<RowId> = state.keys().filter(|row| !present.contains(row)).copied().collect();
            for row in missing {
                state.remove(&row);
                changes.push(Difference::Disappears(row));
            }
        }
        for (row, after) in rows {
            let before = match after {
                Some(after) => state.insert(*row, Arc::clone(after)),
                None => state.remove(row),
            };
            changes.extend(differences(&self.names, *row, before.as_ref(), after.as_ref()));
        }
        changes
    }

    /// The local transaction behind an upload.
    pub(crate) fn transaction(&self, device: u32, tx_id: i64) -> Option<usize> {
        self.transactions.get(&(device, tx_id)).copied()
    }

    /// A queued operation.
    pub(crate) fn operation(&self, device: u32, op_id: i64) -> Option<&'a LocalOp> {
        let (event, position) = self.operations.get(&(device, op_id))?;
        match &self.names.history.events[*event].what {
            What::Tx(tx) => tx.ops.get(*position),
            _ => None,
        }
    }

    /// The activity of the transaction behind an upload.
    pub(crate) fn activity(&self, device: u32, tx_id: i64) -> Option<&'a str> {
        match &self.names.history.events[self.transaction(device, tx_id)?].what {
            What::Tx(tx) => Some(&tx.activity),
            _ => None,
        }
    }

    /// The device that wrote this value there, if it was only one.
    pub(crate) fn only_writer_of_value(&self, row: RowId, column: usize, value: &Value) -> Option<u32> {
        let written = self.written.get(&(row, column))?;
        let mut by = written.iter().filter(|(other, _)| other == value).map(|(_, device)| *device);
        by.next().filter(|_| by.next().is_none())
    }

    /// The value that the device had seen, if a commit replaced a newer one that it had not seen.
    pub(crate) fn value_seen_before(&self, commit: &Commit, change: &Change, column: usize) -> Option<&'a Value> {
        let op = self.operation(commit.origin?.device, change.op_id?)?;
        let value = |list: &'a [(usize, Value)]| list.iter().find(|(at, _)| *at == column).map(|(_, value)| value);
        let (seen, sent) = (value(&op.old)?, value(&op.data)?);
        let before = change.before.as_ref()?.get(column)?;
        let after = change.after.as_ref()?.get(column)?;
        (before != seen && after == sent && before != after).then_some(seen)
    }

    /// The device that wrote the row, if it was only one.
    pub(crate) fn only_writer_of_row(&self, row: RowId) -> Option<u32> {
        let writers: BTreeSet<u32> = self
            .registers
            .iter()
            .filter(|register| register.row == row)
            .flat_map(|register| register.writers.iter().copied())
            .collect();
        writers.first().copied().filter(|_| writers.len() == 1)
    }

    /// The rows that an event is about.
    pub(crate) fn rows_of(&self, index: usize) -> Vec<RowId> {
        let Some(event) = self.names.history.events.get(index) else { return Vec::new() };
        match (&event.what, device_of(event.who)) {
            (What::Tx(tx), _) => tx.ops.iter().map(|op| op.row).collect(),
            (What::Upload(Upload { tx_id, .. }) | What::Complete { tx_id }, Some(device)) => {
                self.transaction(device, *tx_id).map(|tx| self.rows_of(tx)).unwrap_or_default()
            }
            (What::Commit(commit), _) => {
                let changed = commit.changes.iter().map(|change| change.row);
                let own = commit.origin.and_then(|origin| self.transaction(origin.device, origin.tx_id));
                changed.chain(own.map(|tx| self.rows_of(tx)).unwrap_or_default()).collect()
            }
            (What::Apply(apply), _) => apply.rows.iter().map(|(row, _)| *row).collect(),
            (What::Read { scope: Scope::Look, rows }, _) => rows.iter().map(|(row, _)| *row).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether another fault of the same kind, on the same device, lasts beyond the end of this one: what they do is undone
    /// with the last of them.
    pub(crate) fn is_outlasted(&self, end: usize, fault: &Fault) -> bool {
        let alike = |other: &Fault| other.name() == fault.name() && other.device() == fault.device();
        let events = self.names.history.events.iter().take(end + 1);
        let active = events.fold(0_i64, |active, event| match &event.what {
            What::Fault { phase: Phase::Invoke, fault, .. } if alike(fault) => active + 1,
            What::Fault { phase: Phase::Ok, fault, .. } if alike(fault) => active - 1,
            _ => active,
        });
        active > 0
    }

    /// What the server holds in the end.
    pub(crate) fn server_state(&self, register: &Register) -> RegisterState {
        register.state_in(&self.server_end)
    }

    /// What a device holds in the end.
    pub(crate) fn device_state(&self, device: u32, register: &Register) -> RegisterState {
        self.devices_end.get(device as usize).map_or(RegisterState::Absent, |rows| register.state_in(rows))
    }

    /// The registers to show in the end: those behind the highlighted events first, then those that most devices
    /// wrote.
    pub(crate) fn main_registers(&self, highlight: &[usize], most: usize) -> Vec<Register> {
        let rows: BTreeSet<RowId> = highlight.iter().flat_map(|event| self.rows_of(*event)).collect();
        let mut registers = self.registers.clone();
        registers.sort_by_key(|register| {
            (
                !rows.contains(&register.row),
                std::cmp::Reverse(register.writers.len()),
                register.first,
                register.row,
                register.column,
            )
        });
        if !rows.is_empty() && registers.iter().any(|register| rows.contains(&register.row)) {
            registers.retain(|register| rows.contains(&register.row));
        }
        registers.truncate(most);
        registers
    }
}
