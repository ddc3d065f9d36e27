//! Which events of a history a report shows: of a small one all that matter, of a large one those around the anomaly.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::history::{Event, InvariantAnswer, Lifecycle, Phase, RowId, Scope, What, Who};

use crate::joined::JoinedHistory;

/// The events to show, ascending, and how many are left out because there are too many.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) events: Vec<usize>,
    pub(crate) left_out: usize,
}

/// Chooses at most `most` events; the highlighted ones come before all others.
pub(crate) fn select(joined: &JoinedHistory<'_>, highlight: &[usize], most: usize) -> Selection {
    let highlighted: BTreeSet<usize> = highlight.iter().copied().collect();
    let events = &joined.names.history.events;
    let repeated = repeated_failures(&events[..]);
    let candidates: Vec<usize> = (0..events.len())
        .filter(|index| highlighted.contains(index) || (matters(joined, *index) && !repeated.contains(index)))
        .collect();
    if candidates.len() <= most {
        return Selection { events: candidates, left_out: 0 };
    }
    let rows = rows_of_interest(joined, highlight);
    let middle = highlight.get(highlight.len() / 2).copied().unwrap_or(0);
    let mut ranked: Vec<(u8, usize, usize)> = candidates
        .iter()
        .map(|index| (rank(joined, &highlighted, &rows, *index), index.abs_diff(middle), *index))
        .collect();
    ranked.sort_unstable();
    ranked.truncate(most);
    let left_out = candidates.len() - ranked.len();
    let mut events: Vec<usize> = ranked.into_iter().map(|(_, _, index)| index).collect();
    events.sort_unstable();
    Selection { events, left_out }
}

/// Upload attempts, from the third on, that failed as the one before them did: a device that is offline for hours, or
/// whose transaction the backend cannot accept, makes hundreds of them, and the first two are enough.
fn repeated_failures(events: &[Event]) -> BTreeSet<usize> {
    let mut begun: BTreeMap<(Who, i64), usize> = BTreeMap::new();
    let mut before: BTreeMap<(Who, i64), Option<u16>> = BTreeMap::new();
    let mut repeated = BTreeSet::new();
    for (index, event) in events.iter().enumerate() {
        let What::Upload(upload) = &event.what else { continue };
        let begin = match upload.phase {
            Phase::Invoke => {
                begun.insert((event.who, upload.tx_id), index);
                continue;
            }
            Phase::Ok => continue,
            Phase::Fail | Phase::Info => begun.remove(&(event.who, upload.tx_id)),
        };
        let is_as_before = before.insert((event.who, upload.tx_id), upload.status) == Some(upload.status);
        if upload.attempt > 2 && is_as_before {
            repeated.extend(begin.into_iter().chain([index]));
        }
    }
    repeated
}

/// Whether a reader of a small history wants to see the event.
fn matters(joined: &JoinedHistory<'_>, index: usize) -> bool {
    if joined.seeding.contains(&index) {
        return false;
    }
    match &joined.names.history.events[index].what {
        What::Tx(tx) => !tx.ops.is_empty() || tx.failed.is_some() || tx.skipped > 0,
        What::Upload(_) | What::Commit(_) | What::Protocol { .. } | What::Conflicts { .. } => true,
        // The app's own stop and start show that better.
        What::Fault { fault, phase, .. } if fault.spec().shown_by_lifecycle => {
            *phase == Phase::Invoke && fault.waits_us() > 0
        }
        What::Fault { .. } => true,
        What::Invariants { answers } => answers.iter().any(|(_, answer)| *answer != InvariantAnswer::Holds),
        What::Apply(_) => joined.applied.get(&index).is_some_and(|differences| !differences.is_empty()),
        What::Lifecycle(life) => !matches!(life, Lifecycle::Started) || joined.names.history.events[index].at_us > 0,
        What::Barrier { phase, .. } => *phase != Phase::Invoke,
        What::Read { scope, .. } => *scope == Scope::Look,
        What::Complete { .. } | What::WriteCheckpoint { .. } | What::Stream { .. } => false,
    }
}

fn rank(joined: &JoinedHistory<'_>, highlighted: &BTreeSet<usize>, rows: &BTreeSet<RowId>, index: usize) -> u8 {
    if highlighted.contains(&index) {
        return 0;
    }
    let touches = joined.rows_of(index).iter().any(|row| rows.contains(row));
    match &joined.names.history.events[index].what {
        What::Tx(_) | What::Commit(_) if touches => 1,
        What::Protocol { .. } => 1,
        What::Apply(_) | What::Upload(_) | What::Read { .. } if touches => 2,
        What::Fault { .. } | What::Lifecycle(_) => 3,
        What::Barrier { .. } | What::Conflicts { .. } | What::Invariants { .. } => 4,
        _ => 5,
    }
}

/// The rows of the highlighted events; without any, those that more than one device wrote.
fn rows_of_interest(joined: &JoinedHistory<'_>, highlight: &[usize]) -> BTreeSet<RowId> {
    if !highlight.is_empty() {
        return highlight.iter().flat_map(|index| joined.rows_of(*index)).collect();
    }
    let mut writers: BTreeMap<RowId, BTreeSet<u32>> = BTreeMap::new();
    for register in &joined.registers {
        writers.entry(register.row).or_default().extend(&register.writers);
    }
    writers.into_iter().filter(|(_, writers)| writers.len() > 1).map(|(row, _)| row).collect()
}
