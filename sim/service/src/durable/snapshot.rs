//! Applies a new snapshot of the source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::job::{SnapshotReport, StoreStatus, WriterError};
use super::layout::SourceSnapshot;
use super::writer::Writer;
use crate::bucket::Bucket;
use crate::bucket_difference::difference;
use crate::changes::replicator::Replicator;
use crate::service::Service;
use crate::storage::{Generation, State, Storage};

impl Writer {
    /// Replaces the rows, and changes the buckets so that clients end with the rows of the snapshot.
    pub(super) fn apply_snapshot(&mut self, snapshot: SourceSnapshot) -> Result<SnapshotReport, WriterError> {
        let SourceSnapshot { layout, source, lsn, rows } = snapshot;
        let wanted = Arc::new(layout.sync_config(&self.settings.sync_config)?);
        let config =
            (self.settings.configure)(Arc::clone(&layout.schema), Arc::clone(&wanted), layout.identities.clone());
        let replicator = Replicator::new(Arc::clone(&layout.schema), &layout.identities);
        let old = self.current.get();
        let (mut last_op_id, active) = match &old {
            Some(service) => {
                let state = service.storage().lock();
                (state.last_op_id, state.active.as_ref().map(|active| (active.number, active.config.text.clone())))
            }
            None => (self.store.meta()?.last_op_id, None),
        };
        // If the rules are the same, the buckets get the difference. Otherwise new buckets begin under other names.
        let same = active.as_ref().is_some_and(|(_, text)| *text == wanted.text);
        let number = match &active {
            Some((number, _)) if same => *number,
            _ => self.stored.last().map_or(config.bucket_prefix, |newest| newest + 1),
        };
        let mut fresh = State { rows: replicator.identified(rows), ..State::default() };
        fresh.last_op_id = if same { 0 } else { last_op_id };
        let want = replicator.snapshot(&mut fresh, Generation::new(number, Arc::clone(&wanted)));
        let row_count = fresh.rows.iter().map(BTreeMap::len).sum();
        let ops = match old.as_ref().filter(|_| same) {
            Some(service) => {
                let state = service.storage().lock();
                let have = state.active.as_ref().expect("its number was just read");
                difference(have, &want, &mut last_op_id)
            }
            None => {
                last_op_id = fresh.last_op_id;
                Vec::new()
            }
        };
        let op_count = if same { ops.len() } else { want.buckets.values().map(Bucket::count).sum() };
        let write_checkpoints = self.write_checkpoints_after(old.as_ref(), &source, lsn)?;
        self.store.commit(|transaction| {
            transaction.delete_rows()?;
            for (table, rows) in fresh.rows.iter().enumerate() {
                for (id, row) in rows {
                    transaction.row(table, id, Some(row))?;
                }
            }
            for op in &ops {
                transaction.op(op)?;
            }
            transaction.generation(number, &wanted.text)?;
            if !same {
                for (name, bucket) in &want.buckets {
                    transaction.bucket(number, name, bucket)?;
                }
            }
            transaction.keep_generations(&[number])?;
            for (client, counter, head) in &write_checkpoints {
                transaction.write_checkpoint(client, *counter, *head)?;
            }
            transaction.active_generation(number)?;
            transaction.source(&source, &layout.text)?;
            transaction.snapshot_needed(false)?;
            transaction.position(lsn, last_op_id)
        })?;
        self.stored = BTreeSet::from([number]);
        let unchanged = same && self.status.layout == layout.text;
        let storage = match &old {
            Some(service) => {
                let mut state = service.storage().lock();
                match state.active.as_mut().filter(|_| same) {
                    Some(active) => {
                        active.config = wanted;
                        active.lookups = want.lookups;
                        active.lookups_version += 1;
                        for op in ops {
                            active.push(op);
                        }
                    }
                    None => state.active = Some(want),
                }
                state.next = None;
                state.rows = fresh.rows;
                state.last_op_id = last_op_id;
                state.replicated_lsn = lsn;
                for (client, counter, head) in &write_checkpoints {
                    state.write_checkpoints.set(client, *counter, *head);
                }
                state.version += 1;
                service.storage().clone()
            }
            None => {
                fresh.active = Some(want);
                fresh.replicated_lsn = lsn;
                for (client, counter, head) in &write_checkpoints {
                    fresh.write_checkpoints.set(client, *counter, *head);
                }
                Storage::of(fresh)
            }
        };
        match old {
            Some(service) if unchanged => service.0.changes.raise(),
            // The tables or the rules have changed: clients reconnect to a service that knows them.
            _ => {
                if let Some(old) = self.current.replace(Service::new(config, storage)) {
                    old.stop();
                }
            }
        }
        self.status = StoreStatus { lsn: Some(lsn), source, layout: layout.text, snapshot_needed: false };
        self.durable.send_modify(|durable| {
            durable.lsn = lsn;
            durable.snapshot_needed = false;
        });
        Ok(SnapshotReport { rows: row_count, ops: op_count })
    }

    /// The write checkpoints to store, as (client, counter, head). Those of another cluster wait for the snapshot's
    /// position, because heads of that cluster mean nothing in this one.
    fn write_checkpoints_after(
        &self,
        old: Option<&Service>,
        source: &str,
        lsn: u64,
    ) -> Result<Vec<(String, u64, u64)>, WriterError> {
        let moved = source != self.status.source;
        let known: Vec<(String, u64, u64)> = match old {
            Some(_) if !moved => return Ok(Vec::new()),
            Some(service) => {
                let state = service.storage().lock();
                state
                    .write_checkpoints
                    .iter()
                    .map(|(client, counter, head)| (client.to_owned(), counter, head))
                    .collect()
            }
            None => self.store.write_checkpoints()?,
        };
        let head_after = |head| if moved { lsn } else { head };
        Ok(known.into_iter().map(|(client, counter, head)| (client, counter, head_after(head))).collect())
    }
}
