//! Rows as bytes: for each value a tag and its bytes. Subkeys are hashes of these, and the store keeps rows as these.

use fixtures::{Row, Value};

/// Appends a value. Different values have different bytes.
pub(crate) fn append_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0),
        Value::Int(int) => {
            out.push(1);
            out.extend_from_slice(&int.to_le_bytes());
        }
        Value::Real(real) => {
            out.push(2);
            out.extend_from_slice(&real.to_bits().to_le_bytes());
        }
        Value::Text(text) => {
            out.push(3);
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Time(micros) => {
            out.push(4);
            out.extend_from_slice(&micros.to_le_bytes());
        }
    }
}

/// The bytes of a row.
pub(crate) fn encode(row: &Row) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len() * 12);
    for value in row.iter() {
        append_value(&mut out, value);
    }
    out
}

/// Reads a row back; `None` when the bytes are not one.
pub(crate) fn decode(bytes: &[u8]) -> Option<Row> {
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
