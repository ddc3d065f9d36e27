//! Policies: pure decisions about one operation against one row.
//!
//! A policy sees what is stored (row, stamps, tombstone), the operation, and the column rules. It decides what the row
//! becomes, what the device is answered, and which writes are overridden. It never sees other rows: references, trees,
//! unique keys and exclusive invariants belong to [`crate::upload`], which asks a policy again when an insert merges
//! into another row.
//!
//! In reading order: `decision` input and output, `base` what the device had seen, `merge` the registers of a live row,
//! `lifecycle` creation and deletion, then one module a policy, and `kind` their names.

mod base;
mod decision;
mod kind;
mod lifecycle;
mod merge;

pub mod arrival_order;
pub mod field_merge;
pub mod row_latest;
pub mod server_wins;
pub mod version_check;

pub use decision::{Conflict, Decision, Effect, RowWrite, Situation, inserted_row};
pub use kind::{Policy, PolicyKind, UnknownPolicy};
pub use lifecycle::superseded_by_deletion;
