//! `server-wins`: a column changed since base keeps the server's value.
//!
//! A group is one register here too. A PUT on a live id has no base, so every column in which it differs keeps the
//! server's value. A DELETE of a row that changed since its base is superseded, because deleting the row would not keep
//! the changed value. A value that the device's own operation left is not a change.

use crate::policy::decision::{Decision, Situation};
use crate::policy::lifecycle;
use crate::policy::merge::Merge;
use crate::record::StoredRow;

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    let delete = |s: &Situation<'_>, stored: &StoredRow| lifecycle::delete_unless_changed(s, stored, "server-wins");
    lifecycle::decide(s, &lifecycle::LiveRow { write, delete, may_revive: false })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    let mut merge = Merge::new(s, stored);
    for edit in merge.edits() {
        if edit.base_holds == Some(true) || edit.author.is_earlier_of(s.writer) {
            if let Err(refusal) = edit.check_range(&edit.values[0]) {
                return *refusal;
            }
            let stamp_us = merge.next_stamp_us(edit.index);
            merge.accept(&edit, stamp_us);
        } else {
            merge.keep_stored(&edit, "server-wins");
        }
    }
    merge.decide()
}
