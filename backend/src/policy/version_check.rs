//! `version-check`: an operation with any `old` column unequal to the row is superseded whole.
//!
//! A PUT takes the row for absent; where it is live, that base does not hold and the PUT is superseded. A device
//! that records no `old` at all states no base, and its PATCH stands: there is nothing to check. What the device's own
//! operation left in a register is not changed: a child whose parent its own transaction deleted can be deleted too.

use crate::operation::OpKind;
use crate::policy::live::{Merge, changed_by, last_author, superseded_whole};
use crate::policy::{Decision, Situation, lifecycle};
use crate::record::StoredRow;

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    let delete = |s: &Situation<'_>, stored: &StoredRow| lifecycle::delete_unless_changed(s, stored, "version-check");
    lifecycle::decide(s, &lifecycle::OnLive { write, delete, may_revive: false })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    if s.op.kind == OpKind::Put {
        return superseded_whole(s, stored, "version-check", last_author(s, stored));
    }
    let changed = s.rules.registers.iter().enumerate().find_map(|(index, register)| {
        let has_base =
            |column: &usize| s.op.base(*column).is_some() || s.op.old.is_some() && s.op.sent(*column).is_some();
        if register.columns.iter().any(has_base) { changed_by(s, stored, index) } else { None }
    });
    if let Some(author) = changed {
        return superseded_whole(s, stored, "version-check", author);
    }
    let mut merge = Merge::new(s, stored);
    for contest in merge.contests() {
        if let Some(refusal) = contest.out_of_range() {
            return refusal;
        }
        let stamp_us = merge.next_stamp_us(contest.index);
        merge.stand(&contest, stamp_us);
    }
    merge.decide()
}
