//! One operation of an upload, and whether a row change is its effect.

use std::sync::Arc;

use backend::record::Change;
use backend::wire::WireOp;
use fixtures::{App, Row, Value};

use crate::plan_rows::RowKey;

pub(super) struct Operation {
    pub(super) op_id: i64,
    pub(super) row: RowKey,
    kind: OpKind,
    data: Vec<(usize, Value)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpKind {
    Put,
    Patch,
    Delete,
}

impl Operation {
    /// `None` where the application has no such table, or the wire no such kind.
    pub(super) fn of(app: &App, op: &WireOp) -> Option<Self> {
        let table = app.schema.table_index(&op.table)?;
        let kind = match op.op.as_str() {
            "PUT" => OpKind::Put,
            "PATCH" => OpKind::Patch,
            "DELETE" => OpKind::Delete,
            _ => return None,
        };
        let declared = &app.schema.tables[table];
        let value = |(name, json): (&String, &serde_json::Value)| {
            let column = declared.column_index(name)?;
            Some((column, Value::from_json(declared.columns[column].ty, json).ok()?))
        };
        let data = op.data.iter().flatten().filter_map(value).collect();
        Some(Self { op_id: op.op_id, row: (table, Arc::from(op.id.as_str())), kind, data })
    }

    /// Whether the change is on the operation's row.
    pub(super) fn is_on(&self, change: &Change) -> bool {
        self.row.0 == change.table && *self.row.1 == *change.id
    }

    /// Whether the change may be of this kind of operation.
    pub(super) fn may_make(&self, change: &Change) -> bool {
        match (&change.before, &change.after) {
            (None, Some(_)) => self.kind == OpKind::Put,
            (Some(_), Some(_)) => self.kind != OpKind::Delete,
            (_, None) => self.kind == OpKind::Delete,
        }
    }

    /// Whether the change is what the operation asks for: the row goes, or holds the values that were sent, and at least
    /// one of them is new. What the database sets by itself does not count. An operation that sends nothing explains no
    /// change of a row that is there.
    pub(super) fn explains(&self, app: &App, change: &Change) -> bool {
        if !self.is_on(change) {
            return false;
        }
        match (&change.before, &change.after) {
            (_, None) => self.kind == OpKind::Delete,
            (None, Some(after)) => match self.kind {
                OpKind::Put => self.holds(after),
                OpKind::Patch => !self.data.is_empty() && self.holds(after),
                OpKind::Delete => false,
            },
            (Some(before), Some(after)) => {
                self.kind != OpKind::Delete
                    && !self.data.is_empty()
                    && self.holds(after)
                    && changed(app, change.table, before, after).is_none_or(|changed| self.writes_one_of(&changed))
            }
        }
    }

    /// Whether the change may be what somebody made of the operation who stores something else than was sent.
    pub(super) fn may_have_become(&self, app: &App, change: &Change) -> bool {
        if !self.is_on(change) || self.kind == OpKind::Delete {
            return false;
        }
        match (&change.before, &change.after) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(after)) => {
                changed(app, change.table, before, after).is_some_and(|changed| self.writes_one_of(&changed))
            }
        }
    }

    /// Whether the change is what follows for a row whose parent the operation deletes.
    pub(super) fn takes_along(&self, app: &App, change: &Change) -> bool {
        let Some(before) = change.before.as_ref().filter(|_| self.kind == OpKind::Delete) else { return false };
        app.policy.references_of(change.table).filter(|reference| reference.parent == self.row.0).any(|reference| {
            let names_it = before.get(reference.column).and_then(Value::as_text) == Some(&*self.row.1);
            let lets_go = |after: &Row| after.get(reference.column).is_some_and(Value::is_null);
            names_it && change.after.as_ref().is_none_or(lets_go)
        })
    }

    fn holds(&self, after: &Row) -> bool {
        self.data.iter().all(|(column, value)| after.get(*column) == Some(value))
    }

    fn writes_one_of(&self, columns: &[usize]) -> bool {
        self.data.iter().any(|(column, _)| columns.contains(column))
    }
}

/// The columns that differ, without those that the database sets by itself; `None` where none does.
fn changed(app: &App, table: usize, before: &Row, after: &Row) -> Option<Vec<usize>> {
    let rules = &app.policy.tables[table];
    let columns: Vec<usize> = (0..before.len().max(after.len()))
        .filter(|column| before.get(*column) != after.get(*column) && !rules.is_server_set(*column))
        .collect();
    (!columns.is_empty()).then_some(columns)
}
