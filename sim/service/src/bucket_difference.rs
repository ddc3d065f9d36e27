//! The difference between two sets of buckets: the operations by which clients of the one end with the rows of the
//! other.
//!
//! After a new snapshot of the source, clients go on from what they have and get this difference.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bucket::Bucket;
use crate::operation::{Body, RowOp};
use crate::storage::{Generation, StagedOp};

/// The operations that lead from the buckets of one generation to those of another of the same number, with ids after
/// `last_op_id`, which is advanced. In each bucket, removes come before puts.
pub(crate) fn difference(have: &Generation, want: &Generation, last_op_id: &mut u64) -> Vec<StagedOp> {
    let mut ops = Vec::new();
    let empty = Bucket::default();
    let names: BTreeMap<&Arc<str>, ()> =
        have.buckets.keys().chain(want.buckets.keys()).map(|name| (name, ())).collect();
    let mut push = |bucket: &Arc<str>, op: Arc<RowOp>| {
        *last_op_id += 1;
        ops.push(StagedOp { generation: have.number, bucket: bucket.clone(), op_id: *last_op_id, op });
    };
    for name in names.into_keys() {
        let live = have.buckets.get(name).unwrap_or(&empty).live();
        let wanted = want.buckets.get(name).unwrap_or(&empty);
        let wanted_rows = wanted.live();
        for (key, _) in live.iter().filter(|(key, _)| !wanted_rows.contains_key(*key)) {
            push(name, Arc::new(RowOp::remove(&key.0, &key.1, key.2)));
        }
        // In the order of the new snapshot.
        for op in wanted.range(0, u64::MAX) {
            let Body::Row(row) = &op.body else { continue };
            let key = (row.object_type.clone(), row.object_id.clone(), row.subkey);
            if live.get(&key).is_none_or(|known| known.wire != row.wire) {
                push(name, row.clone());
            }
        }
    }
    ops
}
