//! The policies that take one line each: `row-latest`, `version-check`, `server-wins`.
//!
//! - `row-latest`: an operation older than the row's clock is superseded whole, with a record; any other writes
//!   what it sends. The row's clock is its clock column; where there is none, its greatest stamp.
//! - `version-check`: an operation with any `old` column unequal to the row is superseded whole. A PUT has no
//!   `old`, so that nothing of it can be unequal.
//! - `server-wins`: a column or group changed since base keeps the server's value. A PUT on a live id has no base:
//!   only what equals the server's value, or is not there, can be said not to differ. A DELETE names no column and
//!   deletes.
//!
//! All else is as under `field-merge`, for each still owes integrity: tombstones, aliases, references, trees,
//! exclusive invariants, unique keys, refusals.

use fixtures::{Row, Value};

use super::explain::Why;
use super::facts::{Register, TableFacts};
use super::register::{Decision, Effect, Loss, Sides, same};
use super::state::{Slot, Stamp};

/// `row-latest`: whether the operation is older than the row.
pub(super) fn older_than_row(facts: &TableFacts<'_>, current: &Row, slot: &Slot, op: Stamp) -> Option<Why> {
    let column = facts.clock.and_then(|clock| match current[clock] {
        Value::Time(micros) => Some(micros),
        _ => None,
    });
    let clock_us = column.or_else(|| slot.stamps.iter().map(|(_, stamp)| stamp.clock_us).max())?;
    (op.clock_us < clock_us).then_some(Why::OlderThanRow { clock_us })
}

/// `version-check`: whether an `old` value is not the row's. An `old` that is null equals a default that this row's
/// own insert filled in.
pub(super) fn base_differs(
    facts: &TableFacts<'_>,
    current: &Row,
    slot: &Slot,
    old: &[Option<Value>],
) -> Option<Why> {
    let differs = |column: usize, old: &Value| {
        let rule = facts.registers[facts.register_of[column]].rule;
        let default = || old.is_null() && slot.filled(column).is_some_and(|filled| *filled == current[column]);
        !same(rule, old, &current[column]) && !default()
    };
    let any = old.iter().enumerate().any(|(column, old)| old.as_ref().is_some_and(|old| differs(column, old)));
    any.then_some(Why::BaseDiffers)
}

/// What is sent is written.
pub(super) fn overwrite(register: &Register<'_>, sides: &Sides<'_>) -> Decision {
    let values: Vec<(usize, Value)> =
        register.columns.iter().filter_map(|at| Some((*at, sides.data[*at].clone()?))).collect();
    let loser = sides.there();
    Decision {
        values,
        effect: Effect::AsSent,
        stamp: Some(sides.op.after(sides.stored)),
        // These policies promise a record of what they supersede, not of what they overwrite.
        loss: Some(Loss { loser, winner: sides.op.writer(), rule: "latest", owed: false }),
        why: Why::Written,
    }
}

/// `server-wins` for one register.
pub(super) fn server_wins(register: &Register<'_>, sides: &Sides<'_>) -> Decision {
    let sent = sides.sent(register);
    let equal = sides.equals_current(register, &sent);
    if equal || sides.unchanged_since(register) {
        return Decision {
            values: if equal { Vec::new() } else { sent },
            effect: Effect::AsSent,
            stamp: Some(sides.op.after(sides.stored)),
            loss: None,
            why: if equal { Why::Equal } else { Why::Unchanged },
        };
    }
    let winner = sides.there();
    Decision {
        values: Vec::new(),
        effect: Effect::Lost,
        stamp: None,
        loss: Some(Loss { loser: sides.op.writer(), winner, rule: "server-wins", owed: true }),
        why: Why::ChangedSince,
    }
}
