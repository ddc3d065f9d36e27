//! What stands where in a diagram. All lengths are in pixels of the drawing.

use std::collections::BTreeSet;

use sim_core::history::What;

use super::ends;
use super::label::Line;
use super::rows::{self, Drawn, FIRST_Y};
use crate::faults::Lifeline;
use crate::reading::Reading;
use crate::selection::select;
use crate::words::{device_name, device_of, visible};

/// More events than these are not legible.
const EVENTS_MAX: usize = 44;
/// More lanes than these are not legible either.
const DEVICES_MAX: usize = 6;
const REGISTERS_MAX: usize = 4;

pub(super) const GUTTER: f64 = 84.0;
const LABEL_OUTER: f64 = 174.0;
const INNER: f64 = 172.0;
const NARROW: f64 = 142.0;
pub(super) const LINE: f64 = 15.0;
pub(super) const FINAL_ROW: f64 = 34.0;

/// The room for words beside a device's line: less, the more devices there are.
fn label_room(devices: usize) -> f64 {
    match devices {
        0..=3 => 186.0,
        4 => 166.0,
        _ => 148.0,
    }
}

/// A drawing.
pub(super) struct Scene {
    pub(super) width: f64,
    /// The room for words beside a device's line.
    pub(super) label: f64,
    pub(super) height: f64,
    pub(super) title: String,
    pub(super) lanes: Vec<Lane>,
    pub(super) rows: Vec<Row>,
    pub(super) messages: Vec<Message>,
    pub(super) bands: Vec<Band>,
    /// Squeezed gaps: where, and how much time passes.
    pub(super) breaks: Vec<(f64, i64)>,
    pub(super) end_y: f64,
    pub(super) finals: Vec<Final>,
    pub(super) left_out: usize,
    pub(super) devices_left_out: usize,
}

/// A vertical line.
pub(super) struct Lane {
    pub(super) x: f64,
    pub(super) who: Lifeline,
    pub(super) head: String,
    pub(super) sub: String,
    /// Whether words stand on its left.
    pub(super) left: bool,
    /// Its colour, for a device.
    pub(super) hue: Hue,
}

/// Whose colour something has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hue {
    Device(usize),
    Neutral,
}

/// One event.
pub(super) struct Row {
    pub(super) y: f64,
    pub(super) height: f64,
    pub(super) time: String,
    pub(super) lane: Option<usize>,
    /// Whether its words stand on the left of its line.
    pub(super) left: bool,
    /// Whether its words stand below a line that leaves it to the right.
    pub(super) below: bool,
    pub(super) lines: Vec<Line>,
    pub(super) across: Option<String>,
    pub(super) glyph: Glyph,
    pub(super) hue: Hue,
    pub(super) marked: bool,
    pub(super) tooltip: String,
}

/// How an event looks.
pub(super) enum Glyph {
    Dot,
    Ring,
    Small,
    Commit(u64),
    Cross,
    Start,
    None,
}

/// An arrow.
pub(super) struct Message {
    pub(super) from: (f64, f64),
    pub(super) to: (f64, f64),
    pub(super) kind: MessageKind,
    pub(super) hue: Hue,
}

/// What an arrow stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    Upload,
    /// An upload that led to no commit but was answered.
    Question,
    Answer,
    Replication,
    Download,
    Lost,
}

/// A fault's stretch on a line, or one during which an app was not running.
pub(super) struct Band {
    pub(super) lane: usize,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) down: bool,
    pub(super) name: String,
    /// Whether the event that begins it is shown, and names it.
    pub(super) told: bool,
}

/// What a register is in the end.
pub(super) struct Final {
    pub(super) name: String,
    pub(super) cells: Vec<Cell>,
}

/// What it is on one line.
pub(super) struct Cell {
    pub(super) lane: usize,
    pub(super) text: String,
    pub(super) hue: Hue,
    pub(super) differs: bool,
}

impl Scene {
    pub(super) fn new(reading: &Reading<'_>, highlight: &[usize]) -> Self {
        let selection = select(reading, highlight, EVENTS_MAX);
        let devices = chosen_devices(reading, highlight, &selection.events);
        let (lanes, width) = lanes(reading, &devices);
        let registers = reading.main_registers(highlight, REGISTERS_MAX);
        let Drawn { rows, messages, breaks, y_of, end_y } =
            rows::draw(reading, &lanes, highlight, &registers, &selection.events);
        let bands = ends::bands(reading, &lanes, &y_of, FIRST_Y, end_y);
        let finals: Vec<Final> = registers.iter().map(|register| ends::end_of(reading, &lanes, register)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a diagram has a handful of registers")]
        let height = end_y + 40.0 + FINAL_ROW * finals.len() as f64 + 62.0;
        let header = &reading.names.history.header;
        Self {
            width,
            label: label_room(devices.len()),
            height,
            title: format!("Space-time diagram of a history of scenario {}", visible(&header.scenario)),
            devices_left_out: reading.names.devices() as usize - devices.len(),
            lanes,
            rows,
            messages,
            bands,
            breaks,
            end_y,
            finals,
            left_out: selection.left_out,
        }
    }
}

/// The devices to show: all of a few, else those of the highlighted events first.
fn chosen_devices(reading: &Reading<'_>, highlight: &[usize], events: &[usize]) -> Vec<u32> {
    let all = reading.names.devices();
    if (all as usize) < DEVICES_MAX {
        return (0..all).collect();
    }
    let of = |index: &usize| {
        let event = reading.names.history.events.get(*index)?;
        match &event.what {
            What::Commit(commit) => commit.origin.map(|origin| origin.device),
            What::Fault { fault, .. } => fault.device(),
            _ => device_of(event.who),
        }
    };
    let mut chosen = BTreeSet::new();
    for device in highlight.iter().chain(events).filter_map(of) {
        if chosen.len() == DEVICES_MAX {
            break;
        }
        chosen.insert(device);
    }
    chosen.into_iter().filter(|device| *device < all).collect()
}

/// Half of the devices stand left of the servers, half right, so that arrows cross few lines.
fn lanes(reading: &Reading<'_>, devices: &[u32]) -> (Vec<Lane>, f64) {
    let names = &reading.names;
    let lefts = devices.len().div_ceil(2);
    let label = label_room(devices.len());
    let mut x = GUTTER;
    let mut lanes = Vec::new();
    let device_lane = |x: f64, place: usize, left: bool| {
        let device = devices[place];
        let sub = match names.several_users() {
            true => format!("{} · {}", names.kind(device), visible(names.user(device))),
            false => names.kind(device).to_owned(),
        };
        Lane { x, who: Lifeline::Device(device), head: device_name(device), sub, left, hue: Hue::Device(place) }
    };
    for place in 0..lefts {
        // The outermost words have nothing beside them but the times, or the edge.
        x += if place == 0 { label.max(LABEL_OUTER) } else { label };
        lanes.push(device_lane(x, place, true));
    }
    x += INNER;
    let server = |x, who, head: &str, sub: &str| Lane {
        x,
        who,
        head: head.to_owned(),
        sub: sub.to_owned(),
        left: false,
        hue: Hue::Neutral,
    };
    lanes.push(server(x, Lifeline::Backend, "backend", "PostgreSQL"));
    x += INNER;
    lanes.push(server(x, Lifeline::Service, "sync service", "streams changes"));
    x += NARROW;
    for place in lefts..devices.len() {
        lanes.push(device_lane(x, place, false));
        x += if place + 1 == devices.len() { label.max(LABEL_OUTER) } else { label };
    }
    (lanes, x + 8.0)
}
