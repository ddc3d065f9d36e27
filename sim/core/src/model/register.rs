//! One register under `field-merge`: what an operation makes of a column, or of a group as a whole.
//!
//! - **Unchanged since** is decided by typed value, so that going back to the old value counts as unchanged. An
//!   `old` that is null or absent equals a default that this row's own insert filled in. `old` is the writer's
//!   local value, its own queued edits included: after an edit of its own that lost, its next one finds a base that
//!   is not the current value and is judged by its rule again.
//! - Base equals current: apply; the stored stamp becomes max(operation clock, stored + 1 microsecond).
//! - A new value equal to the current one is never a conflict (a counter adds its difference all the same). The
//!   stored stamp becomes the greater one, so that the greatest stamp stays whatever arrives third.
//! - **latest**: the operation wins if its (clock, client id) is greater than the stored one, client ids compared
//!   as text; or if nothing is stored; or if the stored one is its own device's, whose write it had seen. What the
//!   server itself wrote past the backend has no clock: the stamp under it decides, its own device's as any other.
//! - **max**: the greater value stays, NULL being the least. **keep-server**: the server's value stays.
//! - **counter**: server + (data - old), null = 0; out of range is rejected. **set**: see [`super::set`]; what is
//!   no set falls back to latest.
//! - Without a base (a PUT on a live id): scalars by their rule, sets unite, counters take the greater value.
//! - A group's value is `old` overlaid with `data`. Group columns that are in neither stay as they are.

use std::cmp::Ordering;

use fixtures::{Rule, Value};

use super::explain::Why;
use super::facts::Register;
use super::set;
use super::state::{Slot, Stamp};
use crate::history::Writer;

/// What became of the part of an operation that concerns one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It took effect as sent.
    AsSent,
    /// It joined with what was there, or took effect as something else than was sent.
    Joined,
    /// It took no effect.
    Lost,
}

/// Whose value went, and because of whom.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Loss {
    pub(super) loser: Writer,
    pub(super) winner: Writer,
    pub(super) rule: &'static str,
    /// Whether a record is owed, or only allowed.
    pub(super) owed: bool,
}

/// What becomes of a register.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    /// New values; empty when all stays.
    pub(super) values: Vec<(usize, Value)>,
    pub(super) effect: Effect,
    /// The new stamp; `None` when the stored one stays.
    pub(super) stamp: Option<Stamp>,
    pub(super) loss: Option<Loss>,
    pub(super) why: Why,
}

/// Everything that a decision depends on.
pub(super) struct Sides<'t> {
    /// The row as it is.
    pub(super) current: &'t [Value],
    /// What is remembered of it.
    pub(super) slot: &'t Slot,
    /// What was sent, by column.
    pub(super) data: &'t [Option<Value>],
    /// What the writer had, by column; `None` for an operation that has no base.
    pub(super) old: Option<&'t [Option<Value>]>,
    pub(super) stored: Option<Stamp>,
    /// Whether the server itself has written the register since.
    pub(super) bypassed: bool,
    pub(super) op: Stamp,
}

impl Sides<'_> {
    /// Who wrote what is there.
    pub(super) fn there(&self) -> Writer {
        self.stored.filter(|_| !self.bypassed).map_or(Writer::Server, Stamp::writer)
    }

    /// Whether the operation's own device did.
    pub(super) fn is_own(&self) -> bool {
        !self.bypassed && self.stored.is_some_and(|stored| stored.device == self.op.device)
    }

    /// Whether what is there was written by another copy of the operation's own database.
    fn is_copy(&self, clients: &[&str]) -> bool {
        let client = |device: u32| clients.get(device as usize);
        self.stored
            .is_some_and(|stored| stored.device != self.op.device && client(stored.device) == client(self.op.device))
    }

    /// The writer's value before the operation; `None` where it says nothing of it.
    fn base(&self, column: usize) -> Option<Value> {
        let old = self.old?;
        match &old[column] {
            Some(value) if !value.is_null() => return Some(value.clone()),
            None if self.data[column].is_none() => return None,
            _ => {}
        }
        if self.current[column].is_null() {
            return Some(Value::Null);
        }
        Some(self.slot.filled(column).cloned().unwrap_or(Value::Null))
    }

    /// Whether nobody changed the register since the operation's base.
    pub(super) fn unchanged_since(&self, register: &Register<'_>) -> bool {
        self.old.is_some()
            && register
                .columns
                .iter()
                .all(|column| self.base(*column).is_none_or(|base| same(register.rule, &base, &self.current[*column])))
    }

    /// The register's value as the operation has it.
    pub(super) fn sent(&self, register: &Register<'_>) -> Vec<(usize, Value)> {
        register
            .columns
            .iter()
            .filter_map(|column| Some((*column, self.data[*column].clone().or_else(|| self.base(*column))?)))
            .collect()
    }

    /// Whether the value is what is there.
    pub(super) fn equals_current(&self, register: &Register<'_>, value: &[(usize, Value)]) -> bool {
        value.iter().all(|(column, value)| same(register.rule, value, &self.current[*column]))
    }
}

/// Typed equality; of sets, equal membership.
pub(super) fn same(rule: Rule, one: &Value, other: &Value) -> bool {
    one == other || (rule == Rule::Set && set::same(one, other))
}

/// What becomes of a register that the operation names.
///
/// # Errors
/// The reason for which the operation is rejected.
pub(super) fn decide(register: &Register<'_>, sides: &Sides<'_>, clients: &[&str]) -> Result<Decision, &'static str> {
    let sent = sides.sent(register);
    let equal = sides.equals_current(register, &sent);
    if sides.unchanged_since(register) {
        in_range(register, &sent)?;
        return Ok(Decision {
            // Of a set, equal membership keeps the text that is there.
            values: if equal { Vec::new() } else { sent },
            effect: Effect::AsSent,
            stamp: Some(sides.op.after(sides.stored)),
            loss: None,
            why: Why::Unchanged,
        });
    }
    // Two devices that each count from 2 to 3 counted to 4: no conflict, but an effect.
    let counts = matches!(register.rule, Rule::Counter { .. }) && sides.old.is_some();
    if equal && !counts {
        return Ok(Decision {
            values: Vec::new(),
            effect: Effect::AsSent,
            stamp: Some(greater(sides, clients)),
            loss: None,
            why: Why::Equal,
        });
    }
    match register.rule {
        Rule::Max => {
            let (column, value) = &sent[0];
            let greater = exceeds(value, &sides.current[*column]);
            let verdict = if greater { Ok(Why::Greater) } else { Err(Why::NotGreater) };
            Ok(contest(sides, "max", verdict, sent, clients))
        }
        Rule::KeepServer => Ok(contest(sides, "keep-server", Err(Why::KeepServer), sent, clients)),
        Rule::Counter { .. } => match count(register, sides, &sent[0])? {
            Some(value) => {
                let loss = if sides.old.is_none() { lesser_count(sides, &sent[0], &value) } else { None };
                Ok(Decision { loss, ..join(sides, (sent[0].0, value), &sent[0].1, Why::Counted, clients) })
            }
            None => Ok(latest(sides, sent, clients)),
        },
        Rule::Set => {
            let (column, data) = &sent[0];
            let old = sides.old.and_then(|old| old[*column].clone()).unwrap_or(Value::Null);
            match set::merge(&sides.current[*column], &old, data) {
                Some(value) => Ok(join(sides, (*column, value), data, Why::United, clients)),
                None => Ok(latest(sides, sent, clients)),
            }
        }
        Rule::Latest => Ok(latest(sides, sent, clients)),
    }
}

/// Whether every counter among the values is in its range.
pub(super) fn in_range(register: &Register<'_>, values: &[(usize, Value)]) -> Result<(), &'static str> {
    let Rule::Counter { min, max } = register.rule else { return Ok(()) };
    let fits = values.iter().all(|(_, value)| value.as_int().is_none_or(|int| (min..=max).contains(&int)));
    if fits { Ok(()) } else { Err("out-of-range") }
}

fn latest(sides: &Sides<'_>, sent: Vec<(usize, Value)>, clients: &[&str]) -> Decision {
    let verdict = match sides.stored {
        None => Ok(Why::Unstamped),
        Some(stored) if sides.is_own() => Ok(Why::OwnLater { stored }),
        Some(stored) if beats(sides.op, stored, clients) => Ok(Why::Newer { stored }),
        Some(stored) => Err(Why::Older { stored }),
    };
    contest(sides, "latest", verdict, sent, clients)
}

/// One of two values stays whole: the operation's, or the one that is there.
fn contest(
    sides: &Sides<'_>,
    rule: &'static str,
    verdict: Result<Why, Why>,
    sent: Vec<(usize, Value)>,
    clients: &[&str],
) -> Decision {
    let (there, own) = (sides.there(), sides.is_own());
    match verdict {
        Ok(why) => Decision {
            values: sent,
            effect: Effect::AsSent,
            stamp: Some(match why {
                Why::Newer { .. } => sides.op,
                _ => sides.op.after(sides.stored),
            }),
            // Nobody's accepted write went if the value was the server's own or the same device's.
            // Of a copy of its own database a client does not know which of the two it is: that may be on record.
            loss: Some(Loss {
                owed: there != Writer::Server && !own && !sides.is_copy(clients),
                loser: there,
                winner: sides.op.writer(),
                rule,
            }),
            why,
        },
        Err(why) => Decision {
            values: Vec::new(),
            effect: Effect::Lost,
            stamp: None,
            loss: Some(Loss { owed: !own, loser: sides.op.writer(), winner: there, rule }),
            why,
        },
    }
}

fn join(sides: &Sides<'_>, value: (usize, Value), sent: &Value, why: Why, clients: &[&str]) -> Decision {
    Decision {
        effect: if value.1 == *sent { Effect::AsSent } else { Effect::Joined },
        values: vec![value],
        stamp: Some(greater(sides, clients)),
        loss: None,
        why,
    }
}

/// The counter's new value; `None` if something is no integer.
fn count(register: &Register<'_>, sides: &Sides<'_>, sent: &(usize, Value)) -> Result<Option<Value>, &'static str> {
    let number = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Some(0),
        Some(Value::Int(int)) => Some(*int),
        Some(_) => None,
    };
    let (column, data) = sent;
    let (Some(server), Some(data)) = (number(Some(&sides.current[*column])), number(Some(data))) else {
        return Ok(None);
    };
    let result = match sides.old {
        None => server.max(data),
        Some(old) => {
            let Some(old) = number(old[*column].as_ref()) else { return Ok(None) };
            let sum = data.checked_sub(old).and_then(|difference| server.checked_add(difference));
            sum.ok_or("out-of-range")?
        }
    };
    let value = Value::Int(result);
    in_range(register, std::slice::from_ref(&(*column, value.clone())))?;
    Ok(Some(value))
}

/// Of two counts of which neither knows the other, the lesser one goes. That may be on record, and is not owed.
fn lesser_count(sides: &Sides<'_>, sent: &(usize, Value), result: &Value) -> Option<Loss> {
    let there = sides.there();
    let (loser, winner) = match result {
        _ if sides.current[sent.0] == sent.1 => return None,
        result if *result == sent.1 => (there, sides.op.writer()),
        _ => (sides.op.writer(), there),
    };
    Some(Loss { loser, winner, rule: "counter", owed: false })
}

/// Whether (clock, client id) is greater; client ids compare as text.
pub(super) fn beats(op: Stamp, stored: Stamp, clients: &[&str]) -> bool {
    let client = |stamp: Stamp| clients.get(stamp.device as usize).copied().unwrap_or_default();
    (op.clock_us, client(op)) > (stored.clock_us, client(stored))
}

fn greater(sides: &Sides<'_>, clients: &[&str]) -> Stamp {
    let op = sides.op;
    match sides.stored {
        Some(stored) if sides.is_own() => op.after(Some(stored)),
        Some(stored) if !beats(op, stored, clients) => stored,
        _ => op,
    }
}

/// Whether one value is greater, NULL being the least.
fn exceeds(one: &Value, other: &Value) -> bool {
    match (one.is_null(), other.is_null()) {
        (false, true) => true,
        (false, false) => one.compare(other) == Some(Ordering::Greater),
        (true, _) => false,
    }
}
