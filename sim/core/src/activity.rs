//! What people do, as `activities.toml` states it: transactions over several rows, in terms of roles.
//!
//! An activity names the rows that it needs (one that is there, one that it makes, a list) and what it does with
//! them. Which rows these are in a plan is decided by [`crate::workload`]. `scenarios/README.md` explains each
//! field.

mod resolve;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

pub(crate) use resolve::{TermScope, resolve_term};

use crate::scenario::range::Range;
use crate::scenario::{ScenarioError, locate};

/// One activity, with every name of a table and column resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// Its name in plans and stories: `complete-task`.
    pub name: String,
    /// How often it occurs in a mix of all activities, relative to others.
    pub weight: f64,
    /// The rows that it needs, in order of their names, parents before what depends on them.
    pub slots: Vec<Slot>,
    /// Values that a round may give, and what they are otherwise.
    pub given: Vec<(String, Term)>,
    /// What it does, in order.
    pub steps: Vec<ActStep>,
}

/// A row that an activity needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Its name within the activity.
    pub name: String,
    /// Where it comes from unless a round binds it.
    pub source: Source,
}

/// Where a row comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// One that the device is likely to see.
    Pick(usize),
    /// One that does not exist yet.
    New(usize),
    /// Several that the device is likely to see.
    List(usize, Range),
    /// Those whose column names the row in another slot.
    Children {
        /// The slot of the parent.
        of: usize,
        /// The table of the children.
        table: usize,
        /// Their column.
        column: usize,
    },
}

impl Source {
    /// The table of its rows.
    #[must_use]
    pub fn table(&self) -> usize {
        match self {
            Self::Pick(table) | Self::New(table) | Self::List(table, _) | Self::Children { table, .. } => *table,
        }
    }

    /// Whether it is several rows.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self, Self::List(..) | Self::Children { .. })
    }
}

/// One thing that an activity does. Rows are indices of slots, columns of the schema.
#[derive(Clone, Debug, PartialEq)]
pub enum ActStep {
    /// Inserts a row.
    Insert(usize, Vec<(usize, Term)>, bool),
    /// Inserts a row, or updates the one that has its key already.
    Ensure(usize, Vec<usize>, Vec<(usize, Term)>),
    /// Updates columns.
    Set(usize, Vec<(usize, Term)>),
    /// Adds an element to a set.
    Add(usize, usize, Term),
    /// Removes an element from a set; `None`: one that is likely to be there.
    Remove(usize, usize, Option<Term>),
    /// Adds to a counter.
    Increment(usize, usize, Range),
    /// Moves a row of the list behind another one of it, so often.
    Move(usize, usize, Range),
    /// Deletes a row, or every row of a list.
    Delete(usize),
    /// Looks at rows.
    Read(Vec<usize>),
}

/// A value, not yet drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// As the generator of this table's column makes them.
    Draw(usize, usize),
    /// An element of the set that this table's column is.
    Element(usize, usize),
    /// A unique text.
    Text,
    /// The device's clock.
    Now,
    /// NULL.
    Null,
    /// The device's name.
    Device,
    /// A constant.
    Value(Json),
    /// One of these.
    OneOf(Vec<Json>),
    /// A whole number.
    Int(Range),
    /// The id of the row in this slot.
    Id(usize),
    /// The given value of this index.
    Given(usize),
}

/// A value as people write it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum TermEntry {
    Draw,
    Text,
    Now,
    Null,
    Device,
    Value(toml::Value),
    OneOf(Vec<toml::Value>),
    Int(Range),
    Id(String),
    Given(String),
    DrawAs(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivityEntry {
    weight: Option<f64>,
    #[serde(default)]
    rows: BTreeMap<String, SourceEntry>,
    #[serde(default)]
    values: BTreeMap<String, TermEntry>,
    #[serde(rename = "do")]
    steps: Vec<StepEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum SourceEntry {
    Pick(String),
    New(String),
    List(ListEntry),
    Children(ChildrenEntry),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListEntry {
    table: String,
    rows: Range,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildrenEntry {
    of: String,
    column: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum StepEntry {
    Insert(InsertEntry),
    Ensure(EnsureEntry),
    Set(SetEntry),
    Add(ElementEntry),
    Remove(RemoveEntry),
    Increment(IncrementEntry),
    Move(MoveEntry),
    Delete(String),
    Read(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InsertEntry {
    row: String,
    set: BTreeMap<String, TermEntry>,
    #[serde(default)]
    replace: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnsureEntry {
    row: String,
    key: Vec<String>,
    set: BTreeMap<String, TermEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetEntry {
    row: String,
    to: BTreeMap<String, TermEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ElementEntry {
    row: String,
    column: String,
    element: TermEntry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveEntry {
    row: String,
    column: String,
    element: Option<TermEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IncrementEntry {
    row: String,
    column: String,
    by: Range,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveEntry {
    list: String,
    column: String,
    times: Option<Range>,
}

/// Reads `activities.toml` of an application.
///
/// # Errors
/// The first thing in it that is malformed, or that the application's schema does not have.
pub fn parse(app: &fixtures::App) -> Result<Vec<Activity>, ScenarioError> {
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
