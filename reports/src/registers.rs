//! Registers: what devices write, and what each of them holds in the end.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{Row, Value};
use sim_core::history::RowId;

use crate::words::Names;

/// A column of a row, or (without a column) whether the row exists.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Register {
    pub(crate) row: RowId,
    pub(crate) column: Option<usize>,
    /// The devices that wrote it.
    pub(crate) writers: BTreeSet<u32>,
    /// The first event that wrote it.
    pub(crate) first: usize,
}

/// What a register holds on one device or on the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RegisterState {
    /// The row does not exist.
    Absent,
    /// The row exists.
    Present,
    /// The column's value.
    Value(Value),
}

impl Register {
    /// What the register holds among these rows.
    pub(crate) fn state_in(&self, rows: &BTreeMap<RowId, Row>) -> RegisterState {
        match (rows.get(&self.row), self.column) {
            (None, _) => RegisterState::Absent,
            (Some(_), None) => RegisterState::Present,
            (Some(row), Some(column)) => row.get(column).cloned().map_or(RegisterState::Absent, RegisterState::Value),
        }
    }
}

impl RegisterState {
    /// The state in words: a value, `absent` or `there`.
    pub(crate) fn text(&self, names: &Names<'_>) -> String {
        match self {
            Self::Absent => "absent".to_owned(),
            Self::Present => "there".to_owned(),
            Self::Value(value) => names.value(value),
        }
    }
}
