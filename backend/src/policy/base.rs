//! The base of an operation: what its device had seen of the row, compared with what the row holds.

use fixtures::Value;

use crate::policy::decision::Situation;
use crate::record::{Author, StoredRow};
use crate::rules::Register;

/// What the device told of a column that it may not have sent.
fn told<'s>(s: &Situation<'s>, column: usize) -> Option<&'s Value> {
    s.op.base(column).filter(|_| !tells_nothing(s, column))
}

/// Whether the device had NULL where the server can have none: a local insert left the column out, or the device had
/// cleared it and was refused.
pub(crate) fn tells_nothing(s: &Situation<'_>, column: usize) -> bool {
    let left_out = s.rules.columns[column].not_null && s.op.sent(column).is_none();
    left_out && s.op.base(column).is_some_and(Value::is_null)
}

/// Whether the row still holds what the writer saw when it wrote. Of a group's columns, those count that were sent or
/// of which the device recorded what it saw.
pub(crate) fn unchanged_since_base(s: &Situation<'_>, stored: &StoredRow, register: &Register) -> bool {
    register.columns.iter().all(|column| {
        let base = match told(s, *column) {
            Some(base) => base,
            None if s.op.sent(*column).is_none() => return true,
            None => &Value::Null,
        };
        let current = stored.value(*column);
        register.holds_same(base, current) || (base.is_null() && stored.is_defaulted(*column))
    })
}

/// Whose write, not the operation's own device's, left something else in a register than the writer saw: the first
/// such register's. What its own operation left there is its own, also where the server put it in place of what was
/// sent. A device that records no `old` at all states no base that could differ.
pub(crate) fn changed_by_another(s: &Situation<'_>, stored: &StoredRow) -> Option<Author> {
    s.op.old.as_ref()?;
    let changed = |(_, register): &(usize, &Register)| !unchanged_since_base(s, stored, register);
    let registers = s.rules.registers.iter().enumerate().filter(changed);
    let mut authors = registers.map(|(index, register)| stored.author(index, &register.columns));
    authors.find(|author| !author.is_earlier_of(s.writer))
}

/// Who wrote to the row last: the author of the register with the greatest stamp.
pub(crate) fn last_author(s: &Situation<'_>, stored: &StoredRow) -> Author {
    let last = (0..s.rules.registers.len())
        .filter_map(|index| Some((stored.stamp(index)?.at_us, index)))
        .max_by_key(|(at_us, index)| (*at_us, std::cmp::Reverse(*index)));
    match last {
        Some((_, index)) => stored.author(index, &s.rules.registers[index].columns),
        None => Author::Server,
    }
}
