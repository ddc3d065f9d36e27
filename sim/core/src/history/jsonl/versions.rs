//! Which version of a row an image of it is: the last commit and operation after which it looked like that.

use std::collections::BTreeMap;

use fixtures::Row;

use super::text::Text;
use crate::history::{Change, RowId};
use crate::row_hash::row_hash;

/// A commit, and the operation in it that is known to have made a row what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The commit.
    pub(super) seq: u64,
    /// The operation.
    pub(super) op_id: Option<i64>,
}

/// The images of one row by their hash, each with its last version.
type ByHash<'a> = BTreeMap<u64, Vec<(Option<&'a Row>, Version)>>;

/// What each row has been on the server so far. Images are found by their hash, so a row that changes very often is
/// no slower to look up than another.
#[derive(Debug)]
pub(super) struct Versions<'a> {
    rows: Vec<ByHash<'a>>,
}

impl<'a> Versions<'a> {
    /// Of this many rows, none of which has been anything.
    pub(super) fn new(rows: usize) -> Self {
        Self { rows: (0..rows).map(|_| BTreeMap::new()).collect() }
    }

    /// A commit made a row something.
    pub(super) fn add(&mut self, seq: u64, change: &'a Change) {
        let Some(known) = self.rows.get_mut(change.row as usize) else { return };
        let (image, version) = (change.after.as_ref(), Version { seq, op_id: change.op_id });
        let alike = known.entry(row_hash(change.row, image)).or_default();
        match alike.iter_mut().find(|(known, _)| *known == image) {
            Some((_, known)) => *known = version,
            None => alike.push((image, version)),
        }
    }

    /// The last version that looks like this; a device's own write has none yet.
    pub(super) fn of(&self, row: RowId, image: Option<&Row>) -> Option<Version> {
        let alike = self.rows.get(row as usize)?.get(&row_hash(row, image))?;
        alike.iter().find(|(known, _)| *known == image).map(|(_, version)| *version)
    }
}

impl Version {
    /// `[12]`, or `[12,3]` with the operation.
    pub(super) fn write(self, text: &mut Text) {
        match self.op_id {
            None => text.value(&[self.seq]),
            Some(op_id) => text.value(&(self.seq, op_id)),
        }
    }
}
