//! Reads the columns of answers.

use std::sync::Arc;

use fixtures::Row;

use crate::store::error::StoreError;
use crate::store::postgres::value::ColumnValue;

/// One column of a row.
pub(super) fn column<'r, T: tokio_postgres::types::FromSql<'r>>(
    row: &'r tokio_postgres::Row,
    index: usize,
) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| StoreError::Unavailable(format!("sync_backend is unreadable: {error}")))
}

/// `id` and the columns, in schema order.
pub(super) fn decode_row(row: &tokio_postgres::Row) -> Result<(Arc<str>, Row), StoreError> {
    let id = Arc::from(column::<&str>(row, 0)?);
    let columns =
        (1..row.len()).map(|index| column::<ColumnValue>(row, index).map(|cell| cell.0)).collect::<Result<Row, _>>()?;
    Ok((id, columns))
}
