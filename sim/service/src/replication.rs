//! Replication: a source is followed into a durable store.
//!
//! - [`source`][]: what replication needs of a source
//! - [`memory`][]: a source in memory
//! - [`postgres`][]: PostgreSQL as a source
//! - [`apply`][]: hands a source's changes to the store, and confirms what is durable to the source
//! - [`progress`][]: what replication shows to probes and metrics

pub mod apply;
pub mod memory;
pub mod postgres;
pub mod progress;
pub mod source;
