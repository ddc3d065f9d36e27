//! What registers hold in the end, on every line of a diagram.

use super::elements::{Cell, FinalState, Hue, Lane};
use super::lanes::hue_of;
use crate::faults::Lifeline;
use crate::joined::JoinedHistory;
use crate::registers::{Register, RegisterState};

/// What a register holds in the end, on every line.
pub(super) fn of_register(joined: &JoinedHistory<'_>, lanes: &[Lane], register: &Register) -> FinalState {
    let names = &joined.names;
    let server = joined.server_state(register);
    let cells = lanes
        .iter()
        .enumerate()
        .filter_map(|(lane, at)| {
            let state = match at.owner {
                Lifeline::Device(device) if names.is_replaced(device) => return None,
                Lifeline::Device(device) => joined.device_state(device, register),
                Lifeline::Backend => server.clone(),
                Lifeline::Service => return None,
            };
            let hue = match (&state, register.column) {
                (RegisterState::Value(value), Some(column)) => {
                    hue_of(lanes, joined.only_writer_of_value(register.row, column, value))
                }
                _ => Hue::Neutral,
            };
            Some(Cell { lane, text: state.text(names), hue, differs: state != server })
        })
        .collect();
    let row = names.row(register.row);
    let name =
        register.column.map_or_else(|| row.clone(), |column| format!("{row}.{}", names.column(register.row, column)));
    FinalState { name, cells }
}
