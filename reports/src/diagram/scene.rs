//! What stands where in a diagram. All lengths are in pixels of the drawing.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::history::{Lifecycle, Phase, RowId, What};
use sim_core::plan::Fault;

use super::label::{Labels, Line};
use crate::faults::{Target, state, target};
use crate::reading::{Held, Reading, Register};
use crate::selection::select;
use crate::words::{device_name, device_of, moment, visible};

/// More events than these are not legible.
const EVENTS_MAX: usize = 44;
/// More lanes than these are not legible either.
const DEVICES_MAX: usize = 6;
const REGISTERS_MAX: usize = 4;
/// Longer gaps are squeezed and marked.
const GAP_MAX_US: i64 = 3_000_000;

pub(super) const GUTTER: f64 = 84.0;
/// The room for words beside a device's line.
pub(super) const LABEL: f64 = 186.0;
const INNER: f64 = 178.0;
const NARROW: f64 = 142.0;
const TOP: f64 = 92.0;
pub(super) const LINE: f64 = 15.0;
const BREAK: f64 = 26.0;
pub(super) const FINAL_ROW: f64 = 34.0;

/// A drawing.
pub(super) struct Scene {
    pub(super) width: f64,
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
    pub(super) who: Target,
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
        let mut builder = Builder::new(reading, &lanes, highlight, &selection.events);
        for index in &selection.events {
            builder.row(*index);
        }
        builder.connect();
        let end_y = builder.y + 20.0;
        let bands = bands(reading, &lanes, &builder.y_of, builder.first_y, end_y);
        let Builder { rows, messages, breaks, .. } = builder;
        let registers = reading.main_registers(highlight, REGISTERS_MAX);
        let finals: Vec<Final> = registers.iter().map(|register| end_of(reading, &lanes, register)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a diagram has a handful of registers")]
        let height = end_y + 40.0 + FINAL_ROW * finals.len() as f64 + 62.0;
        let header = &reading.names.history.header;
        Self {
            width,
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
    if all as usize <= DEVICES_MAX - 1 {
        return (0..all).collect();
    }
    let of = |index: &usize| {
        let event = &reading.names.history.events[*index];
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
    let mut x = GUTTER;
    let mut lanes = Vec::new();
    let device_lane = |x: f64, place: usize, left: bool| {
        let device = devices[place];
        let sub = match names.several_users() {
            true => format!("{} · {}", names.kind(device), visible(names.user(device))),
            false => names.kind(device).to_owned(),
        };
        Lane { x, who: Target::Device(device), head: device_name(device), sub, left, hue: Hue::Device(place) }
    };
    for place in 0..lefts {
        x += LABEL;
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
    lanes.push(server(x, Target::Backend, "backend", "PostgreSQL"));
    x += INNER;
    lanes.push(server(x, Target::Service, "sync service", "streams changes"));
    x += NARROW;
    for place in lefts..devices.len() {
        lanes.push(device_lane(x, place, false));
        x += LABEL;
    }
    (lanes, x + 8.0)
}

struct Builder<'r, 'a, 'l> {
    labels: Labels<'r, 'a>,
    lanes: &'l [Lane],
    highlight: &'l [usize],
    rows: Vec<Row>,
    messages: Vec<Message>,
    breaks: Vec<(f64, i64)>,
    y_of: BTreeMap<usize, f64>,
    first_y: f64,
    y: f64,
    last_us: Option<i64>,
    last_time: String,
}

impl<'r, 'a, 'l> Builder<'r, 'a, 'l> {
    fn new(reading: &'r Reading<'a>, lanes: &'l [Lane], highlight: &'l [usize], events: &[usize]) -> Self {
        let rows: BTreeSet<RowId> = events.iter().flat_map(|index| reading.rows_of(*index)).collect();
        Self {
            labels: Labels { reading, one_row: rows.len() == 1 },
            lanes,
            highlight,
            rows: Vec::new(),
            messages: Vec::new(),
            breaks: Vec::new(),
            y_of: BTreeMap::new(),
            first_y: TOP - 14.0,
            y: TOP,
            last_us: None,
            last_time: String::new(),
        }
    }

    fn lane(&self, who: Target) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.who == who)
    }

    fn hue(&self, device: Option<u32>) -> Hue {
        device.and_then(|device| self.lane(Target::Device(device))).map_or(Hue::Neutral, |lane| self.lanes[lane].hue)
    }

    fn row(&mut self, index: usize) {
        let event = &self.labels.reading.names.history.events[index];
        let across = self.labels.across(event);
        let who = match (&event.what, device_of(event.who)) {
            (What::Fault { fault, .. }, _) => Some(target(fault)),
            (What::Commit(_), _) => Some(Target::Backend),
            (_, Some(device)) => Some(Target::Device(device)),
            _ => None,
        };
        let lane = who.and_then(|who| self.lane(who));
        if lane.is_none() && across.is_none() {
            return;
        }
        let lines = self.labels.of(index, event);
        let (glyph, hue) = self.glyph(index, lane);
        let mut left = lane.is_some_and(|lane| self.lanes[lane].left);
        let mut below = false;
        if let What::Commit(commit) = &event.what {
            let origin = commit.origin.and_then(|origin| self.lane(Target::Device(origin.device)));
            left = origin.is_some_and(|origin| !self.lanes[origin].left);
            below = !left;
        }
        if let Some(last_us) = self.last_us
            && event.at_us - last_us > GAP_MAX_US
        {
            self.breaks.push((self.y + BREAK / 2.0, event.at_us - last_us));
            self.y += BREAK;
        }
        self.last_us = Some(event.at_us);
        let above = match &event.what {
            What::Apply(_) => 20.0,
            What::Commit(_) => 22.0,
            _ if across.is_some() => 16.0,
            _ => 11.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "a label has a handful of lines")]
        let words = LINE * lines.len().saturating_sub(usize::from(!below)) as f64;
        let height = words + if lines.is_empty() && across.is_none() { 8.0 } else { 13.0 } + if below { 4.0 } else { 0.0 };
        let y = self.y + above;
        let time = moment(event.at_us);
        let time = if time == self.last_time { String::new() } else { time };
        if !time.is_empty() {
            self.last_time.clone_from(&time);
        }
        let tooltip = self.labels.tooltip(event, &lines);
        let marked = self.highlight.binary_search(&index).is_ok();
        self.rows.push(Row { y, height, time, lane, left, below, lines, across, glyph, hue, marked, tooltip });
        self.y_of.insert(index, y);
        self.y = y + height;
    }

    fn glyph(&self, index: usize, lane: Option<usize>) -> (Glyph, Hue) {
        let own = lane.map_or(Hue::Neutral, |lane| self.lanes[lane].hue);
        match &self.labels.reading.names.history.events[index].what {
            What::Tx(_) => (Glyph::Dot, own),
            What::Commit(commit) => (Glyph::Commit(commit.seq), self.hue(commit.origin.map(|origin| origin.device))),
            What::Apply(_) => (Glyph::Ring, self.author(index)),
            What::Lifecycle(Lifecycle::Killed(_) | Lifecycle::TabClosed) => (Glyph::Cross, own),
            What::Lifecycle(Lifecycle::Started | Lifecycle::TabTookOver) => (Glyph::Start, own),
            What::Protocol { .. } => (Glyph::Cross, own),
            What::Fault { .. } | What::Barrier { .. } | What::Conflicts { .. } => (Glyph::None, own),
            _ => (Glyph::Small, own),
        }
    }

    /// Whose value an apply brought, if it is one device's.
    fn author(&self, index: usize) -> Hue {
        use crate::reading::Difference;
        let reading = self.labels.reading;
        let authors: BTreeSet<Option<u32>> = reading
            .applied
            .get(&index)
            .into_iter()
            .flatten()
            .map(|difference| match difference {
                Difference::Changes { row, column, after, .. } => reading.wrote(*row, *column, after),
                Difference::Appears(row) | Difference::Disappears(row) => reading.only_writer(*row),
            })
            .collect();
        match authors.iter().collect::<Vec<_>>()[..] {
            [author] => self.hue(*author),
            _ => Hue::Neutral,
        }
    }

    /// Draws the messages between the events that are shown.
    fn connect(&mut self) {
        let reading = self.labels.reading;
        let (Some(backend), Some(service)) = (self.lane(Target::Backend), self.lane(Target::Service)) else { return };
        let (backend_x, service_x) = (self.lanes[backend].x, self.lanes[service].x);
        let mut messages = Vec::new();
        for attempt in &reading.attempts {
            let Some(lane) = self.lane(Target::Device(attempt.device)) else { continue };
            let (x, hue) = (self.lanes[lane].x, self.lanes[lane].hue);
            let sent = self.y_of.get(&attempt.invoke).copied();
            let end = attempt.end.and_then(|end| Some((end, *self.y_of.get(&end)?)));
            let phase = attempt.end.map(|end| match &reading.names.history.events[end].what {
                What::Upload(upload) => upload.phase,
                _ => Phase::Info,
            });
            let commits: Vec<f64> = attempt.commits.iter().filter_map(|commit| self.y_of.get(commit).copied()).collect();
            let towards = |part: f64| x + (backend_x - x) * part;
            for y in &commits {
                let from = sent.filter(|sent| sent < y).unwrap_or(y - 16.0);
                messages.push(Message { from: (x, from), to: (backend_x, *y), kind: MessageKind::Upload, hue });
            }
            match (commits.last(), phase, end, sent) {
                (Some(committed), Some(Phase::Ok), Some((_, y)), _) => {
                    messages.push(Message { from: (backend_x, *committed), to: (x, y), kind: MessageKind::Answer, hue });
                }
                (Some(committed), Some(Phase::Info), ..) => {
                    let to = (backend_x + (x - backend_x) * 0.5, committed + 20.0);
                    messages.push(Message { from: (backend_x, *committed), to, kind: MessageKind::Lost, hue });
                }
                (None, Some(Phase::Ok | Phase::Fail), Some((end, y)), Some(sent)) => {
                    let reached = match &reading.names.history.events[end].what {
                        What::Upload(upload) => upload.status.is_some(),
                        _ => false,
                    };
                    if reached {
                        let middle = f64::midpoint(sent, y);
                        messages.push(Message { from: (x, sent), to: (backend_x, middle), kind: MessageKind::Question, hue });
                        messages.push(Message { from: (backend_x, middle), to: (x, y), kind: MessageKind::Answer, hue });
                    } else {
                        let to = (towards(0.5), sent + 13.0);
                        messages.push(Message { from: (x, sent), to, kind: MessageKind::Lost, hue });
                    }
                }
                (None, Some(Phase::Info) | None, _, Some(sent)) => {
                    let to = (towards(0.5), sent + 13.0);
                    messages.push(Message { from: (x, sent), to, kind: MessageKind::Lost, hue });
                }
                _ => {}
            }
        }
        for (index, y) in &self.y_of {
            let event = &reading.names.history.events[*index];
            match (&event.what, device_of(event.who)) {
                (What::Commit(commit), _) if !commit.changes.is_empty() => messages.push(Message {
                    from: (backend_x, *y),
                    to: (service_x, *y),
                    kind: MessageKind::Replication,
                    hue: self.hue(commit.origin.map(|origin| origin.device)),
                }),
                (What::Apply(_), Some(device)) => {
                    let Some(lane) = self.lane(Target::Device(device)) else { continue };
                    let hue = self.author(*index);
                    let (from, to) = ((service_x, y - 14.0), (self.lanes[lane].x, *y));
                    messages.push(Message { from, to, kind: MessageKind::Download, hue });
                }
                _ => {}
            }
        }
        self.messages = messages;
    }
}

/// The stretches of faults, and of apps that are not running.
fn bands(
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
        let from = if y_of.range(..from).next().is_none() && !y_of.contains_key(&from) { first_y } else { y_at(from) };
        if to > from {
            bands.push(Band { lane, from, to, down, name });
        }
    };
    for (index, event) in reading.names.history.events.iter().enumerate() {
        match (&event.what, device_of(event.who)) {
            (What::Fault { phase: Phase::Invoke, key, fault }, _) => {
                if state(fault).is_some() && !matches!(fault, Fault::Crash { .. }) {
                    open.insert(*key, (index, fault));
                }
            }
            (What::Fault { key, .. }, _) => {
                if let Some((from, fault)) = open.remove(key) {
                    close(position(target(fault)), from, y_at(index), false, state(fault).unwrap_or_default());
                }
            }
            (What::Lifecycle(Lifecycle::Killed(_)), Some(device)) => {
                down.insert(device, index);
            }
            (What::Lifecycle(Lifecycle::Started), Some(device)) => {
                if let Some(from) = down.remove(&device) {
                    close(position(Target::Device(device)), from, y_at(index), true, "not running".to_owned());
                }
            }
            _ => {}
        }
    }
    for (from, fault) in open.into_values() {
        close(position(target(fault)), from, end_y, false, state(fault).unwrap_or_default());
    }
    for (device, from) in down {
        close(position(Target::Device(device)), from, end_y, true, "not running".to_owned());
    }
    bands
}

fn end_of(reading: &Reading<'_>, lanes: &[Lane], register: &Register) -> Final {
    let names = &reading.names;
    let server = reading.server_held(register);
    let hue_of = |device: Option<u32>| {
        let lane = lanes.iter().find(|lane| device.is_some_and(|device| lane.who == Target::Device(device)));
        lane.map_or(Hue::Neutral, |lane| lane.hue)
    };
    let cells = lanes
        .iter()
        .enumerate()
        .filter_map(|(lane, at)| {
            let held = match at.who {
                Target::Device(device) => reading.device_held(device, register),
                Target::Backend => server.clone(),
                Target::Service => return None,
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
    let name = register.column.map_or_else(|| row.clone(), |column| format!("{row}.{}", names.column(register.row, column)));
    Final { name, cells }
}
