//! `field-merge`: each column, or group of columns, resolves by its own rule.
//!
//! If the row still holds what the writer saw, the write is applied. Its stamp is later than the stored one, so a later
//! comparison of clocks cannot undo it. Otherwise the register's rule decides. A write without a base (PUT on a live id,
//! PATCH from a device that records no `old`) never counts as unchanged: scalars compare stamps, sets take the union,
//! counters the greater value.
//!
//! Several operations of one device on one row need no extra rule, because `old` is the device's local value and
//! includes its own queued edits:
//!
//! - after an applied edit, the next one's base is what the row holds;
//! - after a superseded edit, the next one's base is the superseded value. It differs from the row, and stamps are
//!   compared again: a transaction with one clock is superseded whole, a later edit may win;
//! - a counter adds the difference to the device's own last value, a set its own additions and removals, so the next
//!   merge starts from the merged value;
//! - a value that the server put in place of the device's own (a refused start, a missing parent) counts as the device's
//!   own write. The next edit has seen it, and is applied whatever the device's clock says.

use fixtures::{Rule, Value};

use crate::policy::decision::{Decision, Situation};
use crate::policy::lifecycle;
use crate::policy::merge::{Merge, RegisterEdit};
use crate::record::StoredRow;
use crate::sets;

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    lifecycle::decide(s, &lifecycle::LiveRow { write, delete: lifecycle::delete, may_revive: true })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    let mut merge = Merge::new(s, stored);
    for edit in merge.edits() {
        if let Err(refusal) = resolve(&mut merge, &edit) {
            return *refusal;
        }
    }
    merge.decide()
}

fn resolve(merge: &mut Merge<'_>, edit: &RegisterEdit<'_>) -> Result<(), Box<Decision>> {
    let next_us = merge.next_stamp_us(edit.index);
    if edit.base_holds == Some(true) {
        edit.check_range(&edit.values[0])?;
        merge.contribute(edit, next_us);
        return Ok(());
    }
    let column = edit.register.columns[0];
    match edit.register.rule {
        Rule::Latest => latest(merge, edit),
        Rule::Max => {
            let stays = is_greater(merge.stored.value(column), &edit.values[0]);
            if stays { merge.keep_stored(edit, "max") } else { merge.replace_stored(edit, next_us, "max") }
        }
        Rule::KeepServer => merge.keep_stored(edit, "keep-server"),
        Rule::Counter { .. } => return counter(merge, edit, next_us),
        Rule::Set => {
            let server = merge.stored.value(column);
            let old = match edit.base_holds {
                Some(_) => merge.s.op.base(column).unwrap_or(&Value::Null),
                None => &Value::Null,
            };
            match sets::merge(server, old, &edit.values[0]) {
                Some(merged) => merge.combine(edit, merged, next_us),
                None => latest(merge, edit),
            }
        }
    }
    Ok(())
}

/// The write with the greater (clock, client) stays. An earlier write of the same device counts as seen, whatever its
/// clock says.
fn latest(merge: &mut Merge<'_>, edit: &RegisterEdit<'_>) {
    let own = edit.author.is_earlier_of(merge.s.writer);
    let wins =
        own || merge.stored.stamp(edit.index).is_none_or(|stamp| merge.s.is_later_than(stamp.at_us, &stamp.writer));
    if wins {
        // Of equal clocks the client decides, also for the next one that comes with this clock.
        let stamp_us = if own { merge.next_stamp_us(edit.index) } else { merge.s.clock_us() };
        merge.replace_stored(edit, stamp_us, "latest");
    } else {
        merge.keep_stored(edit, "latest");
    }
}

fn counter(merge: &mut Merge<'_>, edit: &RegisterEdit<'_>, next_us: i64) -> Result<(), Box<Decision>> {
    let column = edit.register.columns[0];
    let number = |value: &Value| if value.is_null() { Some(0) } else { value.as_int() };
    let server = number(merge.stored.value(column));
    let (Some(server), Some(data)) = (server, number(&edit.values[0])) else {
        latest(merge, edit);
        return Ok(());
    };
    if edit.base_holds.is_none() {
        edit.check_range(&edit.values[0])?;
        if server > data {
            merge.keep_stored(edit, "counter")
        } else {
            merge.replace_stored(edit, next_us, "counter")
        }
        return Ok(());
    }
    let old = merge.s.op.base(column).and_then(number).unwrap_or(0);
    // i128 holds every sum of three i64. A sum outside i64 is outside any range that a policy can state.
    let sum = i128::from(server) + i128::from(data) - i128::from(old);
    let Ok(sum) = i64::try_from(sum) else {
        return Err(Box::new(Decision::rejected(format!("out-of-range: {}", edit.register.name))));
    };
    edit.check_range(&Value::Int(sum))?;
    merge.combine(edit, Value::Int(sum), next_us);
    Ok(())
}

/// Whether `a` is the greater value; NULL is the smallest. Equal values are not greater.
fn is_greater(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, _) => false,
        (_, Value::Null) => true,
        (Value::Int(a), Value::Int(b)) | (Value::Time(a), Value::Time(b)) => a > b,
        // PostgreSQL sorts NaN above every other real.
        (Value::Real(a), Value::Real(b)) => (a.is_nan() && !b.is_nan()) || a > b,
        (Value::Text(a), Value::Text(b)) => a > b,
        _ => false,
    }
}
