//! What the server remembers: authors of writes, rows with their stamps, and commits.

mod author;
mod commit;
mod row;

pub use author::{Author, Writer};
pub use commit::{Cause, Change, Commit, ConflictRecord, LedgerRow, Origin, TombstoneRow};
pub use row::{CONTRIBUTIONS_MAX, RowMeta, Stamp, Stored, StoredRow, Tombstone};
