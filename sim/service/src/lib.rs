//! A PowerSync-compatible sync service.
//!
//! Official clients sync from it: it keeps buckets of operations, tells each client in checkpoints what its
//! buckets sum up to, and acknowledges uploads with write checkpoints. It draws no random number, starts no thread
//! or task and reads no clock but the one that it is given, so that one seed gives one history.
//!
//! In reading order:
//!
//! - [`sync_config`][]: which rows are in which buckets, and which buckets a request gets
//! - [`replication`][]: source transactions become operations
//! - [`bucket`][]: operations, checksums, compaction
//! - [`storage`][]: what outlives the process
//! - [`checkpoint`][]: write checkpoints
//! - [`protocol`][]: the lines on the wire
//! - [`stream`][]: a request and a storage become lines
//! - [`auth`][]: which tokens are good
//! - [`routes`][]: the HTTP surface
//! - [`service`][]: all of it put together

pub mod auth;
pub mod bucket;
pub mod checkpoint;
pub mod durable;
pub mod error;
pub mod protocol;
pub mod replication;
pub mod routes;
pub mod row;
pub mod server;
pub mod service;
pub mod signal;
pub mod storage;
pub mod stream;
pub mod sync_config;

pub use auth::{KeyError, Keys};
pub use replication::{ReplicaIdentity, RowChange, SourceTransaction};
pub use routes::router;
pub use service::{Clock, Config, Head, Service};
pub use storage::Storage;
pub use sync_config::{ConfigError, SyncConfig};
