//! A PowerSync-compatible sync service.
//!
//! Official clients sync from it. It keeps buckets of operations, sends each client checkpoints with the checksums of
//! its buckets, and acknowledges uploads with write checkpoints. A [`Service`] in memory draws no random number, starts
//! no thread or task, and reads no clock except the one that it is given, so that one seed gives one history.
//!
//! In reading order. Each module uses only those above it, and the last ones:
//!
//! - [`sync_config`][]: which rows are in which buckets, and which buckets a request gets
//! - [`operation`][], [`bucket`][]: what clients download, checksums, compaction
//! - [`storage`][]: what outlives a service; [`write_checkpoint`] which client waits for which position;
//!   [`bucket_difference`] operations that lead from one set of buckets to another
//! - [`changes`][]: source transactions become operations
//! - [`auth`][]: which tokens are good
//! - [`service`][]: a configuration and a storage that serve streams
//! - [`protocol`][]: the request and the lines on the wire; [`stream`] a request and a storage become lines
//! - [`routes`][]: the HTTP surface
//! - [`durable`][]: the storage on disk
//! - [`replication`][]: from a source into the storage on disk
//! - [`server`][]: the program
//!
//! [`json`], [`row_bytes`] and [`percent`] encode values, rows and URLs. [`error`] and [`responses`] are answers to
//! requests. [`signal`] wakes streams, and [`clock`] is the time that they see.

pub mod auth;
pub mod bucket;
pub(crate) mod bucket_difference;
pub mod changes;
pub mod clock;
pub mod durable;
pub mod error;
pub mod json;
pub mod operation;
mod percent;
pub mod protocol;
pub mod replication;
mod responses;
pub mod routes;
mod row_bytes;
pub mod server;
pub mod service;
pub mod signal;
pub mod storage;
mod stream;
pub mod sync_config;
pub mod write_checkpoint;

pub use auth::{KeyError, Keys};
pub use changes::{ReplicaIdentity, RowChange, SourceTransaction};
pub use clock::Clock;
pub use routes::router;
pub use service::{Config, Head, Service};
pub use storage::Storage;
pub use sync_config::{ConfigError, SyncConfig};
