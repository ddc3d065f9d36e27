//! A store on PostgreSQL.
//!
//! An upload uses one connection. Each of its transactions is one database transaction under READ COMMITTED, which locks
//! everything that it decides on before it reads it (see `session`). So several instances may serve one database. What
//! the backend remembers is in schema `sync_backend`, written in the same transaction, outside the application's tables
//! and their publication.
//!
//! In reading order: `store` the handle, `database` its connections, `migrations` the schema, `sql` the statements,
//! `value` and `meta` how values are stored, `locks` the order of locking, `pipeline` many statements in one round trip,
//! `session` the transaction, [`note`] what a commit adds to the write-ahead log, [`tls`] `sslmode`, `error`.
//!
//! While the database is down, uploads fail as unavailable. A commit whose answer was lost may have happened: the device
//! sends its transaction again, and the ledger has the answer.

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
