//! In which order things are taken away: what is large first, what is cosmetic last, and all again while it helps.

use super::edits::{self, Column};
use super::plainer;
use super::repair;
use super::search::Search;
use crate::plan::Plan;

/// How often all passes are repeated.
const ROUNDS_MAX: usize = 4;

/// A plan of no more steps than this is not long.
const SHORT: usize = 32;

pub(super) fn run(search: &mut Search<'_>) {
    beginning(search);
    for _ in 0..ROUNDS_MAX {
        let before = search.plan.clone();
        steps(search);
        devices(search);
        inside(search);
        make_plainer(search);
        if search.stopped || search.plan == before {
            break;
        }
    }
}

/// How a long plan begins: what goes wrong often does early, and a beginning takes a fraction of the whole to run.
fn beginning(search: &mut Search<'_>) {
    let mut length = SHORT / 2;
    while length < search.plan.steps.len() && search.plan.steps.len() > SHORT && !search.stopped {
        let first = |length: usize| {
            let steps = search.plan.steps.iter().take(length).cloned().collect();
            repair::repaired(Plan { steps, resume: Vec::new(), ..search.plan.clone() })
        };
        // Few at once: each costs twice as much as the one before.
        if search.take_first(vec![first(length), first(2 * length)]).is_some() {
            return;
        }
        length *= 4;
    }
}

/// Whole steps.
fn steps(search: &mut Search<'_>) {
    search.try_each(&[&|plan| Some(Plan { resume: Vec::new(), ..plan.clone() }), &|plan| {
        Some(edits::without_keys(plan, &edits::fault_keys(plan)))
    }]);
    // Everything of one device at once, before single steps.
    search.reduce(edits::busy_devices, |plan, devices| {
        let keys: Vec<u32> = devices.iter().flat_map(|device| edits::keys_of_device(plan, *device)).collect();
        edits::without_keys(plan, &keys)
    });
    search.reduce(edits::tx_keys, edits::without_keys);
    search.reduce(edits::fault_keys, edits::without_keys);
    search.reduce(
        |plan| plan.resume.iter().map(|step| step.key).collect(),
        |plan, keys| {
            let resume = plan.resume.iter().filter(|step| !keys.contains(&step.key)).cloned().collect();
            Plan { resume, ..plan.clone() }
        },
    );
}

/// Whole devices: idle ones go; one does what two did.
fn devices(search: &mut Search<'_>) {
    search.reduce(edits::idle_devices, edits::without_devices);
    let mut pair = (0, 1);
    while (pair.1 as usize) < search.plan.devices.len() && search.plan.devices.len() > 1 && !search.stopped {
        let candidate = repair::repaired(edits::merged_devices(&search.plan, pair.0, pair.1));
        if search.take_first(vec![candidate]).is_none() {
            pair = if pair.0 + 1 < pair.1 { (pair.0 + 1, pair.1) } else { (0, pair.1 + 1) };
        }
    }
}

/// Parts of transactions, and rows that nobody needs.
fn inside(search: &mut Search<'_>) {
    search.reduce(edits::intents, edits::without_intents);
    // Unused rows go in one attempt; most are.
    search.try_each(&[&|plan| Some(edits::without_unused_seed_rows(plan))]);
    search.reduce(edits::seed_rows, edits::without_seed_rows);
    search.reduce(edits::list_rows, edits::without_list_rows);
    search.reduce(|plan| edits::columns(plan, false), |plan, columns: &[Column]| edits::without_columns(plan, columns));
    search.reduce(|plan| edits::columns(plan, true), |plan, columns: &[Column]| edits::without_columns(plan, columns));
}

/// Nothing less, but easier to read.
fn make_plainer(search: &mut Search<'_>) {
    search.reduce(plainer::long_texts, plainer::with_short_texts);
    search.reduce(plainer::skewed_devices, plainer::without_skew);
    search.try_each(&[
        &plainer::with_fixed_link,
        &plainer::with_long_tokens,
        &|plan| Some(plainer::with_gaps_of_at_most(plan, 500_000)),
        &|plan| Some(plainer::with_gaps_of_at_most(plan, 2_000_000)),
        &|plan| Some(plainer::with_gaps_of_at_most(plan, 10_000_000)),
        &|plan| Some(plainer::with_gaps_of_at_most(plan, 30_000_000)),
        &|plan| Some(plainer::with_times_rounded_to(plan, 1_000_000)),
        &|plan| Some(plainer::with_times_rounded_to(plan, 100_000)),
        &|plan| Some(plainer::with_times_rounded_to(plan, 10_000)),
    ]);
    let mut at = 0;
    while at < search.plan.steps.len() && !search.stopped {
        let mut candidates = plainer::plainer_faults(&search.plan, at);
        candidates.truncate(search.limits.batch.max(1));
        if candidates.is_empty() || search.take_first(candidates).is_none() {
            at += 1;
        }
    }
}
