//! Buckets: ordered operations, their sums, and compaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::operation::{Body, Op, RowOp, Subkey};

/// Identifies a row in a bucket: its type and id on the client, and the row at the source.
pub(crate) type RowKey = (Arc<str>, Arc<str>, Subkey);

/// The operations of one bucket.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    ops: Vec<Op>,
    checksum: u32,
}

impl Bucket {
    /// A bucket of these operations. Their ids must increase.
    pub(crate) fn restored(ops: Vec<Op>) -> Self {
        let checksum = ops.iter().fold(0u32, |sum, op| sum.wrapping_add(op.checksum()));
        Self { ops, checksum }
    }

    /// The rows that a client holds once it has applied every operation.
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

    /// Whether compaction has merged operations of this checkpoint into a CLEAR after it, so that the checkpoint's sums
    /// can no longer be served.
    #[must_use]
    pub fn cleared_beyond(&self, checkpoint: u64) -> bool {
        self.ops.first().is_some_and(|op| matches!(op.body, Body::Clear { .. }) && op.op_id > checkpoint)
    }

    /// Compacts: an operation whose row has a later one becomes a MOVE; a run of REMOVE, MOVE and CLEAR at the
    /// start becomes one CLEAR. Sums do not change, and no operation gets a new id.
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
            let cleared: Vec<Op> = self.ops.drain(..run).collect();
            let last = cleared.last().expect("the run is not empty").op_id;
            let checksum = cleared.iter().fold(0u32, |sum, op| sum.wrapping_add(op.checksum()));
            let target = cleared.iter().map(Op::target).max().expect("the run is not empty");
            self.ops.insert(0, Op { op_id: last, body: Body::Clear { checksum, target } });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;

    /// The rows that a client would hold once it has applied every operation.
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
