//! A failing plan, as reports show it.

use fixtures::App;
use sim_core::run::AnomalyText;
use sim_core::{History, Plan};

/// A failing plan to show: the smallest that was found, with its history.
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
