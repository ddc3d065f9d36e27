//! The rows of one database with the indices that integrity needs, kept up row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fixtures::{Reference, Row, Tree, Unique, Value};

use crate::checker::Context;
use crate::checker::visibility::{Key, key};
use crate::history::{History, RowId, What};

static NONE: BTreeSet<RowId> = BTreeSet::new();

/// Rows, and who names whom.
pub(super) struct Rows<'h> {
    history: &'h History,
    policy: &'h fixtures::Policy,
    rows: Vec<Option<&'h Row>>,
    /// (table, id) -> row, for every row that the history names.
    names: BTreeMap<(usize, &'h str), RowId>,
    /// For each reference, the children of each id.
    children: Vec<BTreeMap<Arc<str>, BTreeSet<RowId>>>,
    /// For each unique key, the rows that have each value.
    keys: Vec<BTreeMap<Vec<Key>, BTreeSet<RowId>>>,
    /// For each exclusive, the rows that run.
    running: Vec<BTreeSet<RowId>>,
    aliases: BTreeMap<RowId, RowId>,
}

impl<'h> Rows<'h> {
    pub(super) fn new(ctx: &Context<'h>) -> Self {
        let policy = &ctx.app.policy;
        let names = (0..).zip(&ctx.history.rows).map(|(row, name)| ((name.table, &*name.id), row)).collect();
        let aliases = ctx.history.events.iter().filter_map(|event| match &event.what {
            What::Commit(commit) => Some(commit.aliases.iter().copied()),
            _ => None,
        });
        Self {
            history: ctx.history,
            policy,
            rows: vec![None; ctx.history.rows.len()],
            names,
            children: vec![BTreeMap::new(); policy.references.len()],
            keys: vec![BTreeMap::new(); policy.uniques.len()],
            running: vec![BTreeSet::new(); policy.exclusives.len()],
            aliases: aliases.flatten().collect(),
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
            if reference.table == table && let Value::Text(parent) = &image[reference.column] {
                put(children.entry(parent.clone()).or_default());
            }
        }
        for (unique, keys) in self.policy.uniques.iter().zip(&mut self.keys) {
            if unique.table == table && let Some(key) = key_of(unique, image) {
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
        self.names.get(&(table, value.as_text()?)).copied()
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
        key_of(unique, image).and_then(|key| self.keys[index].get(&key)).cloned().unwrap_or_default()
    }

    /// The rows that run.
    pub(super) fn running(&self, exclusive: usize) -> &BTreeSet<RowId> {
        &self.running[exclusive]
    }

    /// The row that an id stands for after merges.
    pub(super) fn survivor(&self, row: RowId) -> RowId {
        let mut row = row;
        // A chain of aliases is no longer than their number, even if they were wrongly circular.
        for _ in 0..self.aliases.len() {
            match self.aliases.get(&row) {
                Some(survivor) => row = *survivor,
                None => break,
            }
        }
        row
    }

    /// The path from a row through its ancestors back to itself, if there is one.
    pub(super) fn cycle(&self, tree: &Tree, row: RowId) -> Option<Vec<RowId>> {
        let mut path = vec![row];
        let mut seen = BTreeSet::from([row]);
        let mut at = row;
        loop {
            let parent = self.named(tree.table, &self.get(at)?[tree.column])?;
            path.push(parent);
            if parent == row {
                return Some(path);
            }
            if !seen.insert(parent) {
                return None;
            }
            at = parent;
        }
    }
}

/// A unique key's values; `None` if one is NULL, which collides with nothing.
fn key_of(unique: &Unique, image: &Row) -> Option<Vec<Key>> {
    unique.columns.iter().map(|column| key(&image[*column])).collect()
}
