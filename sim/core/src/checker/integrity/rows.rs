//! The rows of one database with the indices that integrity needs, kept up row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fixtures::{Reference, Row, Tree, Unique, Value};

use crate::checker::context::Context;
use crate::checker::row_ids::RowIds;
use crate::checker::tree::path_to;
use crate::checker::unique_key::{UniqueKey, unique_key};
use crate::history::{History, RowId, What};

static NONE: BTreeSet<RowId> = BTreeSet::new();

/// Rows, and who names whom.
pub(super) struct Rows<'h> {
    history: &'h History,
    policy: &'h fixtures::Policy,
    rows: Vec<Option<&'h Row>>,
    ids: RowIds<'h>,
    /// For each reference, the children of each id.
    children: Vec<BTreeMap<Arc<str>, BTreeSet<RowId>>>,
    /// For each unique key, the rows that have each value.
    keys: Vec<BTreeMap<UniqueKey, BTreeSet<RowId>>>,
    /// For each exclusive, the rows that run.
    running: Vec<BTreeSet<RowId>>,
}

impl<'h> Rows<'h> {
    pub(super) fn new(ctx: &Context<'h>) -> Self {
        let policy = &ctx.app.policy;
        let mut ids = RowIds::new(ctx.history);
        for event in &ctx.history.events {
            if let What::Commit(commit) = &event.what {
                commit.aliases.iter().for_each(|(losing, survivor)| ids.merge(*losing, *survivor));
            }
        }
        Self {
            history: ctx.history,
            policy,
            rows: vec![None; ctx.history.rows.len()],
            ids,
            children: vec![BTreeMap::new(); policy.references.len()],
            keys: vec![BTreeMap::new(); policy.uniques.len()],
            running: vec![BTreeSet::new(); policy.exclusives.len()],
        }
    }

    pub(super) fn get(&self, row: RowId) -> Option<&'h Row> {
        self.rows.get(row as usize).copied().flatten()
    }

    pub(super) fn set(&mut self, row: RowId, image: Option<&'h Row>) {
        if let Some(before) = self.get(row) {
            self.count(row, before, false);
        }
        if let Some(slot) = self.rows.get_mut(row as usize) {
            *slot = image;
        }
        if let Some(after) = image {
            self.count(row, after, true);
        }
    }

    fn count(&mut self, row: RowId, image: &Row, add: bool) {
        let Some(table) = self.history.table_of(row) else { return };
        let put = |set: &mut BTreeSet<RowId>| if add { set.insert(row) } else { set.remove(&row) };
        for (reference, children) in self.policy.references.iter().zip(&mut self.children) {
            if reference.table == table
                && let Value::Text(parent) = &image[reference.column]
            {
                put(children.entry(parent.clone()).or_default());
            }
        }
        for (unique, keys) in self.policy.uniques.iter().zip(&mut self.keys) {
            if unique.table == table
                && let Some(key) = unique_key(unique, image)
            {
                put(keys.entry(key).or_default());
            }
        }
        for (exclusive, running) in self.policy.exclusives.iter().zip(&mut self.running) {
            if exclusive.table == table && image[exclusive.running] == Value::Int(1) {
                put(running);
            }
        }
    }

    /// The row of a table that a value names, whether or not it is there.
    pub(super) fn named(&self, table: usize, value: &Value) -> Option<RowId> {
        self.ids.named(table, value.as_text()?)
    }

    /// Whether the parent that a reference names is there.
    pub(super) fn parent(&self, reference: &Reference, names: &Value) -> bool {
        self.named(reference.parent, names).is_some_and(|parent| self.get(parent).is_some())
    }

    /// The rows that name a row by the reference with this index.
    pub(super) fn children(&self, reference: usize, parent: RowId) -> impl Iterator<Item = RowId> {
        let id = &self.history.rows[parent as usize].id;
        self.children[reference].get(id).unwrap_or(&NONE).iter().copied()
    }

    /// The rows that have the same unique key as the image.
    pub(super) fn holders(&self, index: usize, unique: &Unique, image: &Row) -> BTreeSet<RowId> {
        unique_key(unique, image).and_then(|key| self.keys[index].get(&key)).cloned().unwrap_or_default()
    }

    /// The rows that run.
    pub(super) fn running(&self, exclusive: usize) -> &BTreeSet<RowId> {
        &self.running[exclusive]
    }

    /// The row that an id stands for after merges.
    pub(super) fn survivor(&self, row: RowId) -> RowId {
        self.ids.survivor(row)
    }

    /// The path from a row through its ancestors back to itself, if there is one.
    pub(super) fn cycle(&self, tree: &Tree, row: RowId) -> Option<Vec<RowId>> {
        let parent_of = |row: RowId| self.named(tree.table, &self.get(row)?[tree.column]);
        let path = path_to(row, parent_of(row)?, parent_of)?;
        Some(std::iter::once(row).chain(path).collect())
    }
}
