//! The base of an operation: what its device had seen of the row, compared with what the row holds.

use fixtures::Value;

use crate::policy::decision::Situation;
use crate::record::{Author, StoredRow};
use crate::rules::Register;

/// The value that the device had for a column, unless that value means nothing.
pub(crate) fn base_value<'s>(s: &Situation<'s>, column: usize) -> Option<&'s Value> {
    s.op.base(column).filter(|_| !is_base_unknown(s, column))
}

/// Whether the recorded base means nothing: the device had NULL in a NOT NULL column, because a local insert left the
/// column out, or because the device cleared it and was refused.
pub(crate) fn is_base_unknown(s: &Situation<'_>, column: usize) -> bool {
    let left_out = s.rules.columns[column].not_null && s.op.sent(column).is_none();
    left_out && s.op.base(column).is_some_and(Value::is_null)
}

/// Whether the row still holds what the writer saw when it wrote. In a group, only columns count that were sent or have
/// a recorded base.
pub(crate) fn unchanged_since_base(s: &Situation<'_>, stored: &StoredRow, register: &Register) -> bool {
    register.columns.iter().all(|column| {
        let base = match base_value(s, *column) {
            Some(base) => base,
            None if s.op.sent(*column).is_none() => return true,
            None => &Value::Null,
        };
        let current = stored.value(*column);
        register.holds_same(base, current) || (base.is_null() && stored.is_defaulted(*column))
    })
}

/// The author of the first register that another device changed since the base.
///
/// A value that the device's own operation left is not a change, even where the server put it in place of what was sent.
/// A device that records no `old` at all has no base that could differ.
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
