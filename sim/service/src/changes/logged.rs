//! Changes as a write-ahead log holds them, and how they become whole.
//!
//! A log leaves out large values that did not change. Of the row before the change it holds the key at most, or all of
//! it (replica identity FULL). What is missing comes from the rows that are known.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{Row, Value};

use super::row_change::{RowChange, SourceTransaction};
use crate::storage::State;

/// A transaction as a log holds it.
#[derive(Clone, Debug)]
pub struct LoggedTransaction {
    /// The position after its commit.
    pub lsn: u64,
    /// Its changes, in order.
    pub changes: Vec<LoggedChange>,
}

/// A change as a log holds it. Tables are indices into the schema.
#[derive(Clone, Debug)]
pub enum LoggedChange {
    /// An insert or an update.
    Put {
        /// The table.
        table: usize,
        /// The key of the row now.
        key: Arc<str>,
        /// The key before, when the log holds it.
        old_key: Option<Arc<str>>,
        /// The whole row before, when the log holds it.
        old: Option<Row>,
        /// The row now; `None` stands for a value that did not change.
        cells: Vec<Option<Value>>,
    },
    /// A delete.
    Delete {
        /// The table.
        table: usize,
        /// The key.
        key: Arc<str>,
        /// The whole row, when the log holds it.
        old: Option<Row>,
    },
    /// All rows of a table are gone.
    Truncate {
        /// The table.
        table: usize,
    },
}

/// The log leaves out a value that is not known here, so the log does not continue what is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log goes on from a row of table {table} that is not stored (key {key:?})")]
pub struct Gap {
    /// Index of the table.
    pub table: usize,
    /// The row's key.
    pub key: Arc<str>,
}

/// Completes transactions one after the other, from the rows that are known and from the transactions before.
pub(crate) struct Completer<'s> {
    state: &'s State,
    /// Rows as they are after the transactions so far.
    changed: BTreeMap<(usize, Arc<str>), Option<Row>>,
}

impl<'s> Completer<'s> {
    pub(crate) fn new(state: &'s State) -> Self {
        Self { state, changed: BTreeMap::new() }
    }

    pub(crate) fn complete(&mut self, logged: LoggedTransaction) -> Result<SourceTransaction, Gap> {
        let mut changes = Vec::with_capacity(logged.changes.len());
        for change in logged.changes {
            match change {
                LoggedChange::Put { table, key, old_key, old, cells } => {
                    let moved = old_key.filter(|old_key| *old_key != key);
                    let before_key = moved.as_ref().unwrap_or(&key);
                    let before = self.row(table, before_key).or(old);
                    let after = whole(cells, before.as_ref()).ok_or_else(|| Gap { table, key: before_key.clone() })?;
                    match moved {
                        None => self.push(&mut changes, RowChange { table, id: key, before, after: Some(after) }),
                        Some(old_key) => {
                            self.push(&mut changes, RowChange { table, id: old_key, before, after: None });
                            let before = self.row(table, &key);
                            self.push(&mut changes, RowChange { table, id: key, before, after: Some(after) });
                        }
                    }
                }
                LoggedChange::Delete { table, key, old } => {
                    let before = self.row(table, &key).or(old);
                    self.push(&mut changes, RowChange { table, id: key, before, after: None });
                }
                LoggedChange::Truncate { table } => {
                    for key in self.keys(table) {
                        let before = self.row(table, &key);
                        self.push(&mut changes, RowChange { table, id: key, before, after: None });
                    }
                }
            }
        }
        Ok(SourceTransaction { lsn: logged.lsn, changes })
    }

    /// Adds a change, unless it deletes a row that is not there.
    fn push(&mut self, changes: &mut Vec<RowChange>, change: RowChange) {
        if change.before.is_none() && change.after.is_none() {
            return;
        }
        self.changed.insert((change.table, change.id.clone()), change.after.clone());
        changes.push(change);
    }

    fn row(&self, table: usize, key: &Arc<str>) -> Option<Row> {
        match self.changed.get(&(table, key.clone())) {
            Some(changed) => changed.clone(),
            None => self.state.rows.get(table)?.get(key).map(|known| known.row.clone()),
        }
    }

    /// The keys of all rows of a table, in order.
    fn keys(&self, table: usize) -> Vec<Arc<str>> {
        let known = self.state.rows.get(table).into_iter().flat_map(BTreeMap::keys).cloned();
        let changed = self.changed.keys().filter(|(other, _)| *other == table).map(|(_, key)| key.clone());
        let mut keys: Vec<Arc<str>> = known.chain(changed).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// The row, with unchanged values from the row before; `None` when those are not known.
fn whole(cells: Vec<Option<Value>>, before: Option<&Row>) -> Option<Row> {
    let filled = cells.into_iter().enumerate().map(|(column, cell)| match cell {
        Some(value) => Some(value),
        None => before.and_then(|before| before.get(column)).cloned(),
    });
    filled.collect::<Option<Vec<Value>>>().map(Row::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Subkey;
    use crate::storage::SourceRow;

    fn row(values: &[i64]) -> Row {
        values.iter().map(|value| Value::Int(*value)).collect()
    }

    fn put(key: &str, old_key: Option<&str>, cells: &[Option<i64>]) -> LoggedChange {
        let cells = cells.iter().map(|cell| cell.map(Value::Int)).collect();
        LoggedChange::Put { table: 0, key: key.into(), old_key: old_key.map(Into::into), old: None, cells }
    }

    fn check(changes: Vec<LoggedChange>, expect: &[&str]) {
        let subkey = Subkey { table: uuid::Uuid::nil(), row: uuid::Uuid::nil() };
        let mut state = State::default();
        let known = [("a", row(&[1, 2])), ("b", row(&[3, 4]))];
        state.rows.push(known.into_iter().map(|(key, row)| (Arc::from(key), SourceRow { row, subkey })).collect());
        let got = Completer::new(&state).complete(LoggedTransaction { lsn: 1, changes });
        let text = |row: &Option<Row>| {
            row.as_ref().map_or_else(
                || "-".to_owned(),
                |row| row.iter().map(|value| value.to_json().to_string()).collect::<Vec<_>>().join(","),
            )
        };
        let got = match got {
            Ok(whole) => whole
                .changes
                .iter()
                .map(|one| format!("{} {} > {}", one.id, text(&one.before), text(&one.after)))
                .collect(),
            Err(gap) => vec![gap.to_string()],
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn what_the_log_leaves_out() {
        check(vec![put("c", None, &[Some(5), Some(6)])], &["c - > 5,6"]);
        check(vec![put("a", None, &[Some(9), None])], &["a 1,2 > 9,2"]);
        check(
            vec![put("a", None, &[Some(9), None]), put("a", None, &[None, Some(8)])],
            &["a 1,2 > 9,2", "a 9,2 > 9,8"],
        );
        check(vec![put("z", Some("a"), &[Some(9), None])], &["a 1,2 > -", "z - > 9,2"]);
        check(vec![put("b", Some("a"), &[Some(9), None])], &["a 1,2 > -", "b 3,4 > 9,2"]);
        check(
            vec![put("x", None, &[None, Some(1)])],
            &["the log goes on from a row of table 0 that is not stored (key \"x\")"],
        );
        let delete = |key: &str| LoggedChange::Delete { table: 0, key: key.into(), old: None };
        check(vec![delete("a"), delete("a"), delete("q")], &["a 1,2 > -"]);
        check(
            vec![delete("a"), put("c", None, &[Some(5), Some(6)]), LoggedChange::Truncate { table: 0 }],
            &["a 1,2 > -", "c - > 5,6", "b 3,4 > -", "c 5,6 > -"],
        );
    }
}
