//! Rows as bytes: a tag and the value, one after the other.

use fixtures::{Row, Value};

use crate::replication::memory::identify;

/// The bytes of a row.
pub(super) fn encode(row: &Row) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len() * 12);
    for value in row.iter() {
        identify(&mut out, value);
    }
    out
}

/// Reads a row back; `None` when the bytes are not one.
pub(super) fn decode(bytes: &[u8]) -> Option<Row> {
    let mut values = Vec::new();
    let mut rest = bytes;
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        if *tag == 0 {
            values.push(Value::Null);
            continue;
        }
        let (word, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        values.push(match tag {
            1 => Value::Int(i64::from_le_bytes(*word)),
            2 => Value::Real(f64::from_bits(u64::from_le_bytes(*word))),
            3 => {
                let (text, after) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*word)).ok()?)?;
                rest = after;
                Value::text(std::str::from_utf8(text).ok()?)
            }
            4 => Value::Time(i64::from_le_bytes(*word)),
            _ => return None,
        });
    }
    Some(values.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let row: Row = vec![
            Value::Null,
            Value::Int(i64::MIN),
            Value::Real(-0.5),
            Value::text("é\0"),
            Value::text(""),
            Value::Time(i64::MAX),
        ]
        .into();
        let bytes = encode(&row);
        assert_eq!(decode(&bytes), Some(row));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[9, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(decode(&[]).map(|row| row.len()), Some(0));
    }
}
