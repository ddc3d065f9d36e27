//! `version-check`: an operation with any `old` column unequal to the row is superseded whole.
//!
//! A PUT takes the row for absent; where it is live, that base does not hold and the PUT is superseded. A device
//! that records no `old` at all states no base, and its PATCH stands: there is nothing to check.

use crate::operation::OpKind;
use crate::policy::live::{Merge, last_author, superseded_whole, unchanged_since_base};
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
    let changed = s.rules.registers.iter().enumerate().find(|(_, register)| {
        register
            .columns
            .iter()
            .any(|column| s.op.base(*column).is_some() || s.op.old.is_some() && s.op.sent(*column).is_some())
            && !unchanged_since_base(s, stored, register)
    });
    if let Some((index, register)) = changed {
        return superseded_whole(s, stored, "version-check", stored.author(index, &register.columns));
    }
    let mut merge = Merge::new(s, stored);
    for contest in merge.contests() {
        let stamp_us = merge.next_stamp_us(contest.index);
        merge.stand(&contest, stamp_us);
    }
    merge.decide()
}
