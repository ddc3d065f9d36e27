//! What outlives a service: buckets, operation ids, parameter indexes, write checkpoints, the source's position.
//!
//! A storage holds one *generation* of buckets for each sync configuration that it serves: the active one, and
//! while a changed configuration waits to take over, the next one, which is replicated in parallel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fixtures::{Row, Value};

use crate::bucket::Bucket;
use crate::operation::{RowOp, Subkey};
use crate::sync_config::SyncConfig;
use crate::write_checkpoint::WriteCheckpoints;

/// The durable part of a service. Clones share it.
#[derive(Clone, Default)]
pub struct Storage(Arc<Mutex<State>>);

impl Storage {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// The greatest operation id given out.
    #[must_use]
    pub fn last_op_id(&self) -> u64 {
        self.lock().last_op_id
    }

    /// The source position up to which everything is in the buckets.
    #[must_use]
    pub fn replicated_lsn(&self) -> u64 {
        self.lock().replicated_lsn
    }

    /// Names, operation counts and checksums of the active generation's buckets.
    #[must_use]
    pub fn buckets(&self) -> Vec<(Arc<str>, usize, u32)> {
        self.lock().active.as_ref().map_or_else(Vec::new, |generation| {
            let all = generation.buckets.iter();
            all.map(|(name, bucket)| (name.clone(), bucket.count(), bucket.checksum())).collect()
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Storage")
            .field("last_op_id", &state.last_op_id)
            .field("replicated_lsn", &state.replicated_lsn)
            .finish_non_exhaustive()
    }
}

/// The state behind a [`Storage`].
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) last_op_id: u64,
    pub(crate) replicated_lsn: u64,
    /// Incremented by everything that may give a stream something to send.
    pub(crate) version: u64,
    pub(crate) active: Option<Generation>,
    pub(crate) next: Option<Generation>,
    /// The current rows of the source, by table. A new generation is filled from them.
    pub(crate) rows: Vec<BTreeMap<Arc<str>, SourceRow>>,
    pub(crate) write_checkpoints: WriteCheckpoints,
}

/// A current row of the source.
#[derive(Clone, Debug)]
pub(crate) struct SourceRow {
    pub(crate) row: Row,
    /// Its replica identity, so that it is not hashed again when the row is removed.
    pub(crate) subkey: Subkey,
}

/// The buckets of one sync configuration.
#[derive(Debug)]
pub(crate) struct Generation {
    /// The number with which versioned bucket names start.
    pub(crate) number: u32,
    pub(crate) config: Arc<SyncConfig>,
    pub(crate) buckets: BTreeMap<Arc<str>, Bucket>,
    /// By (definition, query), for each parameter query with FROM.
    pub(crate) lookups: BTreeMap<(usize, usize), Lookup>,
    /// Incremented when `lookups` change.
    pub(crate) lookups_version: u64,
}

/// The index of one parameter query: by key and source row, the values that the row contributes.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    pub(crate) entries: BTreeMap<String, BTreeMap<Arc<str>, Vec<Value>>>,
}

impl Generation {
    pub(crate) fn new(number: u32, config: Arc<SyncConfig>) -> Self {
        let all = config.lookups_by_table.iter().flatten();
        let lookups = all.map(|query| (*query, Lookup::default())).collect();
        Self { number, config, buckets: BTreeMap::new(), lookups, lookups_version: 0 }
    }

    pub(crate) fn push(&mut self, staged: StagedOp) {
        match self.buckets.get_mut(&staged.bucket) {
            Some(known) => known.push(staged.op_id, staged.op),
            None => self.buckets.entry(staged.bucket).or_default().push(staged.op_id, staged.op),
        }
    }

    pub(crate) fn update_lookup(&mut self, staged: StagedLookup) {
        let index = self.lookups.get_mut(&staged.query).expect("each lookup has its index");
        if index.update(&staged.id, staged.before, staged.after) {
            self.lookups_version += 1;
        }
    }
}

/// A row in the index of one parameter query: its keys, and the values that it contributes.
pub(crate) type IndexEntry = (Vec<String>, Vec<Value>);

/// What transactions will change in a state. Nothing is changed yet.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) ops: Vec<StagedOp>,
    pub(crate) lookups: Vec<StagedLookup>,
    /// (table, key, the new row).
    pub(crate) rows: Vec<(usize, Arc<str>, Option<SourceRow>)>,
    pub(crate) last_op_id: u64,
    pub(crate) replicated_lsn: u64,
}

/// An operation for a bucket of the generation with this number.
#[derive(Debug)]
pub(crate) struct StagedOp {
    pub(crate) generation: u32,
    pub(crate) bucket: Arc<str>,
    pub(crate) op_id: u64,
    pub(crate) op: Arc<RowOp>,
}

/// A change of the index of one parameter query.
#[derive(Debug)]
pub(crate) struct StagedLookup {
    pub(crate) generation: u32,
    pub(crate) query: (usize, usize),
    pub(crate) id: Arc<str>,
    pub(crate) before: IndexEntry,
    pub(crate) after: IndexEntry,
}

impl Staged {
    /// No changes, to be applied after this state.
    pub(crate) fn after(state: &State) -> Self {
        Self { last_op_id: state.last_op_id, replicated_lsn: state.replicated_lsn, ..Self::default() }
    }

    /// Changes the state. Changes for a generation that is gone by now are dropped.
    pub(crate) fn commit(self, state: &mut State) {
        for op in self.ops {
            if let Some(generation) = state.generation(op.generation) {
                generation.push(op);
            }
        }
        for lookup in self.lookups {
            if let Some(generation) = state.generation(lookup.generation) {
                generation.update_lookup(lookup);
            }
        }
        for (table, id, row) in self.rows {
            if state.rows.len() <= table {
                state.rows.resize_with(table + 1, Default::default);
            }
            match row {
                Some(row) => state.rows[table].insert(id, row),
                None => state.rows[table].remove(&id),
            };
        }
        state.last_op_id = self.last_op_id;
        state.replicated_lsn = self.replicated_lsn;
        state.version += 1;
    }
}

impl State {
    fn generation(&mut self, number: u32) -> Option<&mut Generation> {
        self.active.iter_mut().chain(self.next.iter_mut()).find(|generation| generation.number == number)
    }
}

impl Lookup {
    /// Replaces the row's entry. Returns whether anything changed.
    pub(crate) fn update(&mut self, id: &Arc<str>, before: IndexEntry, after: IndexEntry) -> bool {
        if before == after {
            return false;
        }
        for key in before.0 {
            if let Some(rows) = self.entries.get_mut(&key) {
                rows.remove(id);
                if rows.is_empty() {
                    self.entries.remove(&key);
                }
            }
        }
        let (keys, values) = after;
        for key in keys {
            self.entries.entry(key).or_default().insert(id.clone(), values.clone());
        }
        true
    }
}
