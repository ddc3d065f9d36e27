//! Which events of a history are worth telling: all that matter of a small one, those around the anomaly of a
//! large one.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::history::{Event, InvariantAnswer, Lifecycle, Phase, RowId, Scope, What, Who};

use crate::reading::Reading;

/// The events to show, ascending, and how many that would be shown of a smaller history are not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) events: Vec<usize>,
    pub(crate) left_out: usize,
}

/// Chooses at most `most` events; the highlighted ones come before all others.
pub(crate) fn select(reading: &Reading<'_>, highlight: &[usize], most: usize) -> Selection {
    let highlighted: BTreeSet<usize> = highlight.iter().copied().collect();
    let events = &reading.names.history.events;
    let vain = vain_repeats(&events[..]);
    let candidates: Vec<usize> = (0..events.len())
        .filter(|index| highlighted.contains(index) || (tells(reading, *index) && !vain.contains(index)))
        .collect();
    if candidates.len() <= most {
        return Selection { events: candidates, left_out: 0 };
    }
    let rows = rows_of_interest(reading, highlight);
    let middle = highlight.get(highlight.len() / 2).copied().unwrap_or(0);
    let mut ranked: Vec<(u8, usize, usize)> = candidates
        .iter()
        .map(|index| (rank(reading, &highlighted, &rows, *index), index.abs_diff(middle), *index))
        .collect();
    ranked.sort_unstable();
    ranked.truncate(most);
    let left_out = candidates.len() - ranked.len();
    let mut events: Vec<usize> = ranked.into_iter().map(|(_, _, index)| index).collect();
    events.sort_unstable();
    Selection { events, left_out }
}

/// Attempts of uploads, from the third on, that failed just as the one before them did: a device that is offline for
/// hours, or whose transaction the backend cannot take, makes hundreds of them, and the first two tell it.
fn vain_repeats(events: &[Event]) -> BTreeSet<usize> {
    let mut begun: BTreeMap<(Who, i64), usize> = BTreeMap::new();
    let mut before: BTreeMap<(Who, i64), Option<u16>> = BTreeMap::new();
    let mut vain = BTreeSet::new();
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
            vain.extend(begin.into_iter().chain([index]));
        }
    }
    vain
}

/// Whether an event tells anything that a reader of a small history wants to know.
fn tells(reading: &Reading<'_>, index: usize) -> bool {
    if reading.stage.contains(&index) {
        return false;
    }
    match &reading.names.history.events[index].what {
        What::Tx(tx) => !tx.ops.is_empty() || tx.failed.is_some() || tx.skipped > 0,
        What::Upload(_) | What::Commit(_) | What::Protocol { .. } | What::Conflicts { .. } => true,
        What::Fault { fault, phase, .. } if fault.spec().shown_by_lifecycle => {
            *phase == Phase::Invoke && fault.waits_us() > 0
        }
        What::Fault { .. } => true,
        What::Invariants { answers } => answers.iter().any(|(_, answer)| *answer != InvariantAnswer::Holds),
        What::Apply(_) => reading.applied.get(&index).is_some_and(|differences| !differences.is_empty()),
        What::Lifecycle(life) => !matches!(life, Lifecycle::Started) || reading.names.history.events[index].at_us > 0,
        What::Barrier { phase, .. } => *phase != Phase::Invoke,
        What::Read { scope, .. } => *scope == Scope::Look,
        What::Complete { .. } | What::WriteCheckpoint { .. } | What::Stream { .. } => false,
    }
}

fn rank(reading: &Reading<'_>, highlighted: &BTreeSet<usize>, rows: &BTreeSet<RowId>, index: usize) -> u8 {
    if highlighted.contains(&index) {
        return 0;
    }
    let touches = reading.rows_of(index).iter().any(|row| rows.contains(row));
    match &reading.names.history.events[index].what {
        What::Tx(_) | What::Commit(_) if touches => 1,
        What::Protocol { .. } => 1,
        What::Apply(_) | What::Upload(_) | What::Read { .. } if touches => 2,
        What::Fault { .. } | What::Lifecycle(_) => 3,
        What::Barrier { .. } | What::Conflicts { .. } | What::Invariants { .. } => 4,
        _ => 5,
    }
}

/// The rows of the highlighted events; without any, those that more than one device wrote.
fn rows_of_interest(reading: &Reading<'_>, highlight: &[usize]) -> BTreeSet<RowId> {
    if !highlight.is_empty() {
        return highlight.iter().flat_map(|index| reading.rows_of(*index)).collect();
    }
    let mut writers: BTreeMap<RowId, BTreeSet<u32>> = BTreeMap::new();
    for register in &reading.registers {
        writers.entry(register.row).or_default().extend(&register.writers);
    }
    writers.into_iter().filter(|(_, writers)| writers.len() > 1).map(|(row, _)| row).collect()
}
