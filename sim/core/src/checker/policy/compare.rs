//! What a commit did to each row, and whether two images are the same by docs/semantics.md.

use std::collections::BTreeMap;

use fixtures::{App, MadeBy, OnParentDelete, Row, Rule, Value};

use crate::checker::context::Context;
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
        // What the database sets by itself is read from the commit.
        wanted != found
            && !app.policy.tables[table].is_server_set(*column)
            && !(app.policy.tables[table].rules[*column] == Rule::Set
                && before.is_none_or(|before| before[*column] != *wanted)
                && same_list(wanted, found))
    })
}

/// The references of a row for which the database does this itself, and whose parent goes in this commit.
pub(super) fn went_with_parent<'c>(
    ctx: &'c Context<'_>,
    table: usize,
    row: &'c Row,
    changes: &'c BTreeMap<RowId, Net<'_>>,
    what: OnParentDelete,
) -> impl Iterator<Item = usize> + 'c {
    let made = ctx.app.policy.references_of(table);
    let made = made.filter(move |one| one.made_by == MadeBy::Database && one.on_parent_delete == what);
    made.filter(|one| {
        row[one.column].as_text().is_some_and(|id| {
            changes.iter().any(|(changed, net)| {
                let name = &ctx.history.rows[*changed as usize];
                net.after.is_none() && name.table == one.parent && *name.id == *id
            })
        })
    })
    .map(|one| one.column)
}

fn same_list(one: &Value, other: &Value) -> bool {
    !one.is_null() && !other.is_null() && set::members(one).is_some_and(|one| set::members(other) == Some(one))
}
