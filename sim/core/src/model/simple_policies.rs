//! The policies that take one line each: `row-latest`, `version-check`, `server-wins`.
//!
//! - `row-latest`: an operation older than the row's clock is superseded whole, with a record; any other writes
//!   what it sends. The row's clock is its clock column, where there is none its greatest stamp, and never later
//!   than the operation's receipt, as an operation's is: so a DELETE, which carries no clock, is never older.
//! - `version-check`: an operation with any `old` column unequal to the row is superseded whole. A PUT takes the
//!   row for absent, so one on a live row is as well.
//! - `server-wins`: a column or group changed since base keeps the server's value. A PUT on a live id has no base:
//!   only what equals the server's value, or is not there, can be said not to differ. A DELETE of a row of which
//!   any column changed is superseded.
//!
//! What asks for the values that the row holds is no conflict: it is applied, and nothing is written. What a device's
//! own operation left in a register is not changed since its base: what structure put there is its own as well.
//!
//! All else is as under `field-merge`, because each still owes integrity: tombstones, aliases, references, trees,
//! exclusive invariants, unique keys, counters' ranges, refusals.

use fixtures::{Row, Rule, Value};

use super::explain::Why;
use super::facts::{Discipline, Register, TableFacts};
use super::register::{Decision, Effect, Loss, Sides, in_range};
use super::state::{Slot, Stamp};

/// `row-latest`: whether the operation is older than the row.
pub(super) fn older_than_row(
    facts: &TableFacts<'_>,
    current: &Row,
    slot: &Slot,
    op: Stamp,
    received_us: i64,
) -> Option<Why> {
    let column = facts.clock.and_then(|clock| match current[clock] {
        Value::Time(micros) => Some(micros),
        _ => None,
    });
    let row_us = column.or_else(|| slot.stamps.iter().map(|(_, stamp)| stamp.clock_us).max())?;
    let clock_us = row_us.min(received_us);
    (op.clock_us < clock_us).then_some(Why::OlderThanRow { clock_us })
}

/// `version-check` and the deletes of `server-wins`: whether a value that the writer had is not the row's. What the
/// writer's own device left there last, it had seen.
pub(super) fn base_differs<'s>(facts: &TableFacts<'_>, sides: impl Fn(Option<usize>) -> Sides<'s>) -> Option<Why> {
    let differs = |(index, register): (usize, &Register<'_>)| {
        let sides = sides(Some(index));
        !sides.unchanged_since(register) && !sides.is_own()
    };
    facts.registers.iter().enumerate().any(differs).then_some(Why::BaseDiffers)
}

/// Whether all that an operation sends is there already, groups as wholes. The clock column is bookkeeping.
pub(super) fn asks_for_what_is_there(facts: &TableFacts<'_>, sides: &Sides<'_>) -> bool {
    let named = |register: &&Register<'_>| register.columns.iter().any(|column| sides.data[*column].is_some());
    facts
        .registers
        .iter()
        .filter(|register| !register.clock)
        .filter(named)
        .all(|register| sides.equals_current(register, &sides.sent(register)))
}

/// What is sent is written.
///
/// # Errors
/// The reason for which the operation is rejected.
pub(super) fn overwrite(
    discipline: Discipline,
    register: &Register<'_>,
    sides: &Sides<'_>,
) -> Result<Decision, &'static str> {
    let sent = sides.sent(register);
    in_range(register, &sent)?;
    // Of a set, equal membership keeps the text that is there.
    let keeps_text = register.rule == Rule::Set && sides.equals_current(register, &sent);
    Ok(Decision {
        values: if keeps_text { Vec::new() } else { sent },
        effect: Effect::AsSent,
        stamp: Some(sides.op.after(sides.stored)),
        // These policies promise a record of what they supersede, not of what they overwrite.
        loss: Some(Loss { loser: sides.there(), winner: sides.op.writer(), rule: discipline.name(), owed: false }),
        why: Why::Written,
    })
}

/// `server-wins` for one register.
///
/// # Errors
/// The reason for which the operation is rejected.
pub(super) fn server_wins(register: &Register<'_>, sides: &Sides<'_>) -> Result<Decision, &'static str> {
    let sent = sides.sent(register);
    let unchanged = sides.unchanged_since(register) || sides.is_own();
    let equal = sides.equals_current(register, &sent);
    if unchanged || equal {
        if unchanged {
            in_range(register, &sent)?;
        }
        return Ok(Decision {
            values: if equal { Vec::new() } else { sent },
            effect: Effect::AsSent,
            stamp: unchanged.then(|| sides.op.after(sides.stored)),
            loss: None,
            why: if unchanged { Why::Unchanged } else { Why::Equal },
        });
    }
    let winner = sides.there();
    Ok(Decision {
        values: Vec::new(),
        effect: Effect::Lost,
        stamp: None,
        loss: Some(Loss { loser: sides.op.writer(), winner, rule: "server-wins", owed: true }),
        why: Why::ChangedSince,
    })
}
