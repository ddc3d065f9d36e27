//! The values that a row has in the columns of a unique key.

use fixtures::{Row, Unique};

use super::visibility::{Key, key};

/// The values of a unique key, which collide where they are equal.
pub(super) type UniqueKey = Vec<Key>;

/// The row's values of a unique key; `None` if one is NULL, which collides with nothing.
pub(super) fn unique_key(unique: &Unique, row: &Row) -> Option<UniqueKey> {
    unique.columns.iter().map(|column| key(row.get(*column)?)).collect()
}
