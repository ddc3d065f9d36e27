//! Which row an id means: look-up by table and id, and the aliases that merges leave.

use std::collections::BTreeMap;

use crate::history::{History, RowId};

/// The ids of a history's rows, and which row stands for which.
#[derive(Debug)]
pub(super) struct RowIds<'a> {
    /// (table, id, row), sorted.
    ids: Vec<(usize, &'a str, RowId)>,
    /// Losing row and survivor.
    aliases: BTreeMap<RowId, RowId>,
}

impl<'a> RowIds<'a> {
    /// The ids of all rows, without any alias.
    pub(super) fn new(history: &'a History) -> Self {
        let rows = (0..).zip(&history.rows);
        let mut ids: Vec<(usize, &str, RowId)> = rows.map(|(row, name)| (name.table, name.id.as_ref(), row)).collect();
        ids.sort_unstable();
        Self { ids, aliases: BTreeMap::new() }
    }

    /// Takes note that a row was merged into another.
    pub(super) fn merge(&mut self, losing: RowId, survivor: RowId) {
        if losing != survivor {
            self.aliases.insert(losing, survivor);
        }
    }

    /// The row of the table with this id, whether or not it was merged.
    pub(super) fn named(&self, table: usize, id: &str) -> Option<RowId> {
        let index = self.ids.partition_point(|(at, known, _)| (*at, *known) < (table, id));
        self.ids.get(index).filter(|(at, known, _)| (*at, *known) == (table, id)).map(|(_, _, row)| *row)
    }

    /// The row of the table that this id stands for, aliases followed.
    pub(super) fn find(&self, table: usize, id: &str) -> Option<RowId> {
        self.named(table, id).map(|row| self.survivor(row))
    }

    /// The row that operations on this one act on.
    pub(super) fn survivor(&self, row: RowId) -> RowId {
        let mut at = row;
        // A chain is no longer than the number of merges, even if a wrong backend made a circle.
        for _ in 0..self.aliases.len() {
            match self.aliases.get(&at) {
                Some(survivor) => at = *survivor,
                None => break,
            }
        }
        at
    }

    /// Whether the row was merged into another.
    pub(super) fn is_merged(&self, row: RowId) -> bool {
        self.aliases.contains_key(&row)
    }

    /// Every row that another was merged into, aliases followed.
    pub(super) fn survivors(&self) -> impl Iterator<Item = RowId> {
        self.aliases.values().map(|row| self.survivor(*row))
    }

    /// Whether no row was merged.
    pub(super) fn has_no_alias(&self) -> bool {
        self.aliases.is_empty()
    }

    /// The row and every row that was merged into it.
    pub(super) fn names_of(&self, row: RowId) -> Vec<RowId> {
        let losing = self.aliases.keys().copied().filter(|losing| self.survivor(*losing) == row);
        std::iter::once(row).chain(losing).collect()
    }
}
