//! Compacts the buckets, in memory and in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::job::WriterError;
use super::writer::Writer;
use crate::operation::Body;

impl Writer {
    /// Compacts all buckets. Returns how many operations were replaced.
    pub(super) fn compact(&mut self) -> Result<u64, WriterError> {
        let Some(service) = self.current.get() else {
            return Ok(0);
        };
        let storage = service.storage();
        let names: Vec<(u32, Arc<str>)> = {
            let state = storage.lock();
            let all =
                state.active.iter().flat_map(|active| active.buckets.keys().map(|name| (active.number, name.clone())));
            all.collect()
        };
        let mut replaced = 0;
        for (number, name) in names {
            // In memory first: sums and ids do not change, so nothing is lost if it never reaches the disk.
            let (removed, replacing) = {
                let mut state = storage.lock();
                let Some(active) = state.active.as_mut().filter(|active| active.number == number) else { break };
                let Some(bucket) = active.buckets.get_mut(&name) else { continue };
                let was_row: BTreeMap<u64, bool> =
                    bucket.range(0, u64::MAX).iter().map(|op| (op.op_id, matches!(op.body, Body::Row(_)))).collect();
                bucket.compact();
                let compacted: Vec<_> =
                    bucket.range(0, u64::MAX).iter().filter(|op| !matches!(op.body, Body::Row(_))).cloned().collect();
                let first = bucket.range(0, u64::MAX).first().map_or(0, |op| op.op_id);
                let removed: Vec<u64> = was_row.range(..first).map(|(op_id, _)| *op_id).collect();
                let replacing: Vec<_> = compacted
                    .into_iter()
                    .filter(|op| was_row.get(&op.op_id) == Some(&true) || (op.op_id == first && !removed.is_empty()))
                    .collect();
                (removed, replacing)
            };
            if removed.is_empty() && replacing.is_empty() {
                continue;
            }
            replaced += (removed.len() + replacing.len()) as u64;
            self.store.commit(|transaction| {
                for op_id in &removed {
                    transaction.delete_op(*op_id)?;
                }
                replacing.iter().try_for_each(|op| transaction.compacted(number, &name, op))
            })?;
        }
        Ok(replaced)
    }
}
