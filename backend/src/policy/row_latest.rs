//! `row-latest`: an operation older than the row's clock is superseded whole, with a record.
//!
//! The row's clock is its clock column; in a table without one, the greatest stamp in the row. Like an operation's
//! clock, it is capped at receive time: otherwise a device whose clock runs ahead would lock out all others until that
//! time. An operation of the same age is not older. A DELETE has no clock column, so its clock is its receive time, and
//! it is never older.

use fixtures::Value;

use crate::policy::base::last_author;
use crate::policy::decision::{Decision, Situation};
use crate::policy::lifecycle;
use crate::policy::merge::{Merge, superseded_whole};
use crate::record::StoredRow;

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    lifecycle::decide(s, &lifecycle::LiveRow { write, delete: lifecycle::delete, may_revive: false })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    if s.clock_us() < row_clock_us(s, stored) {
        return superseded_whole(s, stored, "row-latest", last_author(s, stored));
    }
    let mut merge = Merge::new(s, stored);
    for edit in merge.edits() {
        if let Err(refusal) = edit.check_range(&edit.values[0]) {
            return *refusal;
        }
        let stamp_us = merge.next_stamp_us(edit.index);
        if edit.base_holds == Some(true) {
            merge.accept(&edit, stamp_us);
        } else {
            merge.replace_stored(&edit, stamp_us, "row-latest");
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
