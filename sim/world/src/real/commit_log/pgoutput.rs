//! The messages of a logical slot (`pgoutput`, protocol 1, text format), as the history needs them. The service has its
//! own reader: what judges it shares none of its code.

/// A message that is not what PostgreSQL writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed message of the history's slot")]
pub(super) struct Malformed;

/// One column of a row; `None` stands for a large value that did not change and is not repeated.
pub(super) type Cell = Option<Option<String>>;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Begin,
    Commit {
        end_lsn: u64,
    },
    /// A table's number, name and columns.
    Relation {
        id: u32,
        name: String,
        columns: Vec<String>,
    },
    /// A row before, where the log has all of it, and after.
    Row {
        relation: u32,
        old: Option<Vec<Cell>>,
        new: Option<Vec<Cell>>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// A message that a transaction emitted.
    Emitted {
        prefix: String,
        content: Vec<u8>,
    },
    Other,
}

impl Message {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        Ok(match reader.u8()? {
            b'B' => Self::Begin,
            b'C' => {
                reader.take(9)?;
                Self::Commit { end_lsn: reader.u64()? }
            }
            b'R' => {
                let (id, _namespace, name) = (reader.u32()?, reader.text()?, reader.text()?);
                reader.u8()?;
                let columns = (0..reader.u16()?).map(|_| {
                    reader.u8()?;
                    let name = reader.text()?;
                    reader.take(8)?;
                    Ok(name)
                });
                let columns = columns.collect::<Result<_, Malformed>>()?;
                Self::Relation { id, name, columns }
            }
            b'I' => {
                let relation = reader.u32()?;
                reader.u8()?;
                Self::Row { relation, old: None, new: Some(reader.tuple()?) }
            }
            b'U' => {
                let (relation, mut kind) = (reader.u32()?, reader.u8()?);
                let mut old = None;
                if kind != b'N' {
                    let tuple = reader.tuple()?;
                    old = (kind == b'O').then_some(tuple);
                    kind = reader.u8()?;
                }
                if kind != b'N' {
                    return Err(Malformed);
                }
                Self::Row { relation, old, new: Some(reader.tuple()?) }
            }
            b'D' => {
                let (relation, kind) = (reader.u32()?, reader.u8()?);
                let tuple = reader.tuple()?;
                Self::Row { relation, old: (kind == b'O').then_some(tuple), new: None }
            }
            b'T' => {
                let count = reader.u32()?;
                reader.u8()?;
                Self::Truncate { relations: (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()? }
            }
            b'M' => {
                let flags = reader.u8()?;
                reader.take(8)?;
                let (prefix, length) = (reader.text()?, reader.u32()?);
                let content = reader.take(usize::try_from(length).map_err(|_| Malformed)?)?.to_vec();
                if flags & 1 == 1 { Self::Emitted { prefix, content } } else { Self::Other }
            }
            _ => Self::Other,
        })
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
        let text = self.take(end)?;
        self.u8()?;
        String::from_utf8(text.to_vec()).map_err(|_| Malformed)
    }

    fn tuple(&mut self) -> Result<Vec<Cell>, Malformed> {
        (0..self.u16()?)
            .map(|_| {
                Ok(match self.u8()? {
                    b'n' => Some(None),
                    b'u' => None,
                    b't' => {
                        let length = self.u32()?;
                        let text = self.take(usize::try_from(length).map_err(|_| Malformed)?)?;
                        Some(Some(String::from_utf8(text.to_vec()).map_err(|_| Malformed)?))
                    }
                    _ => return Err(Malformed),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: Result<Message, Malformed>) {
        assert_eq!(Message::parse(bytes), expect, "{bytes:?}");
    }

    #[test]
    fn messages() {
        let some = |text: &str| Some(Some(text.to_owned()));
        check(b"B", Ok(Message::Begin));
        check(b"C\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0", Ok(Message::Commit { end_lsn: 2 }));
        check(
            b"R\0\0\0\x07public\0boxes\0f\0\x01\x01id\0\0\0\0\x19\xff\xff\xff\xff",
            Ok(Message::Relation { id: 7, name: "boxes".to_owned(), columns: vec!["id".to_owned()] }),
        );
        check(
            b"U\0\0\0\x07O\0\x02t\0\0\0\x01anN\0\x02t\0\0\0\x01bu",
            Ok(Message::Row { relation: 7, old: Some(vec![some("a"), Some(None)]), new: Some(vec![some("b"), None]) }),
        );
        check(b"D\0\0\0\x07K\0\x01t\0\0\0\x01a", Ok(Message::Row { relation: 7, old: None, new: None }));
        let emitted = Message::Emitted { prefix: "p".to_owned(), content: b"{}".to_vec() };
        check(b"M\x01\0\0\0\0\0\0\0\0p\0\0\0\0\x02{}", Ok(emitted));
        check(b"M\0\0\0\0\0\0\0\0\0p\0\0\0\0\x02{}", Ok(Message::Other));
        check(b"D\0\0\0\x07O\0\x01t\0\0\0\x09a", Err(Malformed));
        check(b"", Err(Malformed));
    }
}
