//! The messages of the `pgoutput` plugin (protocol version 1, text format): bytes in, data out.

use bytes::Bytes;

/// A message that PostgreSQL does not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed replication message (at {0})")]
pub(crate) struct Malformed(&'static str);

/// A table as it is from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) id: u32,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// `d` primary key, `f` all columns, `i` an index, `n` nothing.
    pub(crate) identity: char,
    /// (name, type, whether it is part of the key).
    pub(crate) columns: Vec<(String, u32, bool)>,
}

/// One column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    /// A large value that did not change and is not repeated.
    Unchanged,
    Text(Bytes),
}

/// A row. With `key` it has the columns of its key alone, and the others are NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) key: bool,
    pub(crate) cells: Vec<Cell>,
}

/// A message other than `Begin` and `Commit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Relation(Relation),
    Insert {
        relation: u32,
        new: Tuple,
    },
    Update {
        relation: u32,
        old: Option<Tuple>,
        new: Tuple,
    },
    Delete {
        relation: u32,
        old: Tuple,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// Types, origins, and other messages without rows.
    Other,
}

impl Message {
    /// Reads a message.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes, at: 0 };
        Ok(match reader.u8()? {
            b'R' => {
                let (id, namespace, name) = (reader.u32()?, reader.string()?, reader.string()?);
                let identity = char::from(reader.u8()?);
                let count = reader.u16()?;
                let mut columns = Vec::with_capacity(usize::from(count));
                for _ in 0..count {
                    let key = reader.u8()? & 1 == 1;
                    let (name, oid) = (reader.string()?, reader.u32()?);
                    reader.u32()?;
                    columns.push((name, oid, key));
                }
                // An empty namespace is pg_catalog.
                Self::Relation(Relation { id, namespace, name, identity, columns })
            }
            b'I' => {
                let relation = reader.u32()?;
                reader.u8()?;
                Self::Insert { relation, new: reader.tuple(false)? }
            }
            b'U' => {
                let relation = reader.u32()?;
                let mut kind = reader.u8()?;
                let mut old = None;
                if kind != b'N' {
                    old = Some(reader.tuple(kind == b'K')?);
                    kind = reader.u8()?;
                }
                if kind != b'N' {
                    return Err(Malformed("an update"));
                }
                Self::Update { relation, old, new: reader.tuple(false)? }
            }
            b'D' => {
                let relation = reader.u32()?;
                let kind = reader.u8()?;
                Self::Delete { relation, old: reader.tuple(kind == b'K')? }
            }
            b'T' => {
                let count = reader.u32()?;
                reader.u8()?;
                let relations = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
                Self::Truncate { relations }
            }
            _ => Self::Other,
        })
    }
}

struct Reader<'b> {
    bytes: &'b Bytes,
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let end = self.at + N;
        let taken = self.bytes.get(self.at..end).and_then(|bytes| bytes.try_into().ok());
        self.at = end;
        taken.ok_or(Malformed("its end"))
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).ok_or(Malformed("a name"))?;
        self.at += end + 1;
        String::from_utf8(rest[..end].to_vec()).map_err(|_| Malformed("a name"))
    }

    fn tuple(&mut self, key: bool) -> Result<Tuple, Malformed> {
        let count = self.u16()?;
        let mut cells = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            cells.push(match self.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => {
                    let length = usize::try_from(self.u32()?).map_err(|_| Malformed("a value"))?;
                    let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
                    let end = end.ok_or(Malformed("a value"))?;
                    let text = self.bytes.slice(self.at..end);
                    self.at = end;
                    Cell::Text(text)
                }
                _ => return Err(Malformed("a value")),
            });
        }
        Ok(Tuple { key, cells })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: Result<Message, Malformed>) {
        assert_eq!(Message::parse(&Bytes::copy_from_slice(bytes)), expect, "{bytes:?}");
    }

    #[test]
    fn messages() {
        check(
            b"R\0\0\0\x07public\0boxes\0f\0\x02\x01id\0\0\0\0\x19\xff\xff\xff\xff\x01n\0\0\0\0\x17\xff\xff\xff\xff",
            Ok(Message::Relation(Relation {
                id: 7,
                namespace: "public".to_owned(),
                name: "boxes".to_owned(),
                identity: 'f',
                columns: vec![("id".to_owned(), 25, true), ("n".to_owned(), 23, true)],
            })),
        );
        let text = |text: &'static [u8]| Cell::Text(Bytes::from_static(text));
        check(b"U\0\0\0\x07K\0\x02t\0\0\0\x01an\0\0N\0\x02t\0\0\0\x01bu".as_slice(), Err(Malformed("an update")));
        check(
            b"U\0\0\0\x07K\0\x02t\0\0\0\x01anN\0\x02t\0\0\0\x01bu",
            Ok(Message::Update {
                relation: 7,
                old: Some(Tuple { key: true, cells: vec![text(b"a"), Cell::Null] }),
                new: Tuple { key: false, cells: vec![text(b"b"), Cell::Unchanged] },
            }),
        );
        check(b"T\0\0\0\x02\0\0\0\0\x07\0\0\0\x08", Ok(Message::Truncate { relations: vec![7, 8] }));
        check(b"Y\0\0", Ok(Message::Other));
        check(b"D\0\0\0\x07O\0\x01t\0\0\0\x09a", Err(Malformed("a value")));
        check(b"", Err(Malformed("its end")));
    }
}
