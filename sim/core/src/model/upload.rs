//! A transaction as the server received it.

use fixtures::Value;

use crate::history::{LocalOp, RowId};

/// A transaction as the server received it.
pub struct Upload<'t> {
    /// The device.
    pub device: u32,
    /// Its operations, in order.
    pub ops: &'t [LocalOp],
    /// When it was received.
    pub received_us: i64,
    /// What the server's clock put into a column of a row that the transaction inserted.
    pub generated: &'t dyn Fn(RowId, usize) -> Option<Value>,
}
