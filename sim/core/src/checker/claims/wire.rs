//! Claims on commits and answers.

use std::collections::BTreeMap;

use super::ruling::{Contradiction, Ruling};
use crate::history::{Event, OpAnswer, Phase, TxOutcome, What, Who};
use crate::plan::Fault;

pub(super) fn one_commit_each(ruling: &mut Ruling<'_, '_, '_>) {
    let facts = ruling.facts;
    let history = ruling.ctx().history;
    // Only a backend with a ledger leaves a commit where nothing changed.
    let ledger = facts.timeline.commits().any(|(_, commit)| !commit.ledger.is_empty());
    let mut answers: BTreeMap<(u32, i64), (usize, &[OpAnswer])> = BTreeMap::new();
    let mut contradictions = Vec::new();
    for (event, entry) in history.events.iter().enumerate() {
        let (Who::Client(device), What::Upload(upload)) = (entry.who, &entry.what) else { continue };
        if upload.phase != Phase::Ok || upload.outcome != Some(TxOutcome::Committed) || upload.ops.is_empty() {
            continue;
        }
        let (first, given) = *answers.entry((device, upload.tx_id)).or_insert((event, &upload.ops));
        if given != upload.ops.as_slice() {
            contradictions.push(Contradiction {
                what: format!("client/{device} transaction {} was answered differently the second time.", upload.tx_id),
                because: "A repeated upload is given the first answer.".to_owned(),
                events: vec![first, event],
                operations: upload.ops.iter().map(|answer| (device, answer.op_id)).collect(),
                ..Contradiction::default()
            });
        }
    }
    for tx in &facts.txs {
        let commits: Vec<u64> = facts
            .timeline
            .commits_of(tx.device, tx.tx_id)
            .filter(|seq| {
                facts.timeline.commit(*seq).is_some_and(|commit| !commit.changes.is_empty() || Some(*seq) == tx.seq)
            })
            .collect();
        let contradiction = |what: String, because: &str| Contradiction {
            role: tx.tx.ops.first().map_or_else(String::new, |op| ruling.role(op.row, None)),
            what,
            because: because.to_owned(),
            events: std::iter::once(tx.event)
                .chain(commits.iter().filter_map(|seq| facts.timeline.commit_event(*seq)))
                .collect(),
            operations: tx.tx.ops.iter().map(|op| (tx.device, op.op_id)).collect(),
        };
        if commits.len() > 1 {
            contradictions.push(contradiction(
                format!("client/{} transaction {} was committed {} times.", tx.device, tx.tx_id, commits.len()),
                "However often it is sent, a transaction takes effect once.",
            ));
        } else if commits.is_empty() && ledger && tx.answered_committed && !tx.refused {
            contradictions.push(contradiction(
                format!("client/{} transaction {} was answered committed, but has no commit.", tx.device, tx.tx_id),
                "The change feed and the ledger have nothing of it.",
            ));
        } else if let (Some(seq), Some((_, given))) = (tx.seq, answers.get(&(tx.device, tx.tx_id))) {
            let ledger = facts.timeline.commit(seq).map_or(&[][..], |commit| commit.ledger.as_slice());
            let differs = given.iter().find(|answer| {
                ledger.iter().any(|entry| entry.op_id == answer.op_id && entry.outcome != answer.outcome)
            });
            if let Some(answer) = differs {
                contradictions.push(contradiction(
                    format!(
                        "client/{} op {} was answered {:?}, but its commit noted something else.",
                        tx.device, answer.op_id, answer.outcome
                    ),
                    "The answer to a repeated upload is the first one, which the ledger holds.",
                ));
            }
        }
    }
    contradictions.into_iter().for_each(|contradiction| ruling.contradict(contradiction));
}

/// A channel of a device: uploads, write checkpoints, the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Upload,
    WriteCheckpoint,
    Stream,
}

impl Channel {
    fn name(self) -> &'static str {
        match self {
            Self::Upload => "uploads",
            Self::WriteCheckpoint => "write checkpoints",
            Self::Stream => "the stream",
        }
    }
}

/// An answer to a device: the device, the channel, and the HTTP status, if there was one.
fn answer_to(event: &Event) -> Option<(u32, Channel, Option<u16>)> {
    let Who::Client(device) = event.who else { return None };
    match &event.what {
        What::Upload(upload) if upload.phase != Phase::Invoke => Some((device, Channel::Upload, upload.status)),
        What::WriteCheckpoint { status, phase, .. } if *phase != Phase::Invoke => {
            Some((device, Channel::WriteCheckpoint, *status))
        }
        What::Stream { status, phase: Phase::Ok | Phase::Fail, .. } => Some((device, Channel::Stream, *status)),
        _ => None,
    }
}

/// The least lifetime of a token, in microseconds: two refusals that are further apart may be of two tokens.
const TOKEN_LIFETIME_MIN_US: i64 = 15_000_000;

pub(super) fn one_refusal_per_expiry(ruling: &mut Ruling<'_, '_, '_>) {
    let history = ruling.ctx().history;
    // The last 401 of a channel that no success has followed.
    let mut refused: BTreeMap<(u32, Channel), usize> = BTreeMap::new();
    // Devices whose tokens are wrong for as long as a fault lasts: then a new token helps nothing.
    let mut wrong: BTreeMap<u32, u32> = BTreeMap::new();
    let mut contradictions = Vec::new();
    for (event, entry) in history.events.iter().enumerate() {
        if let What::Fault { phase, fault: Fault::WrongAudience { device, .. }, .. } = &entry.what {
            match phase {
                Phase::Invoke => *wrong.entry(*device).or_default() += 1,
                // Another fault of the kind may go on: the tokens are right when the last one is over.
                Phase::Ok => {
                    let lasting = wrong.get(device).map_or(0, |lasting| lasting.saturating_sub(1));
                    if lasting == 0 {
                        wrong.remove(device);
                        refused.retain(|(refused, _), _| refused != device);
                    } else {
                        wrong.insert(*device, lasting);
                    }
                }
                _ => {}
            }
        }
        let Some((device, channel, status)) = answer_to(entry) else { continue };
        match status {
            Some(401) if wrong.contains_key(&device) => {}
            Some(401) => {
                let first = refused.insert((device, channel), event);
                let soon = |first: &usize| entry.at_us - history.events[*first].at_us < TOKEN_LIFETIME_MIN_US;
                if let Some(first) = first.filter(soon) {
                    contradictions.push(Contradiction {
                        role: channel.name().to_owned(),
                        what: format!("client/{device} was refused with 401 again on {}.", channel.name()),
                        because: "After a 401 it has a new token, and nothing succeeded in between.".to_owned(),
                        events: vec![first, event],
                        ..Contradiction::default()
                    });
                }
            }
            Some(200..=299) => drop(refused.remove(&(device, channel))),
            _ => {}
        }
    }
    if ruling.facts.no_end.is_none() {
        for ((device, channel), event) in refused {
            // Uploads and write checkpoints need not follow when nothing is queued any more; a stream must.
            if channel == Channel::Stream {
                contradictions.push(Contradiction {
                    role: channel.name().to_owned(),
                    what: format!("client/{device} was refused with 401 on {}, and never came back.", channel.name()),
                    because: "After a 401 there is progress.".to_owned(),
                    events: vec![event],
                    ..Contradiction::default()
                });
            }
        }
    }
    contradictions.into_iter().for_each(|contradiction| ruling.contradict(contradiction));
}

/// How long a refusal may have been on its way to the device.
const REFUSAL_TRAVELS_US: i64 = 5_000_000;

/// For scenarios in which no token expires: a device is refused only for a token whose key the server does not know
/// yet.
pub(super) fn old_tokens_stay_good(ruling: &mut Ruling<'_, '_, '_>) {
    let history = ruling.ctx().history;
    let mut unknown = 0u32;
    let mut known_since_us = i64::MIN;
    let mut contradictions = Vec::new();
    for (event, entry) in history.events.iter().enumerate() {
        match &entry.what {
            What::Fault { phase: Phase::Invoke, fault: Fault::KeyRotated { .. }, .. } => unknown += 1,
            What::Fault { phase: Phase::Ok, fault: Fault::KeyRotated { .. }, .. } => {
                unknown = unknown.saturating_sub(1);
                known_since_us = entry.at_us;
            }
            _ => {}
        }
        let Some((device, channel, status)) = answer_to(entry) else { continue };
        let lawful = channel != Channel::Upload
            && (unknown > 0 || entry.at_us <= known_since_us.saturating_add(REFUSAL_TRAVELS_US));
        if status == Some(401) && !lawful {
            contradictions.push(Contradiction {
                role: channel.name().to_owned(),
                what: format!("client/{device} was refused with 401 on {}.", channel.name()),
                because:
                    "No token has expired; the old key is good until its tokens are not, and the new one was known."
                        .to_owned(),
                events: vec![event],
                ..Contradiction::default()
            });
        }
    }
    contradictions.into_iter().for_each(|contradiction| ruling.contradict(contradiction));
}
