//! One operation with resolved names and typed values: what policies decide on.

use std::sync::Arc;

use fixtures::{ColumnDefault, Value};
use serde_json::{Map, Value as Json};

use crate::rules::{Rules, TableRules};
use crate::wire::{NAME_BYTES_MAX, WireOp, is_storable};

/// The greatest total length of the texts in a unique key, in bytes: PostgreSQL refuses index entries over 2,700.
const KEY_BYTES_MAX: usize = 2_000;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Insert, or insert-or-replace.
    Put,
    /// Update of the columns sent.
    Patch,
    /// Delete.
    Delete,
}

/// A typed operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The client's number for it.
    pub op_id: i64,
    /// What it does.
    pub kind: OpKind,
    /// The table's index.
    pub table: usize,
    /// The row; after alias rewriting, the row that it acts on.
    pub id: Arc<str>,
    /// Columns sent, ascending.
    pub data: Vec<(usize, Value)>,
    /// Columns before the write on the device, ascending; `None` when the device recorded none.
    pub old: Option<Vec<(usize, Value)>>,
}

/// Why an operation can never be applied. The first word is stable, the rest is for humans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Operation {
    /// Resolves names, types values, and checks NOT NULL.
    ///
    /// # Errors
    /// Those of [`Operation::parse`], and NOT NULL.
    pub fn resolve(rules: &Rules, wire: &WireOp) -> Result<Self, Refusal> {
        let operation = Self::parse(rules, wire)?;
        operation.check_not_null(&rules.tables[operation.table])?;
        Ok(operation)
    }

    /// Resolves names and types values.
    ///
    /// # Errors
    /// Unknown operation, table or column; a value that PostgreSQL would refuse.
    pub fn parse(rules: &Rules, wire: &WireOp) -> Result<Self, Refusal> {
        let kind = match wire.op.as_str() {
            "PUT" => OpKind::Put,
            "PATCH" => OpKind::Patch,
            "DELETE" => OpKind::Delete,
            other => return Err(Refusal(format!("unknown-operation: {}", shorten(other)))),
        };
        let table =
            rules.table(&wire.table).ok_or_else(|| Refusal(format!("unknown-table: {}", shorten(&wire.table))))?;
        if wire.id.contains('\0') {
            return Err(Refusal("bad-value: id holds a NUL character".to_owned()));
        }
        if !is_storable(&wire.id) {
            return Err(Refusal(format!("bad-value: id is longer than {NAME_BYTES_MAX} bytes")));
        }
        let data = match (&wire.data, kind) {
            (Some(members), OpKind::Put | OpKind::Patch) => typed(table, &wire.id, members)?,
            _ => Vec::new(),
        };
        for index in &table.uniques {
            let columns = &rules.uniques[*index].columns;
            let bytes_max = KEY_BYTES_MAX / columns.len().max(1);
            let is_long = |(column, value): &&(usize, Value)| {
                columns.contains(column) && value.as_text().is_some_and(|text| text.len() > bytes_max)
            };
            if let Some((column, _)) = data.iter().find(is_long) {
                let name = &table.columns[*column].name;
                return Err(Refusal(format!("bad-value: {name} is longer than {bytes_max} bytes in a unique key")));
            }
        }
        Ok(Self {
            op_id: wire.op_id,
            kind,
            table: table.index,
            id: Arc::from(wire.id.as_str()),
            data,
            old: wire.old.as_ref().map(|members| typed_old(table, members)),
        })
    }

    fn check_not_null(&self, table: &TableRules) -> Result<(), Refusal> {
        if self.kind == OpKind::Delete {
            return Ok(());
        }
        for (index, column) in table.columns.iter().enumerate().filter(|(_, column)| column.not_null) {
            let missing = match self.sent(index) {
                Some(value) => value.is_null(),
                None => {
                    self.kind == OpKind::Put
                        && matches!(column.default, ColumnDefault::Null | ColumnDefault::Literal(Value::Null))
                }
            };
            if missing {
                return Err(Refusal(format!("not-null: {}", column.name)));
            }
        }
        Ok(())
    }

    /// The value sent for a column.
    #[must_use]
    pub fn sent(&self, column: usize) -> Option<&Value> {
        self.data.binary_search_by_key(&column, |(index, _)| *index).ok().map(|at| &self.data[at].1)
    }

    /// The value that the device had for a column before the write, if it recorded one.
    #[must_use]
    pub fn base(&self, column: usize) -> Option<&Value> {
        let old = self.old.as_ref()?;
        old.binary_search_by_key(&column, |(index, _)| *index).ok().map(|at| &old[at].1)
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

fn typed(table: &TableRules, id: &str, members: &Map<String, Json>) -> Result<Vec<(usize, Value)>, Refusal> {
    let mut values = Vec::with_capacity(members.len());
    for (name, json) in members {
        let Some(column) = table.column(name) else {
            if name == "id" && json.as_str() == Some(id) {
                continue;
            }
            return Err(Refusal(format!("unknown-column: {}", shorten(name))));
        };
        let value = Value::from_json(table.columns[column].ty, json)
            .map_err(|bad| Refusal(format!("bad-value: {name}: {bad}")))?;
        values.push((column, value));
    }
    values.sort_unstable_by_key(|(column, _)| *column);
    Ok(values)
}

/// Unlike `data`, `old` is never written: unknown columns and values that do not fit are left out.
fn typed_old(table: &TableRules, members: &Map<String, Json>) -> Vec<(usize, Value)> {
    let mut values: Vec<(usize, Value)> = members
        .iter()
        .filter_map(|(name, json)| {
            let column = table.column(name)?;
            Some((column, Value::from_json(table.columns[column].ty, json).ok()?))
        })
        .collect();
    values.sort_unstable_by_key(|(column, _)| *column);
    values
}
