//! What transactions do to a store in memory, and how their operations are answered.

mod columns;
mod deletions;
mod exclusive;
mod parents;
mod refusals;
mod server_writes;
mod trees;
mod unique_keys;
mod whole_row;
