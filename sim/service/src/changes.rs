//! Changes at the source, and the operations that they become.
//!
//! - [`row_change`][]: whole row changes, by transaction
//! - [`logged`][]: changes as a write-ahead log holds them, and how they become whole
//! - [`replicator`][]: row changes into operations

pub mod logged;
pub(crate) mod replicator;
mod row_change;

pub use row_change::{ReplicaIdentity, RowChange, SourceTransaction};
