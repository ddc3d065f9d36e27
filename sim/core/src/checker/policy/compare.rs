//! What a commit did to each row, and whether two images are the same by docs/semantics.md.

use std::collections::BTreeMap;

use fixtures::{App, Row, Rule, Value};

use crate::history::{Commit, RowId};
use crate::model::set;

/// The net effect of a commit on one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net<'a> {
    /// The last image that the commit inserted: what an earlier one of the same transaction held is gone.
    pub(super) inserted: Option<&'a Row>,
    /// The image that it left.
    pub(super) after: Option<&'a Row>,
}

/// The net effect of a commit on each row that it changed.
pub(super) fn by_row(commit: &Commit) -> BTreeMap<RowId, Net<'_>> {
    let mut rows: BTreeMap<RowId, Net<'_>> = BTreeMap::new();
    for change in &commit.changes {
        let net = rows.entry(change.row).or_insert(Net { inserted: None, after: None });
        if change.before.is_none() {
            net.inserted = change.after.as_ref();
        }
        net.after = change.after.as_ref();
    }
    rows
}

/// The first column in which the server's image is not the predicted one.
///
/// The contract says which members a merged set has and in which order, not how the JSON is spaced; a set that is as
/// it was before keeps its text.
pub(super) fn difference(
    app: &App,
    table: usize,
    before: Option<&Row>,
    predicted: &Row,
    actual: &Row,
) -> Option<usize> {
    (0..predicted.len()).find(|column| {
        let (wanted, found) = (&predicted[*column], &actual[*column]);
        wanted != found
            && !(app.policy.tables[table].rules[*column] == Rule::Set
                && before.is_none_or(|before| before[*column] != *wanted)
                && same_list(wanted, found))
    })
}

fn same_list(one: &Value, other: &Value) -> bool {
    !one.is_null() && !other.is_null() && set::members(one).is_some_and(|one| set::members(other) == Some(one))
}
