//! `server-wins`: a column changed since base keeps the server's value.
//!
//! A group is one register here too. A PUT on a live id has no base, so every column in which it differs keeps the
//! server's value. A DELETE of a row that changed since its base is superseded: to delete the row would not keep
//! the changed column's value. What the device's own operation left in a column is not changed since its base.

use crate::policy::decision::{Decision, Situation};
use crate::policy::lifecycle;
use crate::policy::merge::Merge;
use crate::record::StoredRow;

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    let delete = |s: &Situation<'_>, stored: &StoredRow| lifecycle::delete_unless_changed(s, stored, "server-wins");
    lifecycle::decide(s, &lifecycle::OnLive { write, delete, may_revive: false })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    let mut merge = Merge::new(s, stored);
    for contest in merge.contests() {
        if contest.unchanged == Some(true) || contest.author.is_earlier_of(s.writer) {
            if let Err(refusal) = contest.in_range(&contest.new[0]) {
                return *refusal;
            }
            let stamp_us = merge.next_stamp_us(contest.index);
            merge.stand(&contest, stamp_us);
        } else {
            merge.lose(&contest, "server-wins");
        }
    }
    merge.decide()
}
