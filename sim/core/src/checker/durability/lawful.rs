//! Which of two writes the declared rule lets stand: the rules of policy.toml, or a policy's one-line promise.

use std::cmp::Ordering;

use fixtures::{Row, Value};

use super::edit::{Cell, Edit};
use super::state::{Register, State};

/// Whose rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discipline {
    /// Those of policy.toml: `field-merge`, the baseline `arrival-order`, and any backend that is not ours.
    Rules,
    /// An operation older than the row's clock is superseded whole.
    RowLatest,
    /// An operation with any `old` column unequal to the row is superseded whole.
    VersionCheck,
    /// A column changed since base keeps the server's value.
    ServerWins,
}

/// Whether an operation wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Win {
    /// It must.
    Yes,
    /// It must not.
    No,
    /// The contract, or what is known, allows both.
    Either,
}

impl Discipline {
    /// The rules that a policy is held to.
    pub(super) fn of(policy: &str) -> Self {
        match policy {
            "row-latest" => Self::RowLatest,
            "version-check" => Self::VersionCheck,
            "server-wins" => Self::ServerWins,
            _ => Self::Rules,
        }
    }

    /// What decides, where the rule of policy.toml is this one.
    pub(super) fn name(self, rule: &'static str) -> &'static str {
        match self {
            Self::Rules => rule,
            Self::RowLatest => "row-latest",
            Self::VersionCheck => "version-check",
            Self::ServerWins => "server-wins",
        }
    }
}

/// Whether the edit's (clock, client) is greater than the register's stamp. Client ids compare as text; a write of
/// the same device was seen, whatever its clock says.
pub(super) fn beats(edit: &Edit<'_>, device: u32, clients: &[&str], stored: &Register) -> Win {
    let own = |write: Option<super::state::Write>| write.map(|write| write.device == device);
    match (own(stored.by), own(stored.also)) {
        (Some(true), None | Some(true)) => return Win::Yes,
        (Some(true), _) | (_, Some(true)) => return Win::Either,
        (None, _) if stored.high == i64::MIN => return Win::Yes,
        _ => {}
    }
    if edit.clock_low > stored.high {
        return Win::Yes;
    }
    if edit.clock_high < stored.low {
        return Win::No;
    }
    let exact = stored.low == stored.high && edit.clock_low == edit.clock_high && stored.also.is_none();
    match stored.by {
        Some(by) if exact => {
            let client = |device: u32| clients.get(device as usize).copied().unwrap_or_default();
            match client(device).cmp(client(by.device)) {
                Ordering::Greater => Win::Yes,
                Ordering::Less => Win::No,
                Ordering::Equal => Win::Either,
            }
        }
        _ => Win::Either,
    }
}

/// `row-latest`: whether the edit is as young as its row. The row's clock is its clock column, and the greatest
/// stamp in a table without one; like an edit's, it is never later than the receipt.
pub(super) fn row_latest(edit: &Edit<'_>, state: &State, clock: Option<usize>, current: &Row, received_us: i64) -> Win {
    let row_us = match clock.and_then(|clock| current.get(clock)) {
        Some(Value::Time(micros)) => Some(*micros),
        _ => None,
    };
    let greatest = |stamp: fn(&Register) -> i64| state.registers.iter().map(stamp).max().unwrap_or(i64::MIN);
    let low = row_us.unwrap_or_else(|| greatest(|register| register.low)).min(received_us);
    let high = row_us.unwrap_or_else(|| greatest(|register| register.high)).min(received_us);
    // Clocks of several operations on one row are known as a range.
    match () {
        () if edit.clock_low > high => Win::Yes,
        () if edit.clock_high < low => Win::No,
        () => Win::Either,
    }
}

/// `version-check`: whether every column whose old value the edit knows is as it was. An insert states no base.
pub(super) fn version_check(edit: &Edit<'_>, state: &State, current: &Row) -> Win {
    if edit.put || edit.cells.iter().all(|cell| cell.base.is_none()) {
        return Win::Either;
    }
    let unequal = |cell: &Cell<'_>| {
        cell.base.is_some_and(|base| {
            current.get(cell.column) != Some(base) && !(base.is_null() && state.is_filled(cell.column))
        })
    };
    match edit.cells.iter().filter(|cell| unequal(cell)).count() {
        0 => Win::Yes,
        // Sets may be written differently and be equal.
        _ if edit.cells.iter().filter(|cell| unequal(cell)).all(|cell| is_same_set(cell, current)) => Win::Either,
        _ => Win::No,
    }
}

fn is_same_set(cell: &Cell<'_>, current: &Row) -> bool {
    let members = super::edit::members;
    members(cell.base).is_some_and(|base| members(current.get(cell.column)) == Some(base))
}

/// Whether the first value is the greater one, as PostgreSQL orders them; NULL is the least.
pub(super) fn greater(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Null, _) => false,
        (_, Value::Null) => true,
        (Value::Int(one), Value::Int(other)) | (Value::Time(one), Value::Time(other)) => one > other,
        (Value::Real(one), Value::Real(other)) => one > other || (one.is_nan() && !other.is_nan()),
        (Value::Text(one), Value::Text(other)) => one > other,
        _ => false,
    }
}
