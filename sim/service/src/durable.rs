//! What outlives the process, on disk: one SQLite file with the buckets, the source's rows, the write checkpoints and
//! the source's position, which change together.
//!
//! Nothing is shown to a client, and nothing is confirmed to the source, before it is committed here. One thread writes
//! to the file, and to the state in memory from which clients are served.
//!
//! - [`store`][]: the file, and [`transaction`] a commit to it; [`encoding`] what its columns hold
//! - [`layout`][]: a source's tables, and a snapshot of them
//! - [`job`][]: what the writer is asked to do; [`handle`] how others ask it; [`current`] the service that answers now
//! - [`thread`][]: takes jobs one group at a time
//! - [`writer`][]: what the thread works on; [`load`] what it starts from, [`group_commit`] transactions and write
//!   checkpoints, [`snapshot`] a new snapshot of the source, [`compaction`] the compaction of buckets

mod compaction;
mod current;
mod encoding;
mod group_commit;
mod handle;
mod job;
mod layout;
mod load;
mod snapshot;
mod store;
mod thread;
mod transaction;
mod writer;

pub use current::CurrentService;
pub use handle::StoreHandle;
pub use job::{DurablePosition, SnapshotReport, StoreStatus, WriterError};
pub use layout::{Layout, SourceSnapshot};
pub use store::{StoreError, SyncMode};
pub use thread::start;
pub use writer::{Configure, ReadLayout, WriterSettings};
