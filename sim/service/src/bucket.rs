//! Buckets: the ordered operations that clients download, their checksums, and compaction.
//!
//! An operation's wire text is built once and shared by every bucket that holds it and every stream that sends
//! it; only the operation id differs from bucket to bucket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::row::{write_escaped, write_string, write_u64};

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
    /// Section 3 of the protocol.
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
        /// That of the operation replaced.
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

    /// The operation without which this one is not the whole truth, when compaction made it.
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
}

/// Identifies a row in a bucket: its type and id on the client, and the row at the source.
pub(crate) type RowKey = (Arc<str>, Arc<str>, Subkey);

/// The operations of one bucket.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    ops: Vec<Op>,
    checksum: u32,
}

impl Bucket {
    /// A bucket of these operations, their ids increasing.
    pub(crate) fn restored(ops: Vec<Op>) -> Self {
        let checksum = ops.iter().fold(0u32, |sum, op| sum.wrapping_add(op.checksum()));
        Self { ops, checksum }
    }

    /// The rows that a client which has applied every operation holds.
    pub(crate) fn live(&self) -> BTreeMap<RowKey, &Arc<RowOp>> {
        let mut live = BTreeMap::new();
        for op in &self.ops {
            if let Body::Row(row) = &op.body {
                let key = (row.object_type.clone(), row.object_id.clone(), row.subkey);
                if op.is_put() {
                    live.insert(key, row);
                } else {
                    live.remove(&key);
                }
            }
        }
        live
    }

    /// Appends an operation, whose id must be greater than all before it.
    pub fn push(&mut self, op_id: u64, row: Arc<RowOp>) {
        debug_assert!(self.ops.last().is_none_or(|last| last.op_id < op_id), "operation ids increase");
        self.checksum = self.checksum.wrapping_add(row.checksum);
        self.ops.push(Op { op_id, body: Body::Row(row) });
    }

    /// The sum of all operations' checksums.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// How many operations are stored.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ops.len()
    }

    /// The operations with `after < op_id <= upto`.
    #[must_use]
    pub fn range(&self, after: u64, upto: u64) -> &[Op] {
        let from = self.ops.partition_point(|op| op.op_id <= after);
        let to = self.ops.partition_point(|op| op.op_id <= upto);
        &self.ops[from..to.max(from)]
    }

    /// Whether compaction has swept operations of this checkpoint into a CLEAR that lies beyond it, so that the
    /// checkpoint's sums can no longer be served.
    #[must_use]
    pub fn cleared_beyond(&self, checkpoint: u64) -> bool {
        self.ops.first().is_some_and(|op| matches!(op.body, Body::Clear { .. }) && op.op_id > checkpoint)
    }

    /// Compacts: an operation whose row has a later one becomes a MOVE; a run of REMOVE, MOVE and CLEAR at the
    /// start becomes one CLEAR. Sums and operation ids stay.
    pub fn compact(&mut self) {
        let mut seen: BTreeMap<RowKey, u64> = BTreeMap::new();
        for op in self.ops.iter_mut().rev() {
            if let Body::Row(row) = &op.body {
                let key = (row.object_type.clone(), row.object_id.clone(), row.subkey);
                match seen.get(&key) {
                    Some(target) => op.body = Body::Move { checksum: row.checksum, target: *target },
                    None => {
                        seen.insert(key, op.op_id);
                    }
                }
            }
        }
        let run = self.ops.iter().take_while(|op| !op.is_put()).count();
        if run > 1 || (run == 1 && !matches!(self.ops[0].body, Body::Clear { .. })) {
            let swept: Vec<Op> = self.ops.drain(..run).collect();
            let last = swept.last().expect("the run is not empty").op_id;
            let checksum = swept.iter().fold(0u32, |sum, op| sum.wrapping_add(op.checksum()));
            let target = swept.iter().map(Op::target).max().expect("the run is not empty");
            self.ops.insert(0, Op { op_id: last, body: Body::Clear { checksum, target } });
        }
    }
}

impl Op {
    fn is_put(&self) -> bool {
        matches!(&self.body, Body::Row(row) if row.wire.starts_with("\"op\":\"PUT\""))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    /// The rows that a client which applied every operation would hold.
    fn live_rows(bucket: &Bucket) -> BTreeSet<(Arc<str>, Subkey)> {
        let mut live = BTreeSet::new();
        for op in &bucket.ops {
            if let Body::Row(row) = &op.body {
                let key = (row.object_id.clone(), row.subkey);
                if op.is_put() {
                    live.insert(key);
                } else {
                    live.remove(&key);
                }
            }
        }
        live
    }

    fn subkey(n: u128) -> Subkey {
        Subkey { table: Uuid::from_u128(7), row: Uuid::from_u128(n) }
    }

    fn bucket(ops: &[(u64, &str, bool)]) -> Bucket {
        let mut bucket = Bucket::default();
        let object_type: Arc<str> = Arc::from("rows");
        for (op_id, id, put) in ops {
            let object_id: Arc<str> = Arc::from(*id);
            let key = subkey(u128::from(id.as_bytes()[0]));
            let row = if *put {
                RowOp::put(&object_type, &object_id, key, "{}")
            } else {
                RowOp::remove(&object_type, &object_id, key)
            };
            bucket.push(*op_id, Arc::new(row));
        }
        bucket
    }

    fn shape(bucket: &Bucket) -> Vec<(u64, &'static str, u64)> {
        let name = |op: &Op| match op.body {
            Body::Row(_) if op.is_put() => "PUT",
            Body::Row(_) => "REMOVE",
            Body::Move { .. } => "MOVE",
            Body::Clear { .. } => "CLEAR",
        };
        bucket.ops.iter().map(|op| (op.op_id, name(op), op.target())).collect()
    }

    fn check_compaction(ops: &[(u64, &str, bool)], expect: &[(u64, &str, u64)]) {
        let mut bucket = bucket(ops);
        let (sum, live) = (bucket.checksum(), live_rows(&bucket));
        bucket.compact();
        assert_eq!(shape(&bucket), expect, "{ops:?}");
        assert_eq!(bucket.ops.iter().fold(0u32, |sum, op| sum.wrapping_add(op.checksum())), sum);
        assert_eq!(bucket.checksum(), sum);
        assert_eq!(live_rows(&bucket), live, "{ops:?}");
        let before = shape(&bucket);
        bucket.compact();
        assert_eq!(shape(&bucket), before, "compacting twice is compacting once");
    }

    #[test]
    fn compaction() {
        check_compaction(&[], &[]);
        check_compaction(&[(1, "a", true)], &[(1, "PUT", 0)]);
        check_compaction(
            &[(1, "a", true), (2, "b", true), (5, "b", true)],
            &[(1, "PUT", 0), (2, "MOVE", 5), (5, "PUT", 0)],
        );
        check_compaction(&[(1, "a", true), (2, "a", false), (3, "b", true)], &[(2, "CLEAR", 2), (3, "PUT", 0)]);
        check_compaction(
            &[(1, "a", true), (2, "b", true), (3, "a", true)],
            &[(1, "CLEAR", 3), (2, "PUT", 0), (3, "PUT", 0)],
        );
        check_compaction(&[(1, "a", false)], &[(1, "CLEAR", 0)]);
    }
}
