//! After healing, queues drain and checkpoints are applied in bounded time, and resumed traffic passes.
//!
//! A run that does not settle is stuck or slow. Where time is virtual it is ours, so a missed deadline is a
//! failure of liveness. Where it is real it is one only if nothing advanced for a third of the wait; while something moves,
//! it is unknown.

use std::collections::BTreeSet;

use super::context::Context;
use super::timeline::Timeline;
use super::wording::{Case, Gather, barrier_name};
use crate::history::label::{client, time};
use crate::history::{Barrier, Phase, TxOutcome, Upload, What, Who};
use crate::verdict::{Class, Finding};

/// Judges the barriers.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "progress");
    let live = ctx.history.header.time.is_virtual();
    let mut entered = None;
    let mut healed = None;
    let mut failed = Vec::new();
    let mut reached = None;
    let mut not_injected = Vec::new();
    for (event, seen) in ctx.history.events.iter().enumerate() {
        let (barrier, phase, open) = match &seen.what {
            What::Barrier { barrier, phase, open } => (barrier, phase, open),
            What::Fault { phase: Phase::Fail, fault, .. } => {
                gather.unknown(format!("the fault {} was to strike and could not be injected", fault.name()));
                not_injected.push((event, fault.device()));
                continue;
            }
            _ => continue,
        };
        match phase {
            Phase::Invoke => entered = Some(event),
            Phase::Ok if *barrier == Barrier::Heal => healed = Some(event),
            Phase::Ok => {
                reached = Some(*barrier);
                if *barrier == Barrier::Settle
                    && let Some(healed) = healed
                {
                    deadline(ctx, healed, event, live, &mut gather);
                }
            }
            Phase::Fail | Phase::Info => failed.push((*barrier, entered.unwrap_or(event), event, open)),
        }
    }
    if failed.is_empty() && reached != Some(Barrier::SettleAgain) {
        gather.unknown("the history ends before the run has settled".to_owned());
    }
    for (barrier, entered, event, open) in failed {
        let work_again = servers_work(ctx, healed.unwrap_or(entered), event);
        // Nobody promises to overcome what is left of a fault that could not be injected completely: on its device, or
        // on the servers, unless they are seen to work.
        let excused = |(at, device): &(usize, Option<u32>)| device.is_none() && (*at > event || !work_again);
        if not_injected.iter().any(excused) {
            continue;
        }
        let devices: BTreeSet<u32> = not_injected.iter().filter_map(|(_, device)| *device).collect();
        judge(ctx, timeline, barrier, (entered, event), open, &devices, &mut gather);
    }
    gather.finish()
}

/// Whether, between two events, an upload was answered for good and synced data was applied: both servers work.
fn servers_work(ctx: &Context<'_>, from: usize, until: usize) -> bool {
    let between = ctx.history.events.get(from..until).unwrap_or_default();
    let is_final = |outcome: TxOutcome| outcome != TxOutcome::NotAttempted;
    between.iter().any(|seen| matches!(&seen.what, What::Upload(upload) if upload.outcome.is_some_and(is_final)))
        && between.iter().any(|seen| matches!(&seen.what, What::Apply(_)))
}

/// A scenario may promise to settle sooner than every run must.
fn deadline(ctx: &Context<'_>, healed: usize, event: usize, live: bool, gather: &mut Gather<'_>) {
    let took = ctx.history.events[event].at_us - ctx.history.events[healed].at_us;
    let Some(promised) = ctx.promises.deadline_us.filter(|promised| took.cast_unsigned() > *promised) else { return };
    let promised = time(i64::try_from(promised).unwrap_or(i64::MAX));
    let what =
        format!("After every fault was undone it took {} to settle; the scenario promises {promised}.", time(took));
    if !live {
        gather.unknown(what);
        return;
    }
    gather.add_of(Class::Liveness, Case {
        code: "settled-late",
        what,
        because: "With every fault undone, nothing but the stack itself stands between the devices and the settled state.".to_owned(),
        events: vec![healed, event],
        ..Case::default()
    });
}

/// What one device had open, and when it last got anywhere.
#[derive(Default)]
struct Standing {
    /// The last event that brought it further.
    advanced: Option<usize>,
    /// Attempts of its oldest open transaction, its last one, and how often it ended alike.
    attempts: u32,
    last: Option<(usize, Option<u16>)>,
    alike: u32,
    /// Its open transactions, by event.
    open: Vec<usize>,
}

fn judge(
    ctx: &Context<'_>,
    timeline: &Timeline<'_>,
    barrier: Barrier,
    (entered, failed): (usize, usize),
    open: &[String],
    excused: &BTreeSet<u32>,
    gather: &mut Gather<'_>,
) {
    let is_excused = |sentence: &&String| {
        excused.iter().any(|device| sentence.strip_prefix(&client(*device)).is_some_and(|rest| rest.starts_with(' ')))
    };
    let open: Vec<&String> = open.iter().filter(|sentence| !is_excused(sentence)).collect();
    let history = ctx.history;
    let mut standings: Vec<Standing> = history.header.devices.iter().map(|_| Standing::default()).collect();
    let mut oldest: Vec<Option<i64>> = vec![None; standings.len()];
    let installations = super::installations::Installations::of(history);
    for (event, seen) in history.events[..failed].iter().enumerate() {
        let Who::Client(device) = seen.who else { continue };
        let Some(standing) =
            standings.get_mut(device as usize).filter(|_| !installations.is_gone(device) && !excused.contains(&device))
        else {
            continue;
        };
        match &seen.what {
            What::Tx(tx) if tx.failed.is_none() => {
                let completed = tx.tx_id.and_then(|tx_id| timeline.completed(device, tx_id));
                if tx.tx_id.is_some() && completed.is_none_or(|completed| completed > failed) {
                    oldest[device as usize] = oldest[device as usize].or(tx.tx_id);
                    standing.open.push(event);
                }
            }
            What::Upload(upload) => {
                if upload.outcome.is_some_and(|outcome| outcome != TxOutcome::NotAttempted) {
                    standing.advanced = Some(event);
                }
                if Some(upload.tx_id) == oldest[device as usize] {
                    standing.attempt(event, upload);
                }
            }
            What::Complete { .. } | What::Apply(_) | What::WriteCheckpoint { phase: Phase::Ok, .. } => {
                standing.advanced = Some(event);
            }
            _ => {}
        }
    }
    if !excused.is_empty() && open.is_empty() && standings.iter().all(|standing| standing.open.is_empty()) {
        return;
    }
    let at = |event: usize| history.events[event].at_us;
    let (waited, idle) =
        (at(failed) - at(entered), |standing: &Standing| at(failed) - standing.advanced.map_or(0, at).max(0));
    let moved =
        standings.iter().filter(|standing| standing.advanced.is_some_and(|event| event >= entered)).map(idle).min();
    let stuck = moved.is_none_or(|idle| idle >= waited / 3);
    if !history.header.time.is_virtual() && !stuck {
        gather.unknown(format!(
            "{} was not reached within {}, but things were still moving: slow, not stuck",
            barrier_name(barrier),
            time(waited)
        ));
        return;
    }
    let queues: Vec<usize> = (0..standings.len()).filter(|device| !standings[*device].open.is_empty()).collect();
    let mut notes: Vec<String> = Vec::new();
    let mut events = vec![entered, failed];
    for (device, standing) in (0u32..).zip(&standings).filter(|(_, standing)| !standing.open.is_empty()).take(8) {
        events.push(standing.open[0]);
        events.extend(standing.last.map(|(event, _)| event));
        notes.push(format!(
            "{} {}; it last got further {} before the deadline",
            client(device),
            standing.describe(),
            time(idle(standing))
        ));
    }
    notes.extend(open.iter().take(8).map(|sentence| format!("open: {sentence}")));
    let waited = time(waited);
    gather.add_of(Class::Liveness, if queues.is_empty() {
        Case {
            code: "not-settled",
            what: format!("The run did not reach {} within {waited}, although every upload queue is empty.", barrier_name(barrier)),
            because: "With every fault undone, each device must be given a write checkpoint and then a full checkpoint that \
                      acknowledges it."
                .to_owned(),
            notes,
            events,
            ..Case::default()
        }
    } else {
        let stuck = queues.iter().map(|device| client(u32::try_from(*device).unwrap_or(u32::MAX)));
        Case {
            code: "stuck-queue",
            what: format!(
                "The run did not reach {} within {waited}: uploads of {} do not pass.",
                barrier_name(barrier),
                super::wording::list(stuck)
            ),
            because: "With every fault undone, each queued transaction must be committed or refused for good; one that is \
                      retried for ever also keeps its device from every download."
                .to_owned(),
            notes,
            events,
            ..Case::default()
        }
    });
}

impl Standing {
    fn attempt(&mut self, event: usize, upload: &Upload) {
        if upload.phase == Phase::Invoke {
            self.attempts = self.attempts.max(upload.attempt);
            return;
        }
        self.alike = if self.last.is_some_and(|(_, status)| status == upload.status) { self.alike + 1 } else { 1 };
        self.last = Some((event, upload.status));
    }

    fn describe(&self) -> String {
        let queued = format!("has {} transactions in its queue", self.open.len());
        match self.last {
            None if self.attempts == 0 => format!("{queued}, the first of which it never uploaded"),
            None => format!("{queued}, the first of which it uploaded {} times without an end", self.attempts),
            Some((_, None)) => {
                format!("{queued}; uploading the first ended without an answer the last {} times", self.alike)
            }
            Some((_, Some(status))) => {
                format!("{queued}; uploading the first was answered {status} the last {} times", self.alike)
            }
        }
    }
}
