//! One table in memory: rows, their metadata, and the indexes that constraints and rules need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fixtures::{Row, Value};

use crate::rules::{Rules, TableRules};
use crate::store::slot::Slot;

/// A table with its indexes.
#[derive(Clone, Debug)]
pub(super) struct MemoryTable {
    pub(super) slots: BTreeMap<Arc<str>, Slot>,
    /// One index for each unique key, in the order of [`TableRules::uniques`].
    uniques: Vec<BTreeMap<Vec<u8>, Arc<str>>>,
    /// One index for each reference, in the order of [`TableRules::references`]: (parent, child).
    references: Vec<BTreeSet<(Arc<str>, Arc<str>)>>,
    /// One index for each exclusive invariant, in the order of [`TableRules::exclusives`].
    running: Vec<BTreeSet<Arc<str>>>,
}

impl MemoryTable {
    pub(super) fn new(rules: &TableRules) -> Self {
        Self {
            slots: BTreeMap::new(),
            uniques: vec![BTreeMap::new(); rules.uniques.len()],
            references: vec![BTreeSet::new(); rules.references.len()],
            running: vec![BTreeSet::new(); rules.exclusives.len()],
        }
    }

    /// Replaces what is stored under an id, and returns what was stored before.
    pub(super) fn replace(&mut self, rules: &Rules, table: usize, id: &Arc<str>, slot: Slot) -> Slot {
        let before = self.slots.get(id).cloned().unwrap_or_default();
        let same_row = match (&before.row, &slot.row) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if !same_row {
            let table = &rules.tables[table];
            if let Some(row) = &before.row {
                self.unindex(rules, table, id, row);
            }
            if let Some(row) = &slot.row {
                self.index(rules, table, id, row);
            }
        }
        if slot.row.is_none() && slot.meta.is_none() && slot.tombstone.is_none() {
            self.slots.remove(id);
        } else {
            self.slots.insert(id.clone(), slot);
        }
        before
    }

    fn index(&mut self, rules: &Rules, table: &TableRules, id: &Arc<str>, row: &Row) {
        for (index, unique) in self.uniques.iter_mut().zip(&table.uniques) {
            if let Some(key) = unique_key(&rules.uniques[*unique].columns, row) {
                index.insert(key, id.clone());
            }
        }
        for (index, reference) in self.references.iter_mut().zip(&table.references) {
            if let Value::Text(parent) = &row[rules.references[*reference].column] {
                index.insert((parent.clone(), id.clone()));
            }
        }
        for (index, exclusive) in self.running.iter_mut().zip(&table.exclusives) {
            if row[rules.exclusives[*exclusive].running] == Value::Int(1) {
                index.insert(id.clone());
            }
        }
    }

    fn unindex(&mut self, rules: &Rules, table: &TableRules, id: &Arc<str>, row: &Row) {
        for (index, unique) in self.uniques.iter_mut().zip(&table.uniques) {
            if let Some(key) = unique_key(&rules.uniques[*unique].columns, row)
                && index.get(&key) == Some(id)
            {
                index.remove(&key);
            }
        }
        for (index, reference) in self.references.iter_mut().zip(&table.references) {
            if let Value::Text(parent) = &row[rules.references[*reference].column] {
                index.remove(&(parent.clone(), id.clone()));
            }
        }
        for index in &mut self.running {
            index.remove(id);
        }
    }

    /// The row that holds a unique key (numbered within the table).
    pub(super) fn holder(&self, unique: usize, columns: &[usize], row: &[Value]) -> Option<Arc<str>> {
        self.uniques[unique].get(&unique_key(columns, row)?).cloned()
    }

    /// The rows that refer to this parent by a reference (numbered within the table).
    pub(super) fn children(&self, reference: usize, parent: &str) -> Vec<Arc<str>> {
        let from = (Arc::from(parent), Arc::from(""));
        self.references[reference]
            .range(from..)
            .take_while(|(named, _)| &**named == parent)
            .map(|(_, child)| child.clone())
            .collect()
    }

    /// The rows that run under an exclusive invariant (numbered within the table).
    pub(super) fn running(&self, exclusive: usize) -> Vec<Arc<str>> {
        self.running[exclusive].iter().cloned().collect()
    }
}

/// A key that equal values share; `None` when a value is NULL, which equals nothing.
fn unique_key(columns: &[usize], row: &[Value]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(32);
    for column in columns {
        match &row[*column] {
            Value::Null => return None,
            Value::Int(int) | Value::Time(int) => {
                key.push(1);
                key.extend_from_slice(&int.to_be_bytes());
            }
            Value::Real(real) => {
                key.push(2);
                // Both zeros are equal, and so are all NaNs.
                let canonical = if real.is_nan() { f64::NAN } else { *real + 0.0 };
                key.extend_from_slice(&canonical.to_bits().to_be_bytes());
            }
            Value::Text(text) => {
                key.push(3);
                key.extend_from_slice(&(text.len() as u64).to_be_bytes());
                key.extend_from_slice(text.as_bytes());
            }
        }
    }
    Some(key)
}
