//! What outlives the process, on disk: one SQLite file with the buckets, the source's rows, the write checkpoints and
//! the source's position, which all move together.
//!
//! Nothing is shown to a client, and nothing is confirmed to the source, before it is committed here. [`store`] is the
//! file; [`engine`] is the only one that writes to it, and to the state in memory from which clients are served;
//! [`resync`] finds what a new snapshot of the source changes.

mod encoding;
pub mod engine;
pub(crate) mod resync;
pub mod store;
