//! What can be taken away from a plan, one function each.
//!
//! Keys of steps and numbers of rows stay what they are.

use std::collections::BTreeSet;

use crate::plan::{Action, Expr, Intent, Plan, Step};

/// A column of a write: the step's place, the intent's place, the column's place.
pub(super) type Column = (usize, usize, usize);

/// The keys of transactions, the last first: what came last matters least.
pub(super) fn tx_keys(plan: &Plan) -> Vec<u32> {
    let is_tx = |step: &&Step| matches!(step.action, Action::Tx { .. });
    plan.steps.iter().rev().filter(is_tx).map(|step| step.key).collect()
}

pub(super) fn fault_keys(plan: &Plan) -> Vec<u32> {
    let is_fault = |step: &&Step| matches!(step.action, Action::Fault(_));
    plan.steps.iter().rev().filter(is_fault).map(|step| step.key).collect()
}

pub(super) fn keys_of_device(plan: &Plan, device: u32) -> Vec<u32> {
    plan.steps.iter().filter(|step| device_of(&step.action) == Some(device)).map(|step| step.key).collect()
}

fn device_of(action: &Action) -> Option<u32> {
    match action {
        Action::Tx { device, .. } => Some(*device),
        Action::Fault(fault) => fault.device(),
    }
}

pub(super) fn without_keys(plan: &Plan, keys: &[u32]) -> Plan {
    let keys: BTreeSet<u32> = keys.iter().copied().collect();
    let steps = plan.steps.iter().filter(|step| !keys.contains(&step.key)).cloned().collect();
    Plan { steps, ..plan.clone() }
}

/// Devices that do something, if several do; the last first.
pub(super) fn busy_devices(plan: &Plan) -> Vec<u32> {
    let busy: BTreeSet<u32> = plan.steps.iter().filter_map(|step| device_of(&step.action)).collect();
    if busy.len() > 1 { busy.into_iter().rev().collect() } else { Vec::new() }
}

/// Devices without a step, the last first; one device always stays.
pub(super) fn idle_devices(plan: &Plan) -> Vec<u32> {
    let busy: BTreeSet<u32> =
        plan.steps.iter().chain(&plan.resume).filter_map(|step| device_of(&step.action)).collect();
    let mut idle: Vec<u32> = (0..plan.devices.len() as u32).filter(|device| !busy.contains(device)).rev().collect();
    if idle.len() == plan.devices.len() {
        idle.pop();
    }
    idle
}

/// Without idle devices; those that stay move up.
pub(super) fn without_devices(plan: &Plan, gone: &[u32]) -> Plan {
    let mut plan = plan.clone();
    let place = |device: u32| device - gone.iter().filter(|other| **other < device).count() as u32;
    for step in plan.steps.iter_mut().chain(&mut plan.resume) {
        if let Some(device) = device_mut(&mut step.action) {
            *device = place(*device);
        }
    }
    let mut index = 0;
    plan.devices.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    plan
}

/// The first device does what the second did, and the second goes.
pub(super) fn merged_devices(plan: &Plan, first: u32, second: u32) -> Plan {
    let mut plan = plan.clone();
    for step in plan.steps.iter_mut().chain(&mut plan.resume) {
        if let Some(device) = device_mut(&mut step.action)
            && *device == second
        {
            *device = first;
        }
    }
    without_devices(&plan, &[second])
}

fn device_mut(action: &mut Action) -> Option<&mut u32> {
    match action {
        Action::Tx { device, .. } => Some(device),
        Action::Fault(fault) => fault.device_mut(),
    }
}

/// The intents of transactions that have several: (the step's place, the intent's place), the last first.
pub(super) fn intents(plan: &Plan) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    for (place, step) in plan.steps.iter().enumerate().rev() {
        let intents = step.action.intents().len();
        if intents > 1 {
            all.extend((0..intents).rev().map(|intent| (place, intent)));
        }
    }
    all
}

pub(super) fn without_intents(plan: &Plan, gone: &[(usize, usize)]) -> Plan {
    let mut plan = plan.clone();
    // Later places first, so that earlier ones stay valid.
    let gone: BTreeSet<&(usize, usize)> = gone.iter().collect();
    for (place, intent) in gone.iter().rev() {
        if let Some(intents) = plan.steps[*place].action.intents_mut() {
            intents.remove(*intent);
        }
    }
    plan.steps.retain_mut(|step| step.action.intents_mut().is_none_or(|intents| !intents.is_empty()));
    plan
}

pub(super) fn seed_rows(plan: &Plan) -> Vec<u32> {
    plan.seed_rows.iter().map(|row| row.row).collect()
}

pub(super) fn without_seed_rows(plan: &Plan, gone: &[u32]) -> Plan {
    let seed_rows = plan.seed_rows.iter().filter(|row| !gone.contains(&row.row)).cloned().collect();
    Plan { seed_rows, ..plan.clone() }
}

/// Keeps the rows that an intent or a kept row names.
pub(super) fn without_unused_seed_rows(plan: &Plan) -> Plan {
    let mut used: BTreeSet<u32> = BTreeSet::new();
    for step in plan.steps.iter().chain(&plan.resume) {
        step.action.intents().iter().for_each(|intent| named_rows(intent, &mut used));
    }
    // A row's parents may have parents.
    loop {
        let before = used.len();
        for row in &plan.seed_rows {
            if used.contains(&row.row) {
                row.set.iter().for_each(|(_, value)| named_by(value, &mut used));
            }
        }
        if used.len() == before {
            break;
        }
    }
    let seed_rows = plan.seed_rows.iter().filter(|row| used.contains(&row.row)).cloned().collect();
    Plan { seed_rows, ..plan.clone() }
}

fn named_by(value: &Expr, used: &mut BTreeSet<u32>) {
    if let Expr::Id(row) = value {
        used.insert(*row);
    }
}

fn named_rows(intent: &Intent, used: &mut BTreeSet<u32>) {
    match intent {
        Intent::Insert { row, set, .. } | Intent::Ensure { row, set, .. } | Intent::Set { row, set } => {
            used.insert(*row);
            set.iter().for_each(|(_, value)| named_by(value, used));
        }
        Intent::Add { row, element, .. } | Intent::Remove { row, element, .. } => {
            used.insert(*row);
            named_by(element, used);
        }
        Intent::Increment { row, .. } | Intent::Delete { row } => {
            used.insert(*row);
        }
        Intent::MoveAfter { list, .. } => used.extend(list),
        Intent::Read { rows } => used.extend(rows),
    }
}

/// The rows of lists that are neither moved nor moved behind, and those of reads that look at several:
/// (the step's place, the intent's place, the row).
pub(super) fn list_rows(plan: &Plan) -> Vec<(usize, usize, u32)> {
    let mut all = Vec::new();
    for (place, step) in plan.steps.iter().enumerate() {
        for (index, intent) in step.action.intents().iter().enumerate() {
            match intent {
                Intent::MoveAfter { row, after, list, .. } => {
                    let idle = list.iter().filter(|other| *other != row && Some(**other) != *after);
                    all.extend(idle.map(|other| (place, index, *other)));
                }
                Intent::Read { rows } if rows.len() > 1 => all.extend(rows[1..].iter().map(|row| (place, index, *row))),
                _ => {}
            }
        }
    }
    all
}

pub(super) fn without_list_rows(plan: &Plan, gone: &[(usize, usize, u32)]) -> Plan {
    let mut plan = plan.clone();
    for (place, index, gone) in gone {
        if let Action::Tx { intents, .. } = &mut plan.steps[*place].action
            && let Intent::MoveAfter { list: rows, .. } | Intent::Read { rows } = &mut intents[*index]
        {
            rows.retain(|row| row != gone);
        }
    }
    plan
}

/// Columns that a write may do without: those of seed rows (whose step's place is that of the seed row), or those
/// of transactions.
pub(super) fn columns(plan: &Plan, of_seeds: bool) -> Vec<Column> {
    let mut all = Vec::new();
    if of_seeds {
        for (place, row) in plan.seed_rows.iter().enumerate() {
            all.extend((0..row.set.len()).rev().map(|column| (place, usize::MAX, column)));
        }
        return all;
    }
    for (place, step) in plan.steps.iter().enumerate() {
        for (index, intent) in step.action.intents().iter().enumerate() {
            let removable: Vec<usize> = match intent {
                Intent::Insert { set, .. } => (0..set.len()).collect(),
                Intent::Ensure { set, key, .. } => (0..set.len()).filter(|at| !key.contains(&set[*at].0)).collect(),
                Intent::Set { set, .. } if set.len() > 1 => (0..set.len()).collect(),
                _ => Vec::new(),
            };
            all.extend(removable.into_iter().rev().map(|column| (place, index, column)));
        }
    }
    all
}

pub(super) fn without_columns(plan: &Plan, gone: &[Column]) -> Plan {
    let mut plan = plan.clone();
    let gone: BTreeSet<&Column> = gone.iter().collect();
    for (place, index, column) in gone.iter().rev() {
        if *index == usize::MAX {
            plan.seed_rows[*place].set.remove(*column);
        } else if let Some(intents) = plan.steps[*place].action.intents_mut() {
            match &mut intents[*index] {
                Intent::Insert { set, .. } | Intent::Ensure { set, .. } => {
                    set.remove(*column);
                }
                // An update needs a column: its last one stays.
                Intent::Set { set, .. } if set.len() > 1 => {
                    set.remove(*column);
                }
                _ => {}
            }
        }
    }
    plan
}
