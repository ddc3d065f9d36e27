//! The events of a diagram below each other, and the messages between them.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::history::{Lifecycle, Phase, RowId, What};

use super::label::Labels;
use super::scene::{Glyph, Hue, LINE, Lane, Message, MessageKind, Row};
use crate::faults::{Lifeline, lifeline};
use crate::reading::{Difference, Reading, Register};
use crate::words::{device_of, moment, shortened};

/// Longer gaps are squeezed and marked.
const GAP_MAX_US: i64 = 3_000_000;
const TOP: f64 = 84.0;
/// Where the lines begin.
pub(super) const FIRST_Y: f64 = TOP - 14.0;
const BREAK: f64 = 26.0;

/// What stands in the rows of a diagram.
pub(super) struct Drawn {
    pub(super) rows: Vec<Row>,
    pub(super) messages: Vec<Message>,
    pub(super) breaks: Vec<(f64, i64)>,
    /// Where each event that is shown stands.
    pub(super) y_of: BTreeMap<usize, f64>,
    pub(super) end_y: f64,
}

/// Puts the events below each other and draws the messages between them.
pub(super) fn draw(
    reading: &Reading<'_>,
    lanes: &[Lane],
    highlight: &[usize],
    registers: &[Register],
    events: &[usize],
) -> Drawn {
    let mut builder = Builder::new(reading, lanes, highlight, events);
    builder.start(registers);
    for index in events {
        builder.row(*index);
    }
    builder.connect();
    let Builder { rows, messages, breaks, y_of, y, .. } = builder;
    Drawn { rows, messages, breaks, y_of, end_y: y + 20.0 }
}

struct Builder<'r, 'a, 'l> {
    labels: Labels<'r, 'a>,
    lanes: &'l [Lane],
    highlight: &'l [usize],
    rows: Vec<Row>,
    messages: Vec<Message>,
    breaks: Vec<(f64, i64)>,
    y_of: BTreeMap<usize, f64>,
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
            y: TOP,
            last_us: None,
            last_time: String::new(),
        }
    }

    fn lane(&self, who: Lifeline) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.who == who)
    }

    fn hue(&self, device: Option<u32>) -> Hue {
        device.and_then(|device| self.lane(Lifeline::Device(device))).map_or(Hue::Neutral, |lane| self.lanes[lane].hue)
    }

    /// What everybody shows before anything happens.
    fn start(&mut self, registers: &[Register]) {
        let reading = self.labels.reading;
        let held: Vec<String> = registers
            .iter()
            .filter_map(|register| {
                let column = register.column?;
                let value = reading.initial.get(&register.row)?.get(column)?;
                Some(format!("{} = {}", reading.names.register(register.row, column), reading.names.value(value)))
            })
            .take(3)
            .collect();
        if held.is_empty() {
            return;
        }
        let y = self.y;
        self.rows.push(Row {
            y,
            height: 10.0,
            time: String::new(),
            lane: None,
            left: false,
            below: false,
            lines: Vec::new(),
            across: Some(format!("at the start everywhere: {}", shortened(&held.join(", "), 110))),
            glyph: Glyph::None,
            hue: Hue::Neutral,
            marked: false,
            tooltip: held.join(", "),
        });
        self.y += 16.0;
    }

    fn row(&mut self, index: usize) {
        let event = &self.labels.reading.names.history.events[index];
        let across = self.labels.across(event);
        let who = match (&event.what, device_of(event.who)) {
            (What::Fault { fault, .. }, _) => Some(lifeline(fault)),
            (What::Commit(_), _) => Some(Lifeline::Backend),
            (_, Some(device)) => Some(Lifeline::Device(device)),
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
            let origin = commit.origin.and_then(|origin| self.lane(Lifeline::Device(origin.device)));
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
        let height =
            words + if lines.is_empty() && across.is_none() { 8.0 } else { 13.0 } + if below { 4.0 } else { 0.0 };
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
            What::Lifecycle(Lifecycle::Killed(_) | Lifecycle::TabClosed | Lifecycle::StorageLost | Lifecycle::CopyRestored(_)) => (Glyph::Cross, own),
            What::Lifecycle(Lifecycle::Started | Lifecycle::TabTookOver) => (Glyph::Start, own),
            What::Protocol { .. } => (Glyph::Cross, own),
            What::Fault { .. } | What::Barrier { .. } | What::Conflicts { .. } | What::Invariants { .. } => (Glyph::None, own),
            _ => (Glyph::Small, own),
        }
    }

    /// Whose value an apply brought, if it is one device's.
    fn author(&self, index: usize) -> Hue {
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
        let (Some(backend), Some(service)) = (self.lane(Lifeline::Backend), self.lane(Lifeline::Service)) else { return };
        let (backend_x, service_x) = (self.lanes[backend].x, self.lanes[service].x);
        let mut messages = Vec::new();
        for attempt in &reading.attempts {
            let Some(lane) = self.lane(Lifeline::Device(attempt.device)) else { continue };
            let (x, hue) = (self.lanes[lane].x, self.lanes[lane].hue);
            let sent = self.y_of.get(&attempt.invoke).copied();
            let end = attempt.end.and_then(|end| Some((end, *self.y_of.get(&end)?)));
            let phase = attempt.end.map(|end| match &reading.names.history.events[end].what {
                What::Upload(upload) => upload.phase,
                _ => Phase::Info,
            });
            let commits: Vec<f64> =
                attempt.commits.iter().filter_map(|commit| self.y_of.get(commit).copied()).collect();
            let towards = |part: f64| x + (backend_x - x) * part;
            for y in &commits {
                let from = sent.filter(|sent| sent < y).unwrap_or(y - 16.0);
                messages.push(Message { from: (x, from), to: (backend_x, *y), kind: MessageKind::Upload, hue });
            }
            match (commits.last(), phase, end, sent) {
                (Some(committed), Some(Phase::Ok), Some((_, y)), _) => {
                    messages.push(Message {
                        from: (backend_x, *committed),
                        to: (x, y),
                        kind: MessageKind::Answer,
                        hue,
                    });
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
                        messages.push(Message {
                            from: (x, sent),
                            to: (backend_x, middle),
                            kind: MessageKind::Question,
                            hue,
                        });
                        messages.push(Message {
                            from: (backend_x, middle),
                            to: (x, y),
                            kind: MessageKind::Answer,
                            hue,
                        });
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
                    let Some(lane) = self.lane(Lifeline::Device(device)) else { continue };
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
