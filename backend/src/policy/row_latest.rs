//! `row-latest`: an operation older than the row's clock is superseded whole, with a record.
//!
//! The row's clock is its clock column; in a table without one, the greatest stamp in the row. As an operation's
//! clock it is never later than the receipt: a device whose clock runs ahead would keep all others out until then.
//! An operation of the same age is not older. A DELETE carries no clock, so its clock is its receive time and it is
//! never older.

use fixtures::Value;

use crate::policy::base::last_author;
use crate::policy::decision::{Decision, Situation};
use crate::policy::lifecycle;
use crate::policy::merge::{Merge, superseded_whole};
use crate::record::StoredRow;

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    lifecycle::decide(s, &lifecycle::OnLive { write, delete: lifecycle::delete, may_revive: false })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    if s.clock_us() < row_clock_us(s, stored) {
        return superseded_whole(s, stored, "row-latest", last_author(s, stored));
    }
    let mut merge = Merge::new(s, stored);
    for contest in merge.contests() {
        if let Err(refusal) = contest.in_range(&contest.new[0]) {
            return *refusal;
        }
        let stamp_us = merge.next_stamp_us(contest.index);
        if contest.unchanged == Some(true) {
            merge.stand(&contest, stamp_us);
        } else {
            merge.win(&contest, stamp_us, "row-latest");
        }
    }
    merge.decide()
}

fn row_clock_us(s: &Situation<'_>, stored: &StoredRow) -> i64 {
    let row_us = match s.rules.clock.map(|column| stored.value(column)) {
        Some(Value::Time(at_us)) => *at_us,
        _ => stored.last_stamp_us().unwrap_or(i64::MIN),
    };
    row_us.min(s.received_us)
}
