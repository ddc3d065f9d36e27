//! The history's names for rows, in the order in which they were first seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::history::{RowId, RowName};

/// All rows that have a name.
#[derive(Default)]
pub(super) struct RowNames {
    names: Vec<RowName>,
    by_id: BTreeMap<Arc<str>, Vec<(usize, RowId)>>,
}

impl RowNames {
    pub(super) fn add(&mut self, table: usize, id: &Arc<str>) -> RowId {
        let row = self.count();
        self.names.push(RowName { table, id: id.clone() });
        self.by_id.entry(id.clone()).or_default().push((table, row));
        row
    }

    pub(super) fn find_or_add(&mut self, table: usize, id: &str) -> RowId {
        match self.find(table, id) {
            Some(row) => row,
            None => self.add(table, &Arc::from(id)),
        }
    }

    pub(super) fn count(&self) -> RowId {
        RowId::try_from(self.names.len()).expect("a plan has fewer than 2^32 rows")
    }

    /// The names, for a finished history.
    pub(super) fn take(&mut self) -> Vec<RowName> {
        std::mem::take(&mut self.names)
    }

    fn find(&self, table: usize, id: &str) -> Option<RowId> {
        self.by_id.get(id)?.iter().find(|(of, _)| *of == table).map(|(_, row)| *row)
    }
}
