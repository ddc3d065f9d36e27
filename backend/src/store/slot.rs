//! Everything stored under one id.

use std::sync::Arc;

use fixtures::Row;

use crate::record::{RowMeta, Stored, StoredRow, Tombstone};

/// Row, metadata and tombstone of one id. A row with a tombstone was inserted by a write that bypassed the backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) row: Option<Row>,
    pub(super) meta: Option<Arc<RowMeta>>,
    pub(super) tombstone: Option<Arc<Tombstone>>,
}

impl Slot {
    pub(super) fn stored(&self) -> Stored {
        match (&self.row, &self.tombstone) {
            (Some(row), _) => Stored::Live(StoredRow { row: row.clone(), meta: self.meta.clone() }),
            (None, Some(tombstone)) => Stored::Deleted(tombstone.clone()),
            (None, None) => Stored::Absent,
        }
    }
}
