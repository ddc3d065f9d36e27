//! The sync configuration: which rows are in which buckets, and which buckets a request gets.
//!
//! It supports `bucket_definitions` (sync rules) in editions 1 and 2, and single-table sync streams in edition 2.
//! A parameter query without FROM is evaluated for each request; one with FROM is indexed as rows are replicated.
//! Anything else that a configuration asks for is refused by name.
//!
//! - [`document`][]: the YAML document, read into a [`SyncConfig`]; [`options`] its `config`, [`streams`] its
//!   `streams`, [`yaml`] access to its values
//! - [`config`][]: definitions of buckets, and their names
//! - [`select`][], [`sql_expression`][]: SQL taken apart, its names resolved into an [`expression`]; [`sqlite`] the
//!   semantics of its values
//! - [`compile`][]: SQL into a [`query`], its select list into a [`projection`]

mod compile;
mod config;
mod document;
mod error;
pub mod expression;
mod options;
mod projection;
pub mod query;
mod select;
mod sql_expression;
pub mod sqlite;
mod streams;
mod yaml;

pub use config::{Definition, Stream, SyncConfig};
pub use error::ConfigError;
pub use options::ValueFormat;
pub use projection::{ProjectedValue, Projection};
