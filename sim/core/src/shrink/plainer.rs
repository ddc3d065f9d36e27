//! What can be made plainer in a plan without taking anything away: texts, clocks, links, times, faults.

use serde_json::Value as Json;

use super::edits::Column;
use crate::plan::{Action, Expr, Fault, Instant, Intent, Link, Part, Plan, Server};

/// A text of at least so many bytes is worth shortening.
const LONG_TEXT: usize = 12;
/// What faults are shortened to, in microseconds, the shortest first.
const DURATIONS_US: [u64; 4] = [1_000_000, 5_000_000, 10_000_000, 30_000_000];
/// A token lifetime that no plan outlives.
const DAY_S: u32 = 86_400;

/// Writes with a text that could be shorter: (the step's place, the intent's place, the column's place).
pub(super) fn long_texts(plan: &Plan) -> Vec<Column> {
    let mut all = Vec::new();
    for (place, step) in plan.steps.iter().enumerate() {
        for (index, intent) in step.action.intents().iter().enumerate() {
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
        if let Some(intents) = plan.steps[*place].action.intents_mut()
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
        Fault::BackendKilled { device, instant: Instant::AfterCommit, down_us } => {
            faults.push(Fault::BackendKilled { device, instant: Instant::BeforeCommit, down_us });
            faults.push(Fault::BackendDown { for_us: down_us });
        }
        Fault::BackendKilled { down_us, .. } => faults.push(Fault::BackendDown { for_us: down_us }),
        Fault::PostgresDown { for_us } | Fault::PostgresPaused { for_us } => faults.push(Fault::BackendDown { for_us }),
        // What other worlds have, too.
        Fault::Container { part: Part::Backend, for_us, .. } => faults.push(Fault::BackendDown { for_us }),
        Fault::Container { part: Part::Service, for_us, .. } => faults.push(Fault::ServiceDown { for_us }),
        Fault::Container { part: Part::Postgres, for_us, .. } => faults.push(Fault::PostgresDown { for_us }),
        Fault::SlotDropped { for_us } | Fault::ReplicationCut { for_us } => {
            faults.push(Fault::ReplicationStalled { for_us });
        }
        Fault::CopyRestored { device, age_us, down_us } => {
            faults.push(Fault::StorageLost { device, down_us });
            faults.push(Fault::CopyRestored { device, age_us: age_us / 2, down_us });
        }
        Fault::StorageLost { device, down_us } => faults.push(Fault::Crash { device, after_steps: 0, down_us }),
        Fault::SyncConfigChanged { down_us } => faults.push(Fault::ServiceDown { for_us: down_us }),
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
        | Fault::ReplicationStalled { for_us }
        | Fault::ReplicationCut { for_us }
        | Fault::SlotDropped { for_us }
        | Fault::PostgresDown { for_us }
        | Fault::PostgresPaused { for_us }
        | Fault::Container { for_us, .. } => Some(for_us),
        Fault::Crash { down_us, .. }
        | Fault::BackendKilled { down_us, .. }
        | Fault::SyncConfigChanged { down_us }
        | Fault::StorageLost { down_us, .. }
        | Fault::CopyRestored { down_us, .. } => Some(down_us),
        Fault::TabClose { handover_us, .. } => Some(handover_us),
        Fault::KeyRotated { lag_us } => Some(lag_us),
        Fault::StreamCut { .. }
        | Fault::ClockJump { .. }
        | Fault::Compaction
        | Fault::CacheFlushed
        | Fault::ServerWrite { .. } => None,
    }
}
