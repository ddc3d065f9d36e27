//! `activities.toml` as people write it. `scenarios/README.md` explains each field.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::range::Range;

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
pub(super) struct ActivityEntry {
    pub(super) weight: Option<f64>,
    #[serde(default)]
    pub(super) rows: BTreeMap<String, SourceEntry>,
    #[serde(default)]
    pub(super) values: BTreeMap<String, TermEntry>,
    #[serde(rename = "do")]
    pub(super) steps: Vec<StepEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum SourceEntry {
    Pick(String),
    New(String),
    List(ListEntry),
    Children(ChildrenEntry),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListEntry {
    pub(crate) table: String,
    pub(crate) rows: Range,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChildrenEntry {
    pub(super) of: String,
    pub(super) column: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum StepEntry {
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
pub(super) struct InsertEntry {
    pub(super) row: String,
    pub(super) set: BTreeMap<String, TermEntry>,
    #[serde(default)]
    pub(super) replace: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnsureEntry {
    pub(super) row: String,
    pub(super) key: Vec<String>,
    pub(super) set: BTreeMap<String, TermEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetEntry {
    pub(super) row: String,
    pub(super) to: BTreeMap<String, TermEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ElementEntry {
    pub(super) row: String,
    pub(super) column: String,
    pub(super) element: TermEntry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveEntry {
    pub(super) row: String,
    pub(super) column: String,
    pub(super) element: Option<TermEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IncrementEntry {
    pub(super) row: String,
    pub(super) column: String,
    pub(super) by: Range,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveEntry {
    pub(super) list: String,
    pub(super) column: String,
    pub(super) times: Option<Range>,
}
