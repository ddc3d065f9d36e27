//! `version-check`: an operation with any `old` column unequal to the row is superseded whole.
//!
//! A PUT takes the row for absent; where it is live, that base does not hold and the PUT is superseded. A device
//! that records no `old` at all states no base, and its PATCH stands: there is nothing to check. What the device's own
//! operation left in a register is not changed: a child whose parent its own transaction deleted can be deleted too.

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
    lifecycle::decide(s, &lifecycle::OnLive { write, delete, may_revive: false })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    if s.op.kind == OpKind::Put {
        return superseded_whole(s, stored, "version-check", last_author(s, stored));
    }
    if let Some(author) = changed_by_another(s, stored) {
        return superseded_whole(s, stored, "version-check", author);
    }
    let mut merge = Merge::new(s, stored);
    for contest in merge.contests() {
        if let Err(refusal) = contest.in_range(&contest.new[0]) {
            return *refusal;
        }
        let stamp_us = merge.next_stamp_us(contest.index);
        merge.stand(&contest, stamp_us);
    }
    merge.decide()
}
