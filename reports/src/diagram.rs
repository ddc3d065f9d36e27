//! A history as a space-time diagram: a line for each device, for the backend with its database and for the sync
//! service; time runs down; messages are arrows; a value has the colour of the device that wrote it.
//!
//! In reading order: [`elements`] what a diagram consists of, [`layout`] where everything stands, made of [`lanes`],
//! [`event_rows`], [`messages`], [`bands`] and [`final_states`]; [`label`] the words beside an event; [`svg`](self::svg)
//! the drawing. Idle time is shortened. The SVG has its own style for light and dark, and needs nothing from the page
//! around it.

mod bands;
mod elements;
mod event_rows;
mod final_states;
mod label;
mod lanes;
mod layout;
mod messages;
mod style;
mod svg;

use fixtures::App;
use sim_core::{History, Plan};

use crate::joined::JoinedHistory;
use layout::Layout;
pub(crate) use style::{STYLE, Style};

/// A space-time diagram as one SVG element. The events with the indices in `highlight` are marked; of a large
/// history the part around them is shown.
#[must_use]
pub fn svg(plan: &Plan, history: &History, app: &App, highlight: &[usize]) -> String {
    draw(&JoinedHistory::new(plan, history, app), highlight, Style::InDiagram)
}

/// The diagram of a history that is joined already.
pub(crate) fn draw(joined: &JoinedHistory<'_>, highlight: &[usize], style: Style) -> String {
    let mut highlight = highlight.to_vec();
    highlight.sort_unstable();
    highlight.dedup();
    svg::svg(&Layout::new(joined, &highlight), style).into_string()
}
