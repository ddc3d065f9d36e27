//! What lasts in a diagram: the stretches of faults; and what everything comes to.

use std::collections::BTreeMap;

use sim_core::history::{Lifecycle, Phase, What};
use sim_core::plan::Fault;

use super::scene::{Band, Cell, Final, Hue, Lane};
use crate::faults::{Lifeline, lifeline, state};
use crate::reading::{Held, Reading, Register};
use crate::words::device_of;

/// The stretches of faults, and of apps that are not running.
pub(super) fn bands(
    reading: &Reading<'_>,
    lanes: &[Lane],
    y_of: &BTreeMap<usize, f64>,
    first_y: f64,
    end_y: f64,
) -> Vec<Band> {
    let position = |who| lanes.iter().position(|lane| lane.who == who);
    // The nearest shown event at or after one that may not be shown itself.
    let y_at = |index: usize| y_of.range(index..).next().map_or(end_y, |(_, y)| *y);
    let mut bands = Vec::new();
    let mut open: BTreeMap<u32, (usize, &Fault)> = BTreeMap::new();
    let mut down: BTreeMap<u32, usize> = BTreeMap::new();
    let mut close = |lane: Option<usize>, from: usize, to: f64, down: bool, name: String| {
        let Some(lane) = lane else { return };
        let told = y_of.contains_key(&from);
        let from = if y_of.range(..from).next().is_none() && !y_of.contains_key(&from) { first_y } else { y_at(from) };
        if to > from {
            bands.push(Band { lane, from, to, down, name, told });
        }
    };
    for (index, event) in reading.names.history.events.iter().enumerate() {
        match (&event.what, device_of(event.who)) {
            // That an app is down is told by its own stop and start.
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
            (What::Lifecycle(Lifecycle::Killed(_) | Lifecycle::StorageLost | Lifecycle::CopyRestored(_)), Some(device)) => {
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

/// What a register is in the end, on every line.
pub(super) fn end_of(reading: &Reading<'_>, lanes: &[Lane], register: &Register) -> Final {
    let names = &reading.names;
    let server = reading.server_held(register);
    let hue_of = |device: Option<u32>| {
        let lane = lanes.iter().find(|lane| device.is_some_and(|device| lane.who == Lifeline::Device(device)));
        lane.map_or(Hue::Neutral, |lane| lane.hue)
    };
    let cells = lanes
        .iter()
        .enumerate()
        .filter_map(|(lane, at)| {
            let held = match at.who {
                Lifeline::Device(device) => reading.device_held(device, register),
                Lifeline::Backend => server.clone(),
                Lifeline::Service => return None,
            };
            let hue = match (&held, register.column) {
                (Held::Value(value), Some(column)) => hue_of(reading.wrote(register.row, column, value)),
                _ => Hue::Neutral,
            };
            let text = match &held {
                Held::Absent => "absent".to_owned(),
                Held::Present => "there".to_owned(),
                Held::Value(value) => names.value(value),
            };
            Some(Cell { lane, text, hue, differs: held != server })
        })
        .collect();
    let row = names.row(register.row);
    let name =
        register.column.map_or_else(|| row.clone(), |column| format!("{row}.{}", names.column(register.row, column)));
    Final { name, cells }
}
