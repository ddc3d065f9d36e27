//! What the columns of the store hold: keys, kinds of operations, subkeys, and operations as their wire text.

use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use crate::operation::{RowOp, Subkey};

/// Keys of the table `meta`.
pub(super) const META_LSN: &str = "lsn";
pub(super) const META_LAST_OP_ID: &str = "last_op_id";
pub(super) const META_ACTIVE: &str = "active";
pub(super) const META_SOURCE: &str = "source";
pub(super) const META_LAYOUT: &str = "catalog";
pub(super) const META_SNAPSHOT_NEEDED: &str = "resync";

/// Kinds of operations.
pub(super) const ROW: i64 = 0;
pub(super) const MOVE: i64 = 1;
pub(super) const CLEAR: i64 = 2;

pub(super) fn encode_subkey(subkey: Subkey) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(subkey.table.as_bytes());
    bytes[16..].copy_from_slice(subkey.row.as_bytes());
    bytes
}

pub(super) fn decode_subkey(bytes: &[u8]) -> Option<Subkey> {
    let (table, row) = bytes.split_at_checked(16)?;
    Some(Subkey { table: Uuid::from_slice(table).ok()?, row: Uuid::from_slice(row).ok()? })
}

/// The parts of an operation that are in its wire text.
#[derive(Deserialize)]
struct WireParts {
    object_type: String,
    object_id: String,
    subkey: String,
}

/// Reads an operation back.
pub(super) fn decode_row_op(wire: String, checksum: u32) -> Option<RowOp> {
    let parts: WireParts = serde_json::from_str(&format!("{{{wire}}}")).ok()?;
    let (table, row) = parts.subkey.split_once('/')?;
    let subkey = Subkey { table: table.parse().ok()?, row: row.parse().ok()? };
    Some(RowOp {
        object_type: Arc::from(parts.object_type),
        object_id: Arc::from(parts.object_id),
        subkey,
        checksum,
        wire,
    })
}
