//! What a diagram consists of: lines, events, messages, faults and final states, each with its place in pixels.

use super::label::Line;
use crate::faults::Lifeline;

/// The room for times, left of all lines.
pub(super) const GUTTER: f64 = 84.0;
/// The height of a line of words.
pub(super) const LINE: f64 = 15.0;
/// The height of a row of final states.
pub(super) const FINAL_ROW: f64 = 34.0;

/// A vertical line.
pub(super) struct Lane {
    pub(super) x: f64,
    pub(super) owner: Lifeline,
    pub(super) title: String,
    pub(super) subtitle: String,
    /// Whether its words stand on its left.
    pub(super) left: bool,
    /// Its colour, for a device.
    pub(super) hue: Hue,
}

/// The colour of something: that of a device, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hue {
    Device(usize),
    Neutral,
}

/// One event.
pub(super) struct EventRow {
    pub(super) y: f64,
    pub(super) height: f64,
    pub(super) time: String,
    pub(super) lane: Option<usize>,
    /// Whether its words stand on the left of its line.
    pub(super) left: bool,
    /// Whether its words stand below a line that leaves it to the right.
    pub(super) below: bool,
    pub(super) lines: Vec<Line>,
    /// Words across all lines, for what concerns the whole run.
    pub(super) banner: Option<String>,
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

/// The part of a line during which a fault lasts or an app is not running.
pub(super) struct Band {
    pub(super) lane: usize,
    pub(super) from: f64,
    pub(super) to: f64,
    /// Whether the app is not running, rather than under a fault.
    pub(super) down: bool,
    pub(super) name: String,
    /// Whether the event that begins it is shown, and so names it.
    pub(super) is_named: bool,
}

/// What a register holds in the end.
pub(super) struct FinalState {
    pub(super) name: String,
    pub(super) cells: Vec<Cell>,
}

/// What it holds on one line.
pub(super) struct Cell {
    pub(super) lane: usize,
    pub(super) text: String,
    pub(super) hue: Hue,
    pub(super) differs: bool,
}
