//! As much of BSON as commands and their answers need: flat documents. What is nested is skipped.

/// A name and its value.
pub(super) type Item = (String, Value);

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i32),
    Long(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Bool(bool),
    /// Of a kind that nobody here asks for.
    Other,
}

/// A document.
pub(super) fn written(items: &[Item]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in items {
        let (kind, bytes): (u8, Vec<u8>) = match value {
            Value::Double(real) => (0x01, real.to_le_bytes().to_vec()),
            Value::Text(text) => {
                let mut bytes = length(text.len() + 1);
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(0);
                (0x02, bytes)
            }
            Value::Bytes(given) => {
                let mut bytes = length(given.len());
                bytes.push(0);
                bytes.extend_from_slice(given);
                (0x05, bytes)
            }
            Value::Bool(flag) => (0x08, vec![u8::from(*flag)]),
            Value::Other => (0x0a, Vec::new()),
            Value::Int(int) => (0x10, int.to_le_bytes().to_vec()),
            Value::Long(long) => (0x12, long.to_le_bytes().to_vec()),
        };
        body.push(kind);
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend(bytes);
    }
    let mut document = length(body.len() + 5);
    document.extend(body);
    document.push(0);
    document
}

fn length(bytes: usize) -> Vec<u8> {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_le_bytes().to_vec()
}

/// Reads a document; `None` when it is malformed.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<Item>> {
    let whole = usize::try_from(i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let mut rest = bytes.get(4..whole)?;
    let mut items = Vec::new();
    loop {
        let (kind, after) = rest.split_first()?;
        if *kind == 0 {
            return Some(items);
        }
        let end = after.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8_lossy(&after[..end]).into_owned();
        rest = &after[end + 1..];
        let size = || usize::try_from(i32::from_le_bytes(rest.get(..4)?.try_into().ok()?)).ok();
        let taken = match kind {
            0x01 | 0x09 | 0x11 | 0x12 => 8,
            0x02 | 0x0d | 0x0e => size()?.checked_add(4)?,
            0x03 | 0x04 | 0x0f => size()?,
            0x05 => size()?.checked_add(5)?,
            0x07 => 12,
            0x08 => 1,
            0x06 | 0x0a | 0x7f | 0xff => 0,
            0x10 => 4,
            0x13 => 16,
            0x0b => {
                let first = rest.iter().position(|byte| *byte == 0)? + 1;
                first + rest[first..].iter().position(|byte| *byte == 0)? + 1
            }
            _ => return None,
        };
        let value = rest.get(..taken)?;
        let read = match kind {
            0x01 => Value::Double(f64::from_le_bytes(value.try_into().ok()?)),
            0x02 => Value::Text(String::from_utf8_lossy(value.get(4..taken.checked_sub(1)?)?).into_owned()),
            0x05 => Value::Bytes(value[5..].to_vec()),
            0x08 => Value::Bool(value[0] != 0),
            0x10 => Value::Int(i32::from_le_bytes(value.try_into().ok()?)),
            0x12 => Value::Long(i64::from_le_bytes(value.try_into().ok()?)),
            _ => Value::Other,
        };
        items.push((name, read));
        rest = &rest[taken..];
    }
}

fn find<'a>(items: &'a [Item], name: &str) -> Option<&'a Value> {
    items.iter().find(|(one, _)| one == name).map(|(_, value)| value)
}

/// A number of any kind, as an integer.
pub(super) fn number(items: &[Item], name: &str) -> Option<i64> {
    match find(items, name)? {
        Value::Int(int) => Some(i64::from(*int)),
        Value::Long(long) => Some(*long),
        #[expect(clippy::cast_possible_truncation, reason = "servers write small integers as doubles")]
        Value::Double(real) => Some(*real as i64),
        _ => None,
    }
}

pub(super) fn flag(items: &[Item], name: &str) -> Option<bool> {
    match find(items, name)? {
        Value::Bool(flag) => Some(*flag),
        _ => None,
    }
}

pub(super) fn text<'a>(items: &'a [Item], name: &str) -> Option<&'a str> {
    match find(items, name)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

pub(super) fn bytes(items: &[Item], name: &str) -> Option<Vec<u8>> {
    match find(items, name)? {
        Value::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_back() {
        let items = vec![
            ("a".to_owned(), Value::Int(-1)),
            ("b".to_owned(), Value::Text("zwölf".to_owned())),
            ("c".to_owned(), Value::Bytes(vec![0, 1])),
            ("d".to_owned(), Value::Bool(true)),
            ("e".to_owned(), Value::Double(1.0)),
            ("f".to_owned(), Value::Long(1 << 40)),
            ("g".to_owned(), Value::Other),
        ];
        let bytes = written(&items);
        assert_eq!(read(&bytes), Some(items.clone()));
        assert_eq!((number(&items, "e"), flag(&items, "d"), text(&items, "b")), (Some(1), Some(true), Some("zwölf")));
        // Cut off or changed anywhere, it is read or refused, and nothing else.
        for at in 0..bytes.len() {
            let _ = read(&bytes[..at]);
            for byte in [0, 1, 5, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = byte;
                let _ = read(&changed);
            }
        }
    }

    #[test]
    fn what_is_nested_is_skipped() {
        let inner = written(&[("x".to_owned(), Value::Int(1))]);
        let mut body = vec![0x03];
        body.extend_from_slice(b"sub\0");
        body.extend(inner);
        body.extend_from_slice(&[0x08, b'y', 0, 1, 0]);
        let mut document = length(body.len() + 4);
        document.extend(body);
        assert_eq!(read(&document), Some(vec![("sub".to_owned(), Value::Other), ("y".to_owned(), Value::Bool(true))]));
    }
}
