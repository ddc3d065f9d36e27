//! A run in, files out: what people and machines read about it.
//!
//! Nothing here decides whether a claim held: verdicts are shown as they came. In reading order: [`text`] for
//! terminals, [`html`] for people who are new to it, [`story`] a failing history in plain words, [`diagram`] the
//! same as a picture, [`json`] and [`junit`] for machines, [`mutants`] which planted defects were caught,
//! [`checklist`] what was looked at in a deployment.

pub mod checklist;
pub mod diagram;
mod faults;
mod headline;
pub mod html;
pub mod json;
pub mod junit;
pub mod mutants;
mod reading;
mod selection;
pub mod story;
pub mod text;
mod words;

use fixtures::App;
use sim_core::run::AnomalyText;
use sim_core::{History, Plan};

/// A failing plan to show: the smallest one that was found, with the history that it gave.
#[derive(Clone, Debug)]
pub struct Failure<'a> {
    /// The scenario's name.
    pub scenario: String,
    /// The plan.
    pub plan: Plan,
    /// Its history.
    pub history: History,
    /// What is wrong with that history; their `events` are indices into it.
    pub anomalies: Vec<AnomalyText>,
    /// The command that replays it.
    pub replay: String,
    /// The application.
    pub app: &'a App,
}
