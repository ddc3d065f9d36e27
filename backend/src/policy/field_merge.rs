//! `field-merge`: each column, or group of columns, resolves by its own rule.
//!
//! Where the row still holds what the writer saw, the write stands, and its stamp follows the stored one, so that
//! no later comparison of clocks can undo what was written in knowledge of it. Otherwise the register's rule
//! decides. A write without a base (PUT on a live id, PATCH from a device that records no `old`) is never taken
//! for unchanged: scalars go by stamp, sets unite, counters take the greater value.
//!
//! Several operations of one device on one row need no rule of their own. `old` is the device's local value, its
//! own queued edits included:
//!
//! - after an edit that stood, the next one's base is what the row holds;
//! - after an edit that lost, the next one's base is the lost value; it differs from the row, and stamps are
//!   compared again: a transaction with one clock loses whole, a later edit may win;
//! - a counter adds the difference to the device's own last value, a set its own additions and removals, so
//!   merges carry on from merged values;
//! - a value that the server put in place of the device's own (a refused start, a missing parent) is still the
//!   device's own write: the next one has seen it, and stands whatever the device's clock did meanwhile.

use fixtures::{Rule, Value};

use crate::policy::decision::{Decision, Situation};
use crate::policy::lifecycle;
use crate::policy::merge::{Contest, Merge};
use crate::record::StoredRow;
use crate::sets;

/// Decides one operation.
#[must_use]
pub fn decide(s: &Situation<'_>) -> Decision {
    lifecycle::decide(s, &lifecycle::OnLive { write, delete: lifecycle::delete, may_revive: true })
}

fn write(s: &Situation<'_>, stored: &StoredRow) -> Decision {
    let mut merge = Merge::new(s, stored);
    for contest in merge.contests() {
        if let Err(refusal) = resolve(&mut merge, &contest) {
            return *refusal;
        }
    }
    merge.decide()
}

fn resolve(merge: &mut Merge<'_>, contest: &Contest<'_>) -> Result<(), Box<Decision>> {
    let next_us = merge.next_stamp_us(contest.index);
    if contest.unchanged == Some(true) {
        contest.in_range(&contest.new[0])?;
        merge.add(contest, next_us);
        return Ok(());
    }
    let column = contest.register.columns[0];
    match contest.register.rule {
        Rule::Latest => latest(merge, contest),
        Rule::Max => {
            let stays = is_greater(merge.stored.value(column), &contest.new[0]);
            if stays { merge.lose(contest, "max") } else { merge.win(contest, next_us, "max") }
        }
        Rule::KeepServer => merge.lose(contest, "keep-server"),
        Rule::Counter { .. } => return counter(merge, contest, next_us),
        Rule::Set => {
            let server = merge.stored.value(column);
            let old = match contest.unchanged {
                Some(_) => merge.s.op.base(column).unwrap_or(&Value::Null),
                None => &Value::Null,
            };
            match sets::merge(server, old, &contest.new[0]) {
                Some(merged) => merge.combine(contest, merged, next_us),
                None => latest(merge, contest),
            }
        }
    }
    Ok(())
}

/// The write with the greater (clock, client) stays. What the same device wrote before was seen, whatever its
/// clock says.
fn latest(merge: &mut Merge<'_>, contest: &Contest<'_>) {
    let own = contest.author.is_earlier_of(merge.s.writer);
    let wins =
        own || merge.stored.stamp(contest.index).is_none_or(|stamp| merge.s.is_later_than(stamp.at_us, &stamp.writer));
    if wins {
        let stamp_us = merge.next_stamp_us(contest.index);
        merge.win(contest, stamp_us, "latest");
    } else {
        merge.lose(contest, "latest");
    }
}

fn counter(merge: &mut Merge<'_>, contest: &Contest<'_>, next_us: i64) -> Result<(), Box<Decision>> {
    let column = contest.register.columns[0];
    let number = |value: &Value| if value.is_null() { Some(0) } else { value.as_int() };
    let server = number(merge.stored.value(column));
    let (Some(server), Some(data)) = (server, number(&contest.new[0])) else {
        latest(merge, contest);
        return Ok(());
    };
    if contest.unchanged.is_none() {
        contest.in_range(&contest.new[0])?;
        if server > data {
            merge.lose(contest, "counter")
        } else {
            merge.win(contest, next_us, "counter")
        }
        return Ok(());
    }
    let old = merge.s.op.base(column).and_then(number).unwrap_or(0);
    // i128 holds every sum of three i64; what leaves i64 is out of any range that a policy can state.
    let sum = i128::from(server) + i128::from(data) - i128::from(old);
    let Ok(sum) = i64::try_from(sum) else {
        return Err(Box::new(Decision::rejected(format!("out-of-range: {}", contest.register.name))));
    };
    contest.in_range(&Value::Int(sum))?;
    merge.combine(contest, Value::Int(sum), next_us);
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
