//! The arrows of a diagram: uploads with their answers, replication, and downloads, between the events that are shown.

use std::collections::BTreeMap;

use sim_core::history::{Phase, What};

use super::elements::{Lane, Message, MessageKind};
use super::lanes::{hue_of, hue_of_apply, lane_of};
use crate::faults::Lifeline;
use crate::joined::{Attempt, JoinedHistory};
use crate::words::device_of;

/// All messages; `y_of` is the height of each event that is shown.
pub(super) fn between(joined: &JoinedHistory<'_>, lanes: &[Lane], y_of: &BTreeMap<usize, f64>) -> Vec<Message> {
    let (Some(backend), Some(service)) = (lane_of(lanes, Lifeline::Backend), lane_of(lanes, Lifeline::Service)) else {
        return Vec::new();
    };
    let (backend_x, service_x) = (lanes[backend].x, lanes[service].x);
    let mut messages = Vec::new();
    for attempt in &joined.attempts {
        if let Some(lane) = lane_of(lanes, Lifeline::Device(attempt.device)) {
            messages.extend(of_attempt(joined, attempt, &lanes[lane], backend_x, y_of));
        }
    }
    for (index, y) in y_of {
        let event = &joined.names.history.events[*index];
        match (&event.what, device_of(event.who)) {
            (What::Commit(commit), _) if !commit.changes.is_empty() => messages.push(Message {
                from: (backend_x, *y),
                to: (service_x, *y),
                kind: MessageKind::Replication,
                hue: hue_of(lanes, commit.origin.map(|origin| origin.device)),
            }),
            (What::Apply(_), Some(device)) => {
                let Some(lane) = lane_of(lanes, Lifeline::Device(device)) else { continue };
                let hue = hue_of_apply(joined, lanes, *index);
                let (from, to) = ((service_x, y - 14.0), (lanes[lane].x, *y));
                messages.push(Message { from, to, kind: MessageKind::Download, hue });
            }
            _ => {}
        }
    }
    messages
}

/// The request of one upload attempt, and its reply; whichever was lost ends halfway.
fn of_attempt(
    joined: &JoinedHistory<'_>,
    attempt: &Attempt,
    lane: &Lane,
    backend_x: f64,
    y_of: &BTreeMap<usize, f64>,
) -> Vec<Message> {
    let (x, hue) = (lane.x, lane.hue);
    let message = |from, to, kind| Message { from, to, kind, hue };
    let end_event = attempt.end.map(|end| &joined.names.history.events[end].what);
    let phase = end_event.map(|what| match what {
        What::Upload(upload) => upload.phase,
        _ => Phase::Info,
    });
    let is_answered = matches!(end_event, Some(What::Upload(upload)) if upload.status.is_some());
    let sent_y = y_of.get(&attempt.invoke).copied();
    let end_y = attempt.end.and_then(|end| y_of.get(&end).copied());
    let commits: Vec<f64> = attempt.commits.iter().filter_map(|commit| y_of.get(commit).copied()).collect();
    let halfway_x = x + (backend_x - x) * 0.5;
    let mut messages: Vec<Message> = commits
        .iter()
        .map(|y| {
            let from_y = sent_y.filter(|sent| sent < y).unwrap_or(y - 16.0);
            message((x, from_y), (backend_x, *y), MessageKind::Upload)
        })
        .collect();
    match (commits.last(), phase, end_y, sent_y) {
        (Some(committed), Some(Phase::Ok), Some(y), _) => {
            messages.push(message((backend_x, *committed), (x, y), MessageKind::Answer));
        }
        (Some(committed), Some(Phase::Info), ..) => {
            let to = (backend_x + (x - backend_x) * 0.5, committed + 20.0);
            messages.push(message((backend_x, *committed), to, MessageKind::Lost));
        }
        (None, Some(Phase::Ok | Phase::Fail), Some(y), Some(sent)) if is_answered => {
            let middle = f64::midpoint(sent, y);
            messages.push(message((x, sent), (backend_x, middle), MessageKind::Question));
            messages.push(message((backend_x, middle), (x, y), MessageKind::Answer));
        }
        (None, Some(Phase::Ok | Phase::Fail), Some(_), Some(sent))
        | (None, Some(Phase::Info) | None, _, Some(sent)) => {
            messages.push(message((x, sent), (halfway_x, sent + 13.0), MessageKind::Lost));
        }
        _ => {}
    }
    messages
}
