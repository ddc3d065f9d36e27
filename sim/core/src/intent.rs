//! What a transaction of a plan is meant to do.
//!
//! Intents name symbolic rows (`#12`), never ids or values that a device would have to know; the device turns an
//! intent into SQL from what it sees when it runs it.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// One operation that a person or program intends, in terms of symbolic rows.
///
/// If the row that it acts on is not visible on the device at that moment, the intent is recorded as skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Intent {
    /// `INSERT` the row. Skipped if a row with its id is visible, unless `replace` (then `INSERT OR REPLACE`).
    Insert {
        /// The symbolic row.
        row: u32,
        /// Columns to name; the others take no value on the device and their default on the server.
        set: Vec<(String, Expr)>,
        /// Whether a visible row is replaced whole.
        replace: bool,
    },
    /// `INSERT` the row unless a row with the same values in `key` is visible; then `UPDATE` that one. The device
    /// takes the visible row for this symbolic row from then on.
    Ensure {
        /// The symbolic row.
        row: u32,
        /// The columns of the unique key, each of which is in `set`.
        key: Vec<String>,
        /// Columns to name.
        set: Vec<(String, Expr)>,
    },
    /// `UPDATE` columns of the row.
    Set {
        /// The symbolic row.
        row: u32,
        /// Columns and their new values.
        set: Vec<(String, Expr)>,
    },
    /// Adds an element to a JSON array of strings, read and written whole as apps do.
    Add {
        /// The symbolic row.
        row: u32,
        /// The set column.
        column: String,
        /// The element; a no-op write if it is there already.
        element: Expr,
    },
    /// Removes an element from a JSON array of strings.
    Remove {
        /// The symbolic row.
        row: u32,
        /// The set column.
        column: String,
        /// The element; skipped if it is not there.
        element: Expr,
    },
    /// `column = coalesce(column, 0) + by`.
    Increment {
        /// The symbolic row.
        row: u32,
        /// The integer column.
        column: String,
        /// The difference.
        by: i64,
    },
    /// Moves the row right behind another in the list of its table by renumbering: every visible row of `list`
    /// gets its position, as one `UPDATE` a row whose position changes.
    MoveAfter {
        /// The symbolic row that moves.
        row: u32,
        /// The row that it then follows; `None` moves it to the front.
        after: Option<u32>,
        /// The integer position column.
        column: String,
        /// The rows of the list.
        list: Vec<u32>,
    },
    /// `DELETE` the row.
    Delete {
        /// The symbolic row.
        row: u32,
    },
    /// Reads the rows (by id), each whole; rows that are not visible are recorded as absent.
    Read {
        /// The symbolic rows.
        rows: Vec<u32>,
    },
}

/// A value that a device computes when it runs the intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expr {
    /// This JSON scalar.
    Value(Json),
    /// The id of a symbolic row, as the device knows it.
    Id(u32),
    /// The device's clock, as ISO 8601 with milliseconds and `Z`.
    Now,
    /// The device's own name, such as `device-2`.
    Device,
}

impl Intent {
    /// Every symbolic row that it names.
    #[must_use]
    pub fn rows(&self) -> Vec<u32> {
        let ids = |set: &[(String, Expr)]| {
            set.iter().filter_map(|(_, expr)| if let Expr::Id(row) = expr { Some(*row) } else { None }).collect()
        };
        let mut rows: Vec<u32> = match self {
            Self::Insert { set, .. } | Self::Ensure { set, .. } | Self::Set { set, .. } => ids(set),
            Self::Add { element, .. } | Self::Remove { element, .. } => {
                if let Expr::Id(row) = element {
                    vec![*row]
                } else {
                    Vec::new()
                }
            }
            Self::MoveAfter { after, list, .. } => list.iter().copied().chain(*after).collect(),
            Self::Read { rows } => rows.clone(),
            Self::Increment { .. } | Self::Delete { .. } => Vec::new(),
        };
        match self {
            Self::Insert { row, .. }
            | Self::Ensure { row, .. }
            | Self::Set { row, .. }
            | Self::Add { row, .. }
            | Self::Remove { row, .. }
            | Self::Increment { row, .. }
            | Self::MoveAfter { row, .. }
            | Self::Delete { row } => rows.push(*row),
            Self::Read { .. } => {}
        }
        rows
    }
}
