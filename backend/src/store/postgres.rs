//! A store on PostgreSQL.
//!
//! An upload is one connection; each of its transactions is one database transaction under READ COMMITTED that
//! locks all that it decides on before it reads it (see `session`), so several instances may serve one database.
//! What the backend remembers lies in schema `sync_backend`, written in the same transaction, outside the
//! application's tables and their publication.
//!
//! In reading order: `migrations` the schema, `sql` the statements, `value` and `meta` how values are kept,
//! `locks` the order of locking, `pipeline` many statements in one round trip, `session` the transaction,
//! [`note`] what the write-ahead log tells about commits, [`tls`] `sslmode`, `error`.
//!
//! While the database is away uploads fail as unavailable, and pass again when it is back. A commit whose answer
//! was lost may have happened; the device sends its transaction again, and the ledger knows.

mod config;
mod database;
mod decode;
mod error;
mod locks;
mod meta;
mod migrations;
pub mod note;
mod pipeline;
mod session;
mod sql;
mod store;
pub mod tls;
mod value;

pub use config::PostgresConfig;
pub use error::PrepareError;
pub use store::PostgresStore;
