//! `version-check`: an operation with any `old` column unequal to the row is superseded whole.
//!
//! A PUT expects an absent row, so it is superseded where the row is live. A PATCH from a device that records no `old` at
//! all has nothing to check, and is applied. A value that the device's own operation left is not a change: a child whose
//! parent was deleted by its own transaction can be deleted too.

use crate::operation::OpKind;
use crate::policy::base::{changed_by_another, last_author};
use crate::policy::decision::{Decision, Situation};
use crate::policy::lifecycle;
use crate::policy::merge::{Merge, superseded_whole};
use crate::record::StoredRow;

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    let delete = |s: &Situation<'_>, stored: &StoredRow| lifecycle::delete_unless_changed(s, stored, "version-check");
    lifecycle::decide(s, &lifecycle::LiveRow { write, delete, may_revive: false })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    if s.op.kind == OpKind::Put {
        return superseded_whole(s, stored, "version-check", last_author(s, stored));
    }
    if let Some(author) = changed_by_another(s, stored) {
        return superseded_whole(s, stored, "version-check", author);
    }
    let mut merge = Merge::new(s, stored);
    for edit in merge.edits() {
        if let Err(refusal) = edit.check_range(&edit.values[0]) {
            return *refusal;
        }
        let stamp_us = merge.next_stamp_us(edit.index);
        merge.accept(&edit, stamp_us);
    }
    merge.decide()
}
