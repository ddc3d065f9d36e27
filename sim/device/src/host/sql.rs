//! A transaction of the device's database, and a call of the core within one.

use rusqlite::{Connection, params};

use crate::error::DeviceError;

/// Runs the body in a transaction. If it fails, nothing of it stays.
pub(super) fn in_transaction<T>(
    connection: &Connection,
    body: impl FnOnce() -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let result = body().and_then(|value| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(value)
    });
    if result.is_err() && !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
    }
    result
}

/// Calls the core; gives its instructions as JSON.
pub(super) fn call_core(connection: &Connection, op: &str, payload: Option<&str>) -> Result<String, DeviceError> {
    in_transaction(connection, || {
        Ok(connection
            .prepare_cached("SELECT powersync_control(?1, ?2)")?
            .query_row(params![op, payload], |row| row.get(0))?)
    })
}
