//! The vertical lines of a diagram: whose they are, where they stand, and whose colour an event has.

use std::collections::BTreeSet;

use sim_core::history::What;

use super::elements::{GUTTER, Hue, Lane};
use crate::difference::Difference;
use crate::faults::Lifeline;
use crate::joined::JoinedHistory;
use crate::words::{device_name, device_of, visible};

/// With more lines a diagram is not legible.
const DEVICES_MAX: usize = 6;

const LABEL_OUTER: f64 = 174.0;
/// The distances from a server's line to its neighbours.
const SERVER_LEFT: f64 = 172.0;
const SERVER_RIGHT: f64 = 142.0;

/// The room for words beside a device's line: the more devices, the less room.
pub(super) fn label_room(devices: usize) -> f64 {
    match devices {
        0..=3 => 186.0,
        4 => 166.0,
        _ => 148.0,
    }
}

/// The devices to show: all if they are few, else those of the highlighted events first.
pub(super) fn chosen_devices(joined: &JoinedHistory<'_>, highlight: &[usize], events: &[usize]) -> Vec<u32> {
    let all = joined.names.devices();
    if (all as usize) < DEVICES_MAX {
        return (0..all).collect();
    }
    let device_of_event = |index: &usize| {
        let event = joined.names.history.events.get(*index)?;
        match &event.what {
            What::Commit(commit) => commit.origin.map(|origin| origin.device),
            What::Fault { fault, .. } => fault.device(),
            _ => device_of(event.who),
        }
    };
    let mut chosen = BTreeSet::new();
    for device in highlight.iter().chain(events).filter_map(device_of_event) {
        if chosen.len() == DEVICES_MAX {
            break;
        }
        chosen.insert(device);
    }
    chosen.into_iter().filter(|device| *device < all).collect()
}

/// Half of the devices stand left of the servers, half right, so that arrows cross few lines.
pub(super) fn lanes(joined: &JoinedHistory<'_>, devices: &[u32]) -> (Vec<Lane>, f64) {
    let names = &joined.names;
    let left_devices = devices.len().div_ceil(2);
    let label = label_room(devices.len());
    let mut x = GUTTER;
    let mut lanes = Vec::new();
    let device_lane = |x: f64, place: usize, left: bool| {
        let device = devices[place];
        let subtitle = match names.several_users() {
            true => format!("{} · {}", names.kind(device), visible(names.user(device))),
            false => names.kind(device).to_owned(),
        };
        Lane { x, owner: Lifeline::Device(device), title: device_name(device), subtitle, left, hue: Hue::Device(place) }
    };
    for place in 0..left_devices {
        // Beside the outermost words there are only the times, or the edge.
        x += if place == 0 { label.max(LABEL_OUTER) } else { label };
        lanes.push(device_lane(x, place, true));
    }
    x += SERVER_LEFT;
    let server = |x, owner, title: &str, subtitle: &str| Lane {
        x,
        owner,
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        left: false,
        hue: Hue::Neutral,
    };
    lanes.push(server(x, Lifeline::Backend, "backend", "PostgreSQL"));
    x += SERVER_LEFT;
    lanes.push(server(x, Lifeline::Service, "sync service", "streams changes"));
    x += SERVER_RIGHT;
    for place in left_devices..devices.len() {
        lanes.push(device_lane(x, place, false));
        x += if place + 1 == devices.len() { label.max(LABEL_OUTER) } else { label };
    }
    (lanes, x + 8.0)
}

/// The index of the line of this device or server.
pub(super) fn lane_of(lanes: &[Lane], owner: Lifeline) -> Option<usize> {
    lanes.iter().position(|lane| lane.owner == owner)
}

/// The colour of a device.
pub(super) fn hue_of(lanes: &[Lane], device: Option<u32>) -> Hue {
    device.and_then(|device| lane_of(lanes, Lifeline::Device(device))).map_or(Hue::Neutral, |lane| lanes[lane].hue)
}

/// The colour of the device whose writes an apply brought, if they are one device's.
pub(super) fn hue_of_apply(joined: &JoinedHistory<'_>, lanes: &[Lane], index: usize) -> Hue {
    let authors: BTreeSet<Option<u32>> = joined
        .applied
        .get(&index)
        .into_iter()
        .flatten()
        .map(|difference| match difference {
            Difference::Changes { row, column, after, .. } => joined.only_writer_of_value(*row, *column, after),
            Difference::Appears(row) | Difference::Disappears(row) => joined.only_writer_of_row(*row),
        })
        .collect();
    match authors.iter().collect::<Vec<_>>()[..] {
        [author] => hue_of(lanes, *author),
        _ => Hue::Neutral,
    }
}
