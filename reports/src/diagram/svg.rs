//! Draws a diagram as SVG.

use maud::{Markup, PreEscaped, html};

use super::elements::{
    Band, Cell, EventRow, FINAL_ROW, FinalState, GUTTER, Glyph, Hue, LINE, Lane, Message, MessageKind,
};
use super::label::Tone;
use super::layout::Layout;
use super::style::{STYLE, Style};
use crate::faults::Lifeline;
use crate::words::{counted, duration, shortened};

const COMMIT_RADIUS: f64 = 11.0;
const DOT_RADIUS: f64 = 6.0;
/// The width of a character: the average, rounded up.
const CHAR: f64 = 5.8;
const CHIP: f64 = 150.0;
const HEAD: f64 = 112.0;

pub(super) fn svg(layout: &Layout, style: Style) -> Markup {
    let Layout { width, height, end_y, .. } = layout;
    html! {
        svg class="st" xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {} {}", px(*width), px(*height)))
            width=(px(*width)) height=[(style == Style::InDiagram).then(|| px(*height))] style=[page_style(layout, style)]
            role="img" aria-label=(layout.title) {
            title { (layout.title) }
            @if style == Style::InDiagram { style { (PreEscaped(STYLE)) } }
            rect class="st-bg" width=(px(*width)) height=(px(*height)) rx="10" {}
            @for row in layout.rows.iter().filter(|row| row.marked) { (mark(row, *width)) }
            @for lane in &layout.lanes { (lifeline(lane, *end_y)) }
            @for (y, passed) in &layout.gaps { (gap(*y, *passed, &layout.lanes)) }
            @for stretch in &layout.bands { (band(stretch, &layout.lanes)) }
            @for message in &layout.messages { (arrow(message)) }
            @for row in &layout.rows { (event(row, layout)) }
            @for lane in &layout.lanes { (head(lane)) }
            (final_states(layout))
            (legend(layout))
        }
    }
}

/// In a page, a wide drawing shrinks a little before it scrolls.
fn page_style(layout: &Layout, style: Style) -> Option<String> {
    let least = layout.width.min((layout.width * 0.8).max(900.0));
    (style == Style::InPage)
        .then(|| format!("width:100%;height:auto;min-width:{}px;max-width:{}px", px(least), px(layout.width)))
}

/// A length, short and the same on every machine.
fn px(length: f64) -> String {
    let text = format!("{length:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// How many characters fit.
fn chars(room: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let count = (room / CHAR).max(8.0) as usize;
    count
}

fn hue(hue: Hue) -> String {
    match hue {
        Hue::Device(place) => format!("st-d{}", place % 6),
        Hue::Neutral => "st-n".to_owned(),
    }
}

fn mark(row: &EventRow, width: f64) -> Markup {
    let (top, height) = (row.y - 12.0, row.height + 11.0);
    html! {
        rect class="st-mark" x="0" y=(px(top)) width=(px(width)) height=(px(height)) {}
        rect class="st-mark-edge" x="0" y=(px(top)) width="4" height=(px(height)) {}
    }
}

fn lifeline(lane: &Lane, end_y: f64) -> Markup {
    html! { line class="st-life" x1=(px(lane.x)) y1="56" x2=(px(lane.x)) y2=(px(end_y)) {} }
}

fn head(lane: &Lane) -> Markup {
    let left = lane.x - HEAD / 2.0;
    html! {
        g class=(hue(lane.hue)) {
            rect class="st-head" x=(px(left)) y="14" width=(px(HEAD)) height="42" rx="8" {}
            @if lane.hue != Hue::Neutral {
                rect class="st-tip" x=(px(left)) y="14" width=(px(HEAD)) height="4" rx="2" {}
            }
            text class="st-head-text" x=(px(lane.x)) y="33" text-anchor="middle" { (lane.title) }
            text class="st-sub" x=(px(lane.x)) y="48" text-anchor="middle" { (shortened(&lane.subtitle, 20)) }
        }
    }
}

fn band(band: &Band, lanes: &[Lane]) -> Markup {
    let lane = &lanes[band.lane];
    let class = if band.down { "st-down" } else { "st-band" };
    let room = band.to - band.from - 8.0;
    // Words about events are on the other side.
    let x = if lane.left { lane.x + 20.0 } else { lane.x - 13.0 };
    let y = band.from + 4.0;
    html! {
        rect class=(class) x=(px(lane.x - 8.0)) y=(px(band.from)) width="16" height=(px(band.to - band.from)) rx="6" {
            title { (band.name) }
        }
        @if !band.is_named && room > CHAR * 8.0 {
            text class="st-sub st-halo" x=(px(x)) y=(px(y)) text-anchor="end" transform=(format!("rotate(-90 {} {})", px(x), px(y))) {
                (shortened(&band.name, chars(room)))
            }
        }
    }
}

fn gap(y: f64, passed_us: i64, lanes: &[Lane]) -> Markup {
    let passed = duration(passed_us.unsigned_abs());
    html! {
        @for lane in lanes {
            rect class="st-bg" x=(px(lane.x - 3.0)) y=(px(y - 8.0)) width="6" height="16" {}
            line class="st-break" x1=(px(lane.x)) y1=(px(y - 7.0)) x2=(px(lane.x)) y2=(px(y + 8.0)) {}
        }
        text class="st-time" x=(px(GUTTER - 8.0)) y=(px(y + 4.0)) text-anchor="end" font-style="italic" { "+ " (passed) }
    }
}

fn arrow(message: &Message) -> Markup {
    let Message { from, to, kind, hue: colour } = message;
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy).max(1.0);
    let (ux, uy) = (dx / length, dy / length);
    let (cut_from, cut_to) = match kind {
        MessageKind::Upload => (4.0, COMMIT_RADIUS + 2.0),
        MessageKind::Question => (4.0, 6.0),
        MessageKind::Answer => (COMMIT_RADIUS + 2.0, 5.0),
        MessageKind::Replication => (COMMIT_RADIUS + 2.0, 3.0),
        MessageKind::Download => (0.0, DOT_RADIUS + 3.0),
        MessageKind::Lost => (6.0, 0.0),
    };
    let start = (from.0 + ux * cut_from, from.1 + uy * cut_from);
    let end = (to.0 - ux * cut_to, to.1 - uy * cut_to);
    let class = match kind {
        MessageKind::Answer => "st-line st-answer",
        MessageKind::Replication | MessageKind::Download => "st-line st-thin",
        MessageKind::Upload | MessageKind::Question | MessageKind::Lost => "st-line",
    };
    let back = (end.0 - ux * 8.0, end.1 - uy * 8.0);
    let tip = format!(
        "{},{} {},{} {},{}",
        px(end.0),
        px(end.1),
        px(back.0 - uy * 3.6),
        px(back.1 + ux * 3.6),
        px(back.0 + uy * 3.6),
        px(back.1 - ux * 3.6)
    );
    html! {
        g class=(hue(*colour)) {
            line class=(class) x1=(px(start.0)) y1=(px(start.1)) x2=(px(end.0)) y2=(px(end.1)) {}
            @if *kind == MessageKind::Lost {
                path class="st-lost" d=(cross(end.0, end.1, 5.0)) {}
            } @else {
                polygon class="st-tip" points=(tip) {}
            }
            @match kind {
                MessageKind::Question => circle class="st-ring" cx=(px(to.0)) cy=(px(to.1)) r="4" {},
                MessageKind::Download => circle class="st-tip" cx=(px(from.0)) cy=(px(from.1)) r="2.5" {},
                _ => {},
            }
        }
    }
}

fn cross(x: f64, y: f64, half: f64) -> String {
    let (left, right, top, bottom) = (px(x - half), px(x + half), px(y - half), px(y + half));
    format!("M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}")
}

fn event(row: &EventRow, layout: &Layout) -> Markup {
    let y = row.y;
    let class = if row.marked { "st-event st-marked" } else { "st-event" };
    html! {
        g class=(class) {
            title { (row.tooltip) }
            @if !row.time.is_empty() && (row.marked || !row.lines.is_empty() || row.banner.is_some()) {
                text class="st-time" x=(px(GUTTER - 8.0)) y=(px(y + 4.0)) text-anchor="end" { (row.time) }
            }
            @if let Some(words) = &row.banner {
                line class="st-across" x1=(px(GUTTER)) y1=(px(y)) x2=(px(layout.width - 12.0)) y2=(px(y)) {}
                text class="st-muted st-halo" x=(px(f64::midpoint(GUTTER, layout.width))) y=(px(y + 4.0)) text-anchor="middle" { (words) }
            }
            @if let Some(lane) = row.lane.map(|lane| &layout.lanes[lane]) {
                g class=(hue(row.hue)) { (glyph(&row.glyph, lane.x, y)) }
                (words(row, lane, layout.label_room))
            }
        }
    }
}

fn glyph(glyph: &Glyph, x: f64, y: f64) -> Markup {
    let (cx, cy) = (px(x), px(y));
    html! {
        @match glyph {
            Glyph::Dot => circle class="st-fill" cx=(cx) cy=(cy) r=(px(DOT_RADIUS + 1.0)) {},
            Glyph::Ring => circle class="st-ring" cx=(cx) cy=(cy) r=(px(DOT_RADIUS)) {},
            Glyph::Small => circle class="st-tip" cx=(cx) cy=(cy) r="3" {},
            Glyph::Commit(number) => {
                circle class="st-fill" cx=(cx) cy=(cy) r=(px(COMMIT_RADIUS)) {}
                text class="st-number" x=(cx) y=(px(y + 4.0)) text-anchor="middle" { (number) }
            },
            Glyph::Cross => path class="st-lost" d=(cross(x, y, 6.0)) {},
            Glyph::Start => circle class="st-tip" cx=(cx) cy=(cy) r="4" {},
            Glyph::None => {},
        }
    }
}

fn words(row: &EventRow, lane: &Lane, room: f64) -> Markup {
    let away = if matches!(row.glyph, Glyph::Commit(_)) { COMMIT_RADIUS + 7.0 } else { 15.0 };
    let (x, anchor) = if row.left { (lane.x - away, "end") } else { (lane.x + away, "start") };
    let first = if row.below { row.y + LINE + 2.0 } else { row.y + 4.0 };
    html! {
        @for (at, line) in (0u8..).zip(&row.lines) {
            @let class = match line.tone {
                Tone::Strong => "st-halo st-strong",
                Tone::Plain => "st-halo",
                Tone::Muted => "st-halo st-muted",
                Tone::Warn => "st-halo st-warn",
            };
            text class=(class) x=(px(x)) y=(px(first + LINE * f64::from(at))) text-anchor=(anchor) {
                (shortened(&line.text, chars(room)))
            }
        }
    }
}

fn final_states(layout: &Layout) -> Markup {
    let top = layout.end_y + 14.0;
    html! {
        @if !layout.final_states.is_empty() {
            line class="st-across" x1="12" y1=(px(layout.end_y)) x2=(px(layout.width - 12.0)) y2=(px(layout.end_y)) {}
            text class="st-strong" x="14" y=(px(top + 8.0)) { "In the end" }
            @for (at, state) in (0u8..).zip(&layout.final_states) {
                (final_row(state, layout, top + 18.0 + FINAL_ROW * f64::from(at)))
            }
        }
    }
}

fn final_row(state: &FinalState, layout: &Layout, y: f64) -> Markup {
    html! {
        text x="14" y=(px(y + 17.0)) { (shortened(&state.name, 26)) }
        @for cell in &state.cells { (chip(cell, &layout.lanes[cell.lane], layout.label_room, y)) }
    }
}

fn chip(cell: &Cell, lane: &Lane, room: f64, y: f64) -> Markup {
    let width = CHIP.min(room - 14.0);
    let class = if cell.differs { "st-chip-differs" } else { "st-chip" };
    html! {
        g class=(hue(cell.hue)) {
            rect class=(class) x=(px(lane.x - width / 2.0)) y=(px(y)) width=(px(width)) height="25" rx="6" {}
            text x=(px(lane.x)) y=(px(y + 17.0)) text-anchor="middle" class=(if cell.differs { "st-warn" } else { "st-strong" }) {
                title { (cell.text) }
                @if cell.differs { "≠ " }
                (shortened(&cell.text, chars(width - 26.0)))
            }
        }
    }
}

fn legend(layout: &Layout) -> Markup {
    let y = layout.height - 30.0;
    let width = |text: &str| 34.0 + 6.2 * f64::from(u16::try_from(text.chars().count()).unwrap_or(u16::MAX));
    let mut x = 16.0;
    let mut next = |text: &'static str| {
        let at = x;
        x += width(text);
        (at, text)
    };
    let entries = [
        next("somebody edits"),
        next("commit, in order"),
        next("a device shows it"),
        next("message lost"),
        next("fault"),
        next("behind the finding"),
    ];
    let mut note = "A colour belongs to the device that wrote the value; time runs down.".to_owned();
    if layout.left_out > 0 {
        note.push_str(&format!(
            " {} not shown.",
            counted(layout.left_out as u64, "further event is", "further events are")
        ));
    }
    if layout.devices_left_out > 0 {
        let devices = counted(layout.devices_left_out as u64, "further device has", "further devices have");
        note.push_str(&format!(" {devices} no part in it."));
    }
    let symbol = |at: usize, x: f64| {
        html! {
            g class="st-n" {
                @match at {
                    0 => circle class="st-fill" cx=(px(x)) cy=(px(y)) r="6" {},
                    1 => {
                        circle class="st-fill" cx=(px(x)) cy=(px(y)) r="8" {}
                        text class="st-number" x=(px(x)) y=(px(y + 4.0)) text-anchor="middle" { "1" }
                    },
                    2 => circle class="st-ring" cx=(px(x)) cy=(px(y)) r="5" {},
                    3 => path class="st-lost" d=(cross(x, y, 4.0)) {},
                    4 => rect class="st-band" x=(px(x - 5.0)) y=(px(y - 7.0)) width="10" height="14" rx="3" {},
                    _ => {
                        rect class="st-mark" x=(px(x - 6.0)) y=(px(y - 7.0)) width="14" height="14" {}
                        rect class="st-mark-edge" x=(px(x - 6.0)) y=(px(y - 7.0)) width="3" height="14" {}
                    },
                }
            }
        }
    };
    html! {
        @for (at, (x, text)) in entries.iter().enumerate() {
            (symbol(at, x + 6.0))
            text class="st-muted" x=(px(x + 18.0)) y=(px(y + 4.0)) { (text) }
        }
        text class="st-muted" x="14" y=(px(y + 22.0)) { (note) }
        @if layout.lanes.iter().all(|lane| !matches!(lane.owner, Lifeline::Device(_))) {
            text class="st-muted" x="14" y="80" { "no device takes part" }
        }
    }
}
