//! Where everything stands in a diagram. All lengths are in pixels of the drawing.

use super::elements::{Band, EventRow, FINAL_ROW, FinalState, Lane, Message};
use super::event_rows::{EventRows, FIRST_Y};
use super::lanes::{chosen_devices, label_room, lanes};
use super::{bands, event_rows, final_states, messages};
use crate::joined::JoinedHistory;
use crate::selection::select;
use crate::words::visible;

/// With more events a diagram is not legible.
const EVENTS_MAX: usize = 44;
const REGISTERS_MAX: usize = 4;

/// A diagram, ready to be drawn.
pub(super) struct Layout {
    pub(super) width: f64,
    /// The room for words beside a device's line.
    pub(super) label_room: f64,
    pub(super) height: f64,
    pub(super) title: String,
    pub(super) lanes: Vec<Lane>,
    pub(super) rows: Vec<EventRow>,
    pub(super) messages: Vec<Message>,
    pub(super) bands: Vec<Band>,
    /// Shortened gaps: where they are, and how much time passes.
    pub(super) gaps: Vec<(f64, i64)>,
    pub(super) end_y: f64,
    pub(super) final_states: Vec<FinalState>,
    pub(super) left_out: usize,
    pub(super) devices_left_out: usize,
}

impl Layout {
    pub(super) fn new(joined: &JoinedHistory<'_>, highlight: &[usize]) -> Self {
        let selection = select(joined, highlight, EVENTS_MAX);
        let devices = chosen_devices(joined, highlight, &selection.events);
        let (lanes, width) = lanes(joined, &devices);
        let registers = joined.main_registers(highlight, REGISTERS_MAX);
        let EventRows { rows, gaps, y_of, end_y } =
            event_rows::place(joined, &lanes, highlight, &registers, &selection.events);
        let messages = messages::between(joined, &lanes, &y_of);
        let bands = bands::bands(joined, &lanes, &y_of, FIRST_Y, end_y);
        let final_states: Vec<FinalState> =
            registers.iter().map(|register| final_states::of_register(joined, &lanes, register)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a diagram has a handful of registers")]
        let height = end_y + 40.0 + FINAL_ROW * final_states.len() as f64 + 62.0;
        let header = &joined.names.history.header;
        Self {
            width,
            label_room: label_room(devices.len()),
            height,
            title: format!("Space-time diagram of a history of scenario {}", visible(&header.scenario)),
            devices_left_out: joined.names.devices() as usize - devices.len(),
            lanes,
            rows,
            messages,
            bands,
            gaps,
            end_y,
            final_states,
            left_out: selection.left_out,
        }
    }
}
