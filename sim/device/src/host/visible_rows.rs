//! The rows that the app sees, typed by its schema.

use std::sync::Arc;

use fixtures::{App, Row, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use crate::error::DeviceError;

/// Every row of a table as the app's view shows it, by id.
pub(super) fn read_all(connection: &Connection, app: &App, table: usize) -> Result<Vec<(Arc<str>, Row)>, DeviceError> {
    read(connection, app, table, None)
}

/// One row as the app's view shows it.
pub(super) fn read_one(connection: &Connection, app: &App, table: usize, id: &str) -> Result<Option<Row>, DeviceError> {
    Ok(read(connection, app, table, Some(id))?.pop().map(|(_, row)| row))
}

/// A row's JSON as it was synced or written last.
pub(super) fn synced_json(connection: &Connection, table: &str, id: &str) -> Result<Option<String>, DeviceError> {
    Ok(connection
        .prepare_cached(&format!("SELECT data FROM \"ps_data__{table}\" WHERE id = ?1"))?
        .query_row([id], |row| row.get(0))
        .optional()?)
}

fn read(
    connection: &Connection,
    app: &App,
    table: usize,
    id: Option<&str>,
) -> Result<Vec<(Arc<str>, Row)>, DeviceError> {
    let schema = &app.schema.tables[table];
    let mut sql = String::from("SELECT id");
    for column in &schema.columns {
        sql.push_str(", \"");
        sql.push_str(&column.name);
        sql.push('"');
    }
    sql.push_str(" FROM \"");
    sql.push_str(&schema.name);
    sql.push_str(if id.is_some() { "\" WHERE id = ?1" } else { "\" ORDER BY id" });
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = match id {
        Some(id) => statement.query([id])?,
        None => statement.query([])?,
    };
    let mut result = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let mut values = Vec::with_capacity(schema.columns.len());
        for (index, column) in schema.columns.iter().enumerate() {
            let json = match row.get_ref(index + 1)? {
                ValueRef::Null => serde_json::Value::Null,
                // The wire has no bytes: whatever these are, they are no NULL.
                ValueRef::Blob(bytes) => format!("x'{}'", hex(bytes)).into(),
                ValueRef::Integer(int) => int.into(),
                ValueRef::Real(real) => real.into(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
            };
            values.push(Value::from_json(column.ty, &json).unwrap_or_else(|_| Value::text(&json.to_string())));
        }
        result.push((Arc::from(id), Row::from(values)));
    }
    Ok(result)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
