//! What changes when one version of a row replaces another.

use fixtures::{ColumnDefault, Row, Value};
use sim_core::history::RowId;

use crate::words::Names;

/// One change of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Difference {
    Appears(RowId),
    Disappears(RowId),
    Changes { row: RowId, column: usize, before: Value, after: Value },
}

/// What differs between two versions of a row, without clocks and defaults that the server filled in.
pub(crate) fn differences(names: &Names<'_>, row: RowId, before: Option<&Row>, after: Option<&Row>) -> Vec<Difference> {
    match (before, after) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![Difference::Appears(row)],
        (Some(_), None) => vec![Difference::Disappears(row)],
        (Some(before), Some(after)) => (0..before.len().min(after.len()))
            .filter(|column| before[*column] != after[*column])
            .filter(|column| !names.is_clock(row, *column))
            .filter(|column| !(before[*column].is_null() && is_default(names, row, *column, &after[*column])))
            .map(|column| Difference::Changes {
                row,
                column,
                before: before[column].clone(),
                after: after[column].clone(),
            })
            .collect(),
    }
}

fn is_default(names: &Names<'_>, row: RowId, column: usize, value: &Value) -> bool {
    let table = names.table(row).map(|table| &names.app.schema.tables[table]);
    match table.and_then(|table| table.columns.get(column)).map(|column| &column.default) {
        Some(ColumnDefault::Literal(literal)) => literal == value,
        Some(ColumnDefault::Now | ColumnDefault::Expression) => true,
        Some(ColumnDefault::Null) | None => false,
    }
}
