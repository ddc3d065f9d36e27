//! Operations: what clients download, with their checksums and wire form.
//!
//! The wire text of an operation is built once and shared by every bucket that holds it and every stream that sends
//! it; only the operation id differs from bucket to bucket.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::json::{write_escaped, write_string, write_u64};

/// Identifies the source row behind an operation: the table, and the row's replica identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subkey {
    /// The source table.
    pub table: Uuid,
    /// UUIDv5 of the replica identity.
    pub row: Uuid,
}

impl Subkey {
    fn write(self, out: &mut String) {
        let mut buffer = [0u8; uuid::fmt::Hyphenated::LENGTH];
        out.push_str(self.table.hyphenated().encode_lower(&mut buffer));
        out.push('/');
        out.push_str(self.row.hyphenated().encode_lower(&mut buffer));
    }
}

/// A PUT or REMOVE, without its operation id.
#[derive(Debug)]
pub struct RowOp {
    /// The table on the client.
    pub object_type: Arc<str>,
    /// The row on the client.
    pub object_id: Arc<str>,
    /// The row at the source.
    pub subkey: Subkey,
    /// As [`put_checksum`] or [`remove_checksum`] gives it.
    pub checksum: u32,
    /// `"op":"PUT",…,"data":"…"`: everything of the wire form after the operation id.
    pub wire: String,
}

impl RowOp {
    /// A PUT of row data, which is JSON text.
    #[must_use]
    pub fn put(object_type: &Arc<str>, object_id: &Arc<str>, subkey: Subkey, data: &str) -> Self {
        let checksum = put_checksum(object_type, object_id, data);
        let mut wire = Self::wire_start("PUT", object_type, object_id, checksum, subkey, data.len() * 5 / 4);
        wire.push('"');
        write_escaped(&mut wire, data);
        wire.push('"');
        Self { object_type: object_type.clone(), object_id: object_id.clone(), subkey, checksum, wire }
    }

    /// A REMOVE.
    #[must_use]
    pub fn remove(object_type: &Arc<str>, object_id: &Arc<str>, subkey: Subkey) -> Self {
        let mut text = String::with_capacity(73);
        subkey.write(&mut text);
        let checksum = remove_checksum(&text);
        let mut wire = Self::wire_start("REMOVE", object_type, object_id, checksum, subkey, 4);
        wire.push_str("null");
        Self { object_type: object_type.clone(), object_id: object_id.clone(), subkey, checksum, wire }
    }

    fn wire_start(op: &str, object_type: &str, object_id: &str, checksum: u32, subkey: Subkey, data: usize) -> String {
        let mut wire = String::with_capacity(176 + object_type.len() + object_id.len() + data);
        wire.push_str("\"op\":\"");
        wire.push_str(op);
        wire.push_str("\",\"object_type\":");
        write_string(&mut wire, object_type);
        wire.push_str(",\"object_id\":");
        write_string(&mut wire, object_id);
        wire.push_str(",\"checksum\":");
        write_u64(&mut wire, u64::from(checksum));
        wire.push_str(",\"subkey\":\"");
        subkey.write(&mut wire);
        wire.push_str("\",\"data\":");
        wire
    }
}

/// The checksum of a PUT.
#[must_use]
pub fn put_checksum(object_type: &str, object_id: &str, data: &str) -> u32 {
    let mut hash = Sha256::new();
    for part in ["put.", object_type, ".", object_id, ".", data] {
        hash.update(part.as_bytes());
    }
    first_word(&hash.finalize())
}

/// The checksum of a REMOVE.
#[must_use]
pub fn remove_checksum(subkey: &str) -> u32 {
    let mut hash = Sha256::new();
    hash.update(b"delete.");
    hash.update(subkey.as_bytes());
    first_word(&hash.finalize())
}

fn first_word(digest: &[u8]) -> u32 {
    u32::from_le_bytes(digest[..4].try_into().expect("SHA-256 has 32 bytes"))
}

/// What an operation of a bucket is.
#[derive(Clone, Debug)]
pub enum Body {
    /// A PUT or REMOVE.
    Row(Arc<RowOp>),
    /// What compaction left of an operation that a later one, `target`, replaced.
    Move {
        /// The checksum of the operation replaced.
        checksum: u32,
        /// The operation id of the latest operation of the row.
        target: u64,
    },
    /// What compaction left of a run of operations at the start of the bucket.
    Clear {
        /// The sum over the run.
        checksum: u32,
        /// The greatest target in the run.
        target: u64,
    },
}

/// One operation of a bucket.
#[derive(Clone, Debug)]
pub struct Op {
    /// The operation id: increasing, shared by all buckets of a storage.
    pub op_id: u64,
    /// What it is.
    pub body: Body,
}

impl Op {
    /// Its checksum.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        match &self.body {
            Body::Row(row) => row.checksum,
            Body::Move { checksum, .. } | Body::Clear { checksum, .. } => *checksum,
        }
    }

    /// For an operation that compaction made, the operation that a client must also have to see a consistent state.
    #[must_use]
    pub fn target(&self) -> u64 {
        match self.body {
            Body::Row(_) => 0,
            Body::Move { target, .. } | Body::Clear { target, .. } => target,
        }
    }

    /// About how many bytes it takes on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        match &self.body {
            Body::Row(row) => row.wire.len() + 36,
            _ => 64,
        }
    }

    /// Appends the wire form.
    pub fn write(&self, out: &mut String) {
        out.push_str("{\"op_id\":\"");
        write_u64(out, self.op_id);
        out.push_str("\",");
        let (name, checksum) = match &self.body {
            Body::Row(row) => {
                out.push_str(&row.wire);
                out.push('}');
                return;
            }
            Body::Move { checksum, .. } => ("MOVE", checksum),
            Body::Clear { checksum, .. } => ("CLEAR", checksum),
        };
        let _ = write!(out, "\"op\":\"{name}\",\"checksum\":{checksum}}}");
    }
    /// Whether it is a PUT.
    pub(crate) fn is_put(&self) -> bool {
        matches!(&self.body, Body::Row(row) if row.wire.starts_with("\"op\":\"PUT\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_the_protocol() {
        let mut sum = 0u32;
        for line in include_str!("../tests/traces/checksums.trace").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (got, expect) = match words.as_slice() {
                ["put", object_type, object_id, data, expect] => (put_checksum(object_type, object_id, data), expect),
                ["delete", subkey, expect] => (remove_checksum(subkey), expect),
                ["sum", expect] => {
                    assert_eq!(sum.cast_signed().to_string(), *expect);
                    continue;
                }
                _ => panic!("no vector: {line}"),
            };
            assert_eq!(got.to_string(), *expect, "{line}");
            sum = sum.wrapping_add(got);
        }
    }
}
