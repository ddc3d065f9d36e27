//! The names of rows and columns as JSON, made once for a history.

use fixtures::{App, Row, Value};

use super::text::Text;
use crate::history::{History, RowId};

/// The names.
#[derive(Debug)]
pub(super) struct Names<'a> {
    history: &'a History,
    app: &'a App,
    /// `"tasks#12"`, by row.
    rows: Vec<String>,
    /// `title`, escaped, by table and column.
    columns: Vec<Vec<String>>,
}

impl<'a> Names<'a> {
    /// The names in a history.
    pub(super) fn new(history: &'a History, app: &'a App) -> Self {
        let rows = (0..).zip(&history.rows).map(|(row, _)| quoted(&history.row_label(app, row)));
        let columns = app.schema.tables.iter().map(|table| {
            let key = |name: &str| {
                let quoted = quoted(name);
                quoted[1..quoted.len() - 1].to_owned()
            };
            table.columns.iter().map(|column| key(&column.name)).collect()
        });
        Self { history, app, rows: rows.collect(), columns: columns.collect() }
    }

    /// Writes the name of a row.
    pub(super) fn row(&self, text: &mut Text, row: RowId) {
        match self.rows.get(row as usize) {
            Some(label) => text.raw(label),
            None => text.value(&self.history.row_label(self.app, row)),
        }
    }

    /// Writes an object of some columns of a row.
    pub(super) fn columns<'v>(
        &self,
        text: &mut Text,
        row: RowId,
        values: impl IntoIterator<Item = (usize, &'v Value)>,
    ) {
        let columns = self.history.table_of(row).and_then(|table| self.columns.get(table));
        text.object(|text| {
            for (column, value) in values {
                match columns.and_then(|columns| columns.get(column)) {
                    Some(name) => text.key(name),
                    None => text.key(&format!("?{column}")),
                };
                match value {
                    Value::Null => text.raw("null"),
                    Value::Int(int) => text.value(int),
                    Value::Text(string) => text.value(&**string),
                    Value::Real(_) | Value::Time(_) => text.value(&value.to_json()),
                }
            }
        });
    }

    /// Writes an object of the columns of a row that are not NULL.
    pub(super) fn image(&self, text: &mut Text, row: RowId, image: &Row) {
        self.columns(text, row, image.iter().enumerate().filter(|(_, value)| !value.is_null()));
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
