//! The client and the service keep to the sync protocol: checksums fit, the apply gate holds, and no write
//! checkpoint is acknowledged that was not issued.

use super::context::Context;
use super::timeline::Timeline;
use super::wording::{Case, Gather};
use crate::history::label::client;
use crate::history::{DeviceName, Phase, What, Who};
use crate::plan::Fault;
use crate::verdict::Finding;

/// What a device's target is while its write checkpoint is still to be asked for.
const NOT_YET_KNOWN: u64 = i64::MAX.cast_unsigned();

/// What is known of one device's write checkpoints.
#[derive(Clone, Debug, Default)]
struct Checkpoints {
    /// The greatest that it was given, with the event.
    issued: Option<(u64, usize)>,
    /// The greatest that a checkpoint carried.
    acknowledged: u64,
    /// Requests whose answer has not come.
    asked: u32,
    /// How many numbers it may have been issued that it never learnt: answers that were lost, requests that may have
    /// been delivered twice.
    unlearnt: u64,
    /// How many faults that repeat messages are going on.
    repeating: u32,
    /// Whether nothing is known of its numbers: it shares them with the database that it is a copy of.
    is_copy: bool,
}

/// Judges what devices saw of the protocol.
#[must_use]
pub fn check(ctx: &Context<'_>, _timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "protocol");
    // A copy shares its client id, and so its counter, with the database that it was made of.
    let known = |device: &DeviceName| Checkpoints { is_copy: device.copy.is_some(), ..Checkpoints::default() };
    let mut devices: Vec<Checkpoints> = ctx.history.header.devices.iter().map(known).collect();
    for (event, seen) in ctx.history.events.iter().enumerate() {
        if let What::Fault { phase, fault: Fault::Lossy { device, duplicated: 1.., .. }, .. } = &seen.what
            && let Some(device) = devices.get_mut(*device as usize)
        {
            match phase {
                // What is under way already may be repeated as well.
                Phase::Invoke => {
                    device.repeating += 1;
                    device.unlearnt += u64::from(device.asked);
                }
                Phase::Ok => device.repeating = device.repeating.saturating_sub(1),
                _ => {}
            }
        }
        let Who::Client(device) = seen.who else { continue };
        let Some(known) = devices.get_mut(device as usize) else { continue };
        match &seen.what {
            What::Protocol { message } => gather.add(Case {
                code: "core-error",
                what: format!("The sync core of {} reports: {message}", client(device)),
                because: "The service must send what the protocol says; the core refuses the rest.".to_owned(),
                events: vec![event],
                ..Case::default()
            }),
            What::WriteCheckpoint { phase: Phase::Invoke, .. } => {
                known.asked += 1;
                known.unlearnt += u64::from(known.repeating > 0);
            }
            What::WriteCheckpoint { phase: Phase::Ok, number, .. } => {
                known.asked = known.asked.saturating_sub(1);
                if let Some(number) = number
                    && known.issued.is_none_or(|(issued, _)| issued < *number)
                {
                    known.issued = Some((*number, event));
                }
            }
            What::WriteCheckpoint { .. } => {
                known.asked = known.asked.saturating_sub(1);
                known.unlearnt += 1;
            }
            // A kill leaves requests without an answer.
            What::Lifecycle(_) => known.unlearnt += u64::from(std::mem::take(&mut known.asked)),
            What::Apply(apply) => {
                known.acknowledged = known.acknowledged.max(apply.write_checkpoint.unwrap_or(0));
                acknowledged(&mut gather, device, event, known, apply.write_checkpoint);
                if apply.priority.is_none() {
                    gate(&mut gather, device, event, known, apply.queued, apply.target);
                }
            }
            _ => {}
        }
    }
    gather.finish()
}

fn acknowledged(gather: &mut Gather<'_>, device: u32, event: usize, known: &Checkpoints, number: Option<u64>) {
    let Some(number) = number else { return };
    let most = known.issued.map_or(0, |(issued, _)| issued).saturating_add(known.unlearnt);
    if known.is_copy || known.asked > 0 || number <= most {
        return;
    }
    let issued = known.issued.map_or_else(|| "none".to_owned(), |(issued, _)| format!("no more than {issued}"));
    gather.add(Case {
        code: "acknowledged-not-issued",
        what: format!(
            "{} applied a checkpoint that acknowledges write checkpoint {number}, but it was issued {issued}.",
            client(device)
        ),
        because: "A write checkpoint that was never asked for says that uploads have come back which were never made."
            .to_owned(),
        events: known.issued.map(|(_, event)| event).into_iter().chain([event]).collect(),
        ..Case::default()
    });
}

/// A full checkpoint may become visible only when nothing of the device's own is on its way.
fn gate(gather: &mut Gather<'_>, device: u32, event: usize, known: &Checkpoints, queued: u32, target: Option<u64>) {
    let because = "Until its own uploads have come back, applying the server's rows would make the device's own edits vanish \
                   for a while, or for good.";
    if queued > 0 {
        gather.add(Case {
            code: "apply-with-queue",
            what: format!("{} applied a full checkpoint with {queued} operations in its queue.", client(device)),
            because: because.to_owned(),
            events: vec![event],
            ..Case::default()
        });
    }
    let Some(target) = target.filter(|target| *target > known.acknowledged) else { return };
    let wanted = if target == NOT_YET_KNOWN {
        "the write checkpoint that it had still to ask for".to_owned()
    } else {
        format!("write checkpoint {target}")
    };
    gather.add(Case {
        code: "apply-before-own-writes",
        what: format!(
            "{} applied a full checkpoint before {wanted} was acknowledged (so far: {}).",
            client(device),
            known.acknowledged
        ),
        because: because.to_owned(),
        events: known.issued.map(|(_, event)| event).into_iter().chain([event]).collect(),
        ..Case::default()
    });
}
