//! What can be taken away from a plan or made plainer, one function each.
//!
//! Keys of steps and numbers of rows stay what they are.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::plan::{Action, Expr, Fault, Intent, Link, Plan, Server, Step};

/// A text of at least so many bytes is worth shortening.
const LONG_TEXT: usize = 12;
/// What faults are shortened to, in microseconds, the shortest first.
const DURATIONS_US: [u64; 4] = [1_000_000, 5_000_000, 10_000_000, 30_000_000];
/// A token lifetime that no plan outlives.
const DAY_S: u32 = 86_400;

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
        Action::Fault(fault) => match fault {
            Fault::Offline { device, .. }
            | Fault::Partition { device, .. }
            | Fault::Slow { device, .. }
            | Fault::Lossy { device, .. }
            | Fault::StreamCut { device }
            | Fault::HalfOpen { device, .. }
            | Fault::Crash { device, .. }
            | Fault::Suspend { device, .. }
            | Fault::TabClose { device, .. }
            | Fault::ClockJump { device, .. }
            | Fault::WrongAudience { device, .. } => Some(device),
            Fault::BackendDown { .. }
            | Fault::ServiceDown { .. }
            | Fault::ServicePaused { .. }
            | Fault::ReplicationStalled { .. } => None,
        },
    }
}

/// The intents of transactions that have several: (the step's place, the intent's place), the last first.
pub(super) fn intents(plan: &Plan) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    for (place, step) in plan.steps.iter().enumerate().rev() {
        if let Action::Tx { intents, .. } = &step.action
            && intents.len() > 1
        {
            all.extend((0..intents.len()).rev().map(|intent| (place, intent)));
        }
    }
    all
}

pub(super) fn without_intents(plan: &Plan, gone: &[(usize, usize)]) -> Plan {
    let mut plan = plan.clone();
    // Later places first, so that earlier ones stay valid.
    let gone: BTreeSet<&(usize, usize)> = gone.iter().collect();
    for (place, intent) in gone.iter().rev() {
        if let Action::Tx { intents, .. } = &mut plan.steps[*place].action {
            intents.remove(*intent);
        }
    }
    plan.steps.retain(|step| !matches!(&step.action, Action::Tx { intents, .. } if intents.is_empty()));
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
        if let Action::Tx { intents, .. } = &step.action {
            intents.iter().for_each(|intent| named_rows(intent, &mut used));
        }
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
        let Action::Tx { intents, .. } = &step.action else { continue };
        for (index, intent) in intents.iter().enumerate() {
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
        let Action::Tx { intents, .. } = &step.action else { continue };
        for (index, intent) in intents.iter().enumerate() {
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
        } else if let Action::Tx { intents, .. } = &mut plan.steps[*place].action {
            match &mut intents[*index] {
                Intent::Insert { set, .. } | Intent::Ensure { set, .. } => {
                    set.remove(*column);
                }
                // An update of nothing is none: its last column stays.
                Intent::Set { set, .. } if set.len() > 1 => {
                    set.remove(*column);
                }
                _ => {}
            }
        }
    }
    plan
}

/// Writes with a text that could be shorter: (the step's place, the intent's place, the column's place).
pub(super) fn long_texts(plan: &Plan) -> Vec<Column> {
    let mut all = Vec::new();
    for (place, step) in plan.steps.iter().enumerate() {
        let Action::Tx { intents, .. } = &step.action else { continue };
        for (index, intent) in intents.iter().enumerate() {
            if let Intent::Insert { set, .. } | Intent::Ensure { set, .. } | Intent::Set { set, .. } = intent {
                let long = set.iter().enumerate().filter(|(_, (_, value))| shorter(value).is_some());
                all.extend(long.map(|(column, _)| (place, index, column)));
            }
        }
    }
    all
}

pub(super) fn with_short_texts(plan: &Plan, texts: &[Column]) -> Plan {
    let mut plan = plan.clone();
    for (place, index, column) in texts {
        if let Action::Tx { intents, .. } = &mut plan.steps[*place].action
            && let Intent::Insert { set, .. } | Intent::Ensure { set, .. } | Intent::Set { set, .. } = &mut intents[*index]
            && let Some(short) = shorter(&set[*column].1)
        {
            set[*column].1 = short;
        }
    }
    plan
}

/// A generated text's own mark alone, `~17.2`, which still says whose it is. JSON keeps being JSON.
fn shorter(value: &Expr) -> Option<Expr> {
    let Expr::Value(Json::String(text)) = value else { return None };
    if text.len() < LONG_TEXT {
        return None;
    }
    let mark = text.rfind('~')?;
    let end = text[mark + 1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.').map_or(text.len(), |end| mark + 1 + end);
    let mark = &text[mark..end];
    let is_json = matches!(text.as_bytes()[0], b'{' | b'[');
    let short = if is_json { format!("[\"{mark}\"]") } else { mark.to_owned() };
    (short.len() < text.len()).then(|| Expr::Value(Json::from(short)))
}

pub(super) fn skewed_devices(plan: &Plan) -> Vec<u32> {
    (0..plan.devices.len() as u32).filter(|device| plan.devices[*device as usize].clock_skew_us != 0).collect()
}

pub(super) fn without_skew(plan: &Plan, devices: &[u32]) -> Plan {
    let mut plan = plan.clone();
    for device in devices {
        plan.devices[*device as usize].clock_skew_us = 0;
    }
    plan
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of several edits, some of which may not apply")]
pub(super) fn with_fixed_link(plan: &Plan) -> Option<Plan> {
    let latency = plan.link.latency_min_us;
    Some(Plan { link: Link { latency_min_us: latency, latency_max_us: latency }, ..plan.clone() })
}

pub(super) fn with_long_tokens(plan: &Plan) -> Option<Plan> {
    (plan.token_lifetime_s < DAY_S).then(|| Plan { token_lifetime_s: DAY_S, ..plan.clone() })
}

/// Nothing waits longer than this for the next step; the first step is not later than this either.
pub(super) fn with_gaps_of_at_most(plan: &Plan, gap_us: i64) -> Plan {
    let mut plan = plan.clone();
    let (mut before, mut shift) = (0, 0);
    for step in &mut plan.steps {
        let gap = step.at_us - before;
        before = step.at_us;
        shift += (gap - gap_us).max(0);
        step.at_us -= shift;
    }
    plan
}

/// Times as people write them; the order stays.
pub(super) fn with_times_rounded_to(plan: &Plan, unit_us: i64) -> Plan {
    let mut plan = plan.clone();
    for step in plan.steps.iter_mut().chain(&mut plan.resume) {
        step.at_us -= step.at_us % unit_us;
    }
    plan.steps.sort_by_key(|step| (step.at_us, step.key));
    plan.resume.sort_by_key(|step| (step.at_us, step.key));
    plan
}

/// Plans in which the fault in this place is plainer, the plainest first; none if there is no fault.
pub(super) fn plainer_faults(plan: &Plan, place: usize) -> Vec<Plan> {
    let Action::Fault(fault) = &plan.steps[place].action else { return Vec::new() };
    let mut faults = Vec::new();
    if let Fault::Lossy { device, server, request_lost, reply_lost, duplicated, for_us } = *fault {
        let lossy = |request_lost, reply_lost, duplicated, server| Fault::Lossy {
            device,
            server,
            request_lost,
            reply_lost,
            duplicated,
            for_us,
        };
        // One fate for all requests, where there was one for some.
        let fates = [(request_lost, (100, 0, 0)), (reply_lost, (0, 100, 0)), (duplicated, (0, 0, 100))];
        for (drawn, (request, reply, twice)) in fates {
            if drawn > 0 {
                faults.push(lossy(request, reply, twice, Server::Backend));
                faults.push(lossy(request, reply, twice, server));
            }
        }
    }
    match *fault {
        Fault::Crash { device, after_steps, down_us } if after_steps > 0 => {
            faults.push(Fault::Crash { device, after_steps: 0, down_us });
            faults.push(Fault::Crash { device, after_steps: after_steps - 1, down_us });
        }
        Fault::Partition { device, for_us, .. } => faults.push(Fault::Offline { device, for_us }),
        Fault::Slow { device, latency_us, jitter_us, bandwidth, for_us } if jitter_us > 0 || bandwidth > 0 => {
            faults.push(Fault::Slow { device, latency_us, jitter_us: 0, bandwidth: 0, for_us });
        }
        _ => {}
    }
    let mut shortened = fault.clone();
    if let Some(for_us) = duration_mut(&mut shortened) {
        let drawn = *for_us;
        for shorter in DURATIONS_US {
            if shorter < drawn {
                let mut fault = fault.clone();
                if let Some(for_us) = duration_mut(&mut fault) {
                    *for_us = shorter;
                }
                faults.push(fault);
            }
        }
    }
    faults.dedup();
    faults
        .into_iter()
        .filter(|plainer| plainer != fault)
        .map(|plainer| {
            let mut plan = plan.clone();
            plan.steps[place].action = Action::Fault(plainer);
            plan
        })
        .collect()
}

fn duration_mut(fault: &mut Fault) -> Option<&mut u64> {
    match fault {
        Fault::Offline { for_us, .. }
        | Fault::Partition { for_us, .. }
        | Fault::Slow { for_us, .. }
        | Fault::Lossy { for_us, .. }
        | Fault::HalfOpen { for_us, .. }
        | Fault::Suspend { for_us, .. }
        | Fault::WrongAudience { for_us, .. }
        | Fault::BackendDown { for_us }
        | Fault::ServiceDown { for_us }
        | Fault::ServicePaused { for_us }
        | Fault::ReplicationStalled { for_us } => Some(for_us),
        Fault::Crash { down_us, .. } => Some(down_us),
        Fault::TabClose { handover_us, .. } => Some(handover_us),
        Fault::StreamCut { .. } | Fault::ClockJump { .. } => None,
    }
}
