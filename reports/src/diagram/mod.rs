//! A history as a picture: a line for each device, for the backend with its database and for the sync service;
//! time runs down; messages are arrows; a colour belongs to whoever wrote a value.
//!
//! In reading order: [`scene`] decides what stands where, [`rows`] its events and messages, [`ends`] what lasts and
//! what everything comes to, [`label`] the words beside it; [`draw`](self::draw) turns that into SVG. Idle time is squeezed.
//! The SVG carries its own style for light and dark, and needs nothing from the page around it.

mod draw;
mod ends;
mod label;
mod rows;
mod scene;

use fixtures::App;
use sim_core::{History, Plan};

use crate::reading::Reading;
use scene::Scene;

/// The style of every diagram; a page that shows several may hold it once for all.
pub(crate) const STYLE: &str = include_str!("style.css");

/// A space-time diagram as one SVG element. The events with the indices in `highlight` are marked; of a large
/// history the part around them is shown.
#[must_use]
pub fn svg(plan: &Plan, history: &History, app: &App, highlight: &[usize]) -> String {
    let reading = Reading::new(plan, history, app);
    draw(&reading, highlight, Style::Own)
}

/// Where the style of a diagram stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// In the diagram.
    Own,
    /// Once in the page around it.
    OfPage,
}

pub(crate) fn draw(reading: &Reading<'_>, highlight: &[usize], style: Style) -> String {
    let mut highlight = highlight.to_vec();
    highlight.sort_unstable();
    highlight.dedup();
    draw::svg(&Scene::new(reading, &highlight), style).into_string()
}
