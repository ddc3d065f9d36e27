//! What can be made plainer in a plan without taking anything away: texts, clocks, links, times, faults.

use serde_json::Value as Json;

use super::edits::Column;
use crate::plan::{Action, Expr, Intent, Link, Plan};

/// A text of at least this many bytes is worth shortening.
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
            && let Intent::Insert { set, .. } | Intent::Ensure { set, .. } | Intent::Set { set, .. } =
                &mut intents[*index]
            && let Some(short) = shorter(&set[*column].1)
        {
            set[*column].1 = short;
        }
    }
    plan
}

/// Only the mark of a generated text, `~17.2`, which still says who wrote it. JSON stays JSON.
fn shorter(value: &Expr) -> Option<Expr> {
    let Expr::Value(Json::String(text)) = value else { return None };
    if text.len() < LONG_TEXT {
        return None;
    }
    let mark = text.rfind('~')?;
    let end = text[mark + 1..]
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .map_or(text.len(), |end| mark + 1 + end);
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
    let mut faults = (fault.spec().simpler)(fault);
    let drawn = fault.time_us().unwrap_or(0);
    for shorter in DURATIONS_US.into_iter().filter(|shorter| *shorter < drawn) {
        let mut fault = fault.clone();
        if let Some(for_us) = fault.time_us_mut() {
            *for_us = shorter;
        }
        faults.push(fault);
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
