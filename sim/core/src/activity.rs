//! What people do, as `activities.toml` states it: transactions over several rows, in terms of roles.
//!
//! An activity names the rows that it needs (one that is there, one that it makes, a list) and what it does with
//! them. Which rows these are in a plan is decided by [`crate::workload`]. `scenarios/README.md` explains each
//! field.

mod definition;
mod format;
mod resolve;

use std::collections::BTreeMap;

use fixtures::App;

pub use self::definition::{ActStep, Activity, Slot, Source, Term};
use self::format::ActivityEntry;
pub(crate) use self::format::{ListEntry, TermEntry};
pub(crate) use self::resolve::{TermScope, resolve_term};
use crate::file_error::{ScenarioError, locate};

/// Reads `activities.toml` of an application.
///
/// # Errors
/// The first thing in it that is malformed, or that the application's schema does not have.
pub fn parse(app: &App) -> Result<Vec<Activity>, ScenarioError> {
    let file = "activities.toml";
    let entries: BTreeMap<String, ActivityEntry> =
        toml::from_str(&app.activities).map_err(|error| locate(file, &app.activities, &error))?;
    entries
        .iter()
        .map(|(name, entry)| {
            resolve::activity(app, name, entry).map_err(|(field, problem)| ScenarioError {
                file: file.to_owned(),
                field: format!("{name}.{field}"),
                problem,
            })
        })
        .collect()
}
