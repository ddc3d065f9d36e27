//! The events of a diagram, one below the other.

use std::collections::{BTreeMap, BTreeSet};

use sim_core::history::{Lifecycle, RowId, What};

use super::elements::{EventRow, Glyph, Hue, LINE, Lane};
use super::label::Labels;
use super::lanes::{hue_of, hue_of_apply, lane_of};
use crate::faults::{Lifeline, lifeline};
use crate::joined::JoinedHistory;
use crate::registers::Register;
use crate::words::{device_of, moment, shortened};

/// Longer gaps are shortened and marked.
const GAP_MAX_US: i64 = 3_000_000;
const TOP: f64 = 84.0;
/// Where the lines begin.
pub(super) const FIRST_Y: f64 = TOP - 14.0;
/// The height of a shortened gap.
const GAP: f64 = 26.0;

/// The events with their places.
pub(super) struct EventRows {
    pub(super) rows: Vec<EventRow>,
    /// Shortened gaps: where they are, and how much time passes.
    pub(super) gaps: Vec<(f64, i64)>,
    /// The height at which each event that is shown stands.
    pub(super) y_of: BTreeMap<usize, f64>,
    pub(super) end_y: f64,
}

/// Puts the events one below the other.
pub(super) fn place(
    joined: &JoinedHistory<'_>,
    lanes: &[Lane],
    highlight: &[usize],
    registers: &[Register],
    events: &[usize],
) -> EventRows {
    let mut builder = Builder::new(joined, lanes, highlight, events);
    builder.start(registers);
    for index in events {
        builder.row(*index);
    }
    let Builder { rows, gaps, y_of, y, .. } = builder;
    EventRows { rows, gaps, y_of, end_y: y + 20.0 }
}

struct Builder<'r, 'a, 'l> {
    labels: Labels<'r, 'a>,
    lanes: &'l [Lane],
    highlight: &'l [usize],
    rows: Vec<EventRow>,
    gaps: Vec<(f64, i64)>,
    y_of: BTreeMap<usize, f64>,
    y: f64,
    last_us: Option<i64>,
    last_time: String,
}

impl<'r, 'a, 'l> Builder<'r, 'a, 'l> {
    fn new(joined: &'r JoinedHistory<'a>, lanes: &'l [Lane], highlight: &'l [usize], events: &[usize]) -> Self {
        let rows: BTreeSet<RowId> = events.iter().flat_map(|index| joined.rows_of(*index)).collect();
        Self {
            labels: Labels { joined, one_row: rows.len() == 1 },
            lanes,
            highlight,
            rows: Vec::new(),
            gaps: Vec::new(),
            y_of: BTreeMap::new(),
            y: TOP,
            last_us: None,
            last_time: String::new(),
        }
    }

    /// A banner with what the registers hold on every device before anything happens.
    fn start(&mut self, registers: &[Register]) {
        let joined = self.labels.joined;
        let values: Vec<String> = registers
            .iter()
            .filter_map(|register| {
                let column = register.column?;
                let value = joined.initial.get(&register.row)?.get(column)?;
                Some(format!("{} = {}", joined.names.register(register.row, column), joined.names.value(value)))
            })
            .take(3)
            .collect();
        if values.is_empty() {
            return;
        }
        let y = self.y;
        self.rows.push(EventRow {
            y,
            height: 10.0,
            time: String::new(),
            lane: None,
            left: false,
            below: false,
            lines: Vec::new(),
            banner: Some(format!("at the start everywhere: {}", shortened(&values.join(", "), 110))),
            glyph: Glyph::None,
            hue: Hue::Neutral,
            marked: false,
            tooltip: values.join(", "),
        });
        self.y += 16.0;
    }

    fn row(&mut self, index: usize) {
        let event = &self.labels.joined.names.history.events[index];
        let banner = self.labels.banner(event);
        let owner = match (&event.what, device_of(event.who)) {
            (What::Fault { fault, .. }, _) => Some(lifeline(fault)),
            (What::Commit(_), _) => Some(Lifeline::Backend),
            (_, Some(device)) => Some(Lifeline::Device(device)),
            _ => None,
        };
        let lane = owner.and_then(|owner| lane_of(self.lanes, owner));
        if lane.is_none() && banner.is_none() {
            return;
        }
        let lines = self.labels.of(index, event);
        let (glyph, hue) = self.glyph(index, lane);
        let mut left = lane.is_some_and(|lane| self.lanes[lane].left);
        let mut below = false;
        if let What::Commit(commit) = &event.what {
            let origin = commit.origin.and_then(|origin| lane_of(self.lanes, Lifeline::Device(origin.device)));
            left = origin.is_some_and(|origin| !self.lanes[origin].left);
            below = !left;
        }
        if let Some(last_us) = self.last_us
            && event.at_us - last_us > GAP_MAX_US
        {
            self.gaps.push((self.y + GAP / 2.0, event.at_us - last_us));
            self.y += GAP;
        }
        self.last_us = Some(event.at_us);
        let above = match &event.what {
            What::Apply(_) => 20.0,
            What::Commit(_) => 22.0,
            _ if banner.is_some() => 16.0,
            _ => 11.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "a label has a handful of lines")]
        let words = LINE * lines.len().saturating_sub(usize::from(!below)) as f64;
        let height =
            words + if lines.is_empty() && banner.is_none() { 8.0 } else { 13.0 } + if below { 4.0 } else { 0.0 };
        let y = self.y + above;
        let time = moment(event.at_us);
        let time = if time == self.last_time { String::new() } else { time };
        if !time.is_empty() {
            self.last_time.clone_from(&time);
        }
        let tooltip = self.labels.tooltip(event, &lines);
        let marked = self.highlight.binary_search(&index).is_ok();
        self.rows.push(EventRow { y, height, time, lane, left, below, lines, banner, glyph, hue, marked, tooltip });
        self.y_of.insert(index, y);
        self.y = y + height;
    }

    fn glyph(&self, index: usize, lane: Option<usize>) -> (Glyph, Hue) {
        let own = lane.map_or(Hue::Neutral, |lane| self.lanes[lane].hue);
        match &self.labels.joined.names.history.events[index].what {
            What::Tx(_) => (Glyph::Dot, own),
            What::Commit(commit) => {
                (Glyph::Commit(commit.seq), hue_of(self.lanes, commit.origin.map(|origin| origin.device)))
            }
            What::Apply(_) => (Glyph::Ring, hue_of_apply(self.labels.joined, self.lanes, index)),
            What::Lifecycle(
                Lifecycle::Killed(_) | Lifecycle::TabClosed | Lifecycle::StorageLost | Lifecycle::CopyRestored(_),
            ) => (Glyph::Cross, own),
            What::Lifecycle(Lifecycle::Started | Lifecycle::TabTookOver) => (Glyph::Start, own),
            What::Protocol { .. } => (Glyph::Cross, own),
            What::Fault { .. } | What::Barrier { .. } | What::Conflicts { .. } | What::Invariants { .. } => {
                (Glyph::None, own)
            }
            _ => (Glyph::Small, own),
        }
    }
}
