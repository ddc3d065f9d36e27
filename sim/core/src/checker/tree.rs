//! Cycles in trees of rows.

use std::collections::BTreeSet;

use crate::history::RowId;

/// The way from a parent up to the row: the parent first, the row last. `None` if going up from the parent does not
/// come to the row, so that the parent closes no cycle through it.
pub(super) fn path_to(row: RowId, parent: RowId, parent_of: impl Fn(RowId) -> Option<RowId>) -> Option<Vec<RowId>> {
    let mut path = vec![parent];
    let mut seen = BTreeSet::from([parent]);
    let mut at = parent;
    while at != row {
        at = parent_of(at)?;
        // A cycle that the row is not on.
        if !seen.insert(at) {
            return None;
        }
        path.push(at);
    }
    Some(path)
}
