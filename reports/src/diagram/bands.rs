//! What lasts in a diagram: faults, and the times at which an app is not running.

use std::collections::BTreeMap;

use sim_core::history::{Lifecycle, Phase, What};
use sim_core::plan::Fault;

use super::elements::{Band, Lane};
use super::lanes::lane_of;
use crate::faults::{Lifeline, lifeline, state};
use crate::joined::JoinedHistory;
use crate::words::device_of;

/// The bands of all faults, and of apps that are not running.
pub(super) fn bands(
    joined: &JoinedHistory<'_>,
    lanes: &[Lane],
    y_of: &BTreeMap<usize, f64>,
    first_y: f64,
    end_y: f64,
) -> Vec<Band> {
    let position = |owner| lane_of(lanes, owner);
    // The nearest shown event at or after one that may not be shown itself.
    let y_at = |index: usize| y_of.range(index..).next().map_or(end_y, |(_, y)| *y);
    let mut bands = Vec::new();
    let mut open: BTreeMap<u32, (usize, &Fault)> = BTreeMap::new();
    let mut down: BTreeMap<u32, usize> = BTreeMap::new();
    let mut close = |lane: Option<usize>, from: usize, to: f64, down: bool, name: String| {
        let Some(lane) = lane else { return };
        let is_named = y_of.contains_key(&from);
        let from = if y_of.range(..from).next().is_none() && !y_of.contains_key(&from) { first_y } else { y_at(from) };
        if to > from {
            bands.push(Band { lane, from, to, down, name, is_named });
        }
    };
    for (index, event) in joined.names.history.events.iter().enumerate() {
        match (&event.what, device_of(event.who)) {
            // The app's own stop and start show that it is down.
            (What::Fault { phase: Phase::Invoke, fault, .. }, _) if fault.spec().shown_by_lifecycle => {}
            (What::Fault { phase: Phase::Invoke, key, fault }, _) => {
                open.insert(*key, (index, fault));
            }
            (What::Fault { key, .. }, _) => {
                if let Some((from, fault)) = open.remove(key) {
                    let Some(name) = state(fault) else { continue };
                    close(position(lifeline(fault)), from, y_at(index), false, name);
                }
            }
            (
                What::Lifecycle(Lifecycle::Killed(_) | Lifecycle::StorageLost | Lifecycle::CopyRestored(_)),
                Some(device),
            ) => {
                down.insert(device, index);
            }
            (What::Lifecycle(Lifecycle::Started), Some(device)) => {
                if let Some(from) = down.remove(&device) {
                    close(position(Lifeline::Device(device)), from, y_at(index), true, "not running".to_owned());
                }
            }
            _ => {}
        }
    }
    for (from, fault) in open.into_values() {
        let Some(name) = state(fault) else { continue };
        close(position(lifeline(fault)), from, end_y, false, name);
    }
    for (device, from) in down {
        close(position(Lifeline::Device(device)), from, end_y, true, "not running".to_owned());
    }
    bands
}
