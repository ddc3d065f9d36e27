//! What the server remembers: who wrote what, which writes were overridden, and what each commit did.

mod author;
mod commit;
mod row;

pub use author::{Author, Writer};
pub use commit::{Cause, Change, Commit, ConflictRecord, LedgerRow, Origin, TombstoneRow};
pub use row::{CONTRIBUTIONS_MAX, RowMeta, Stamp, Stored, StoredRow, Tombstone};
