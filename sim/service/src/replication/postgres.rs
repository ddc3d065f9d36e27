//! Replication from PostgreSQL: a snapshot that the slot begins with, then its write-ahead log.
//!
//! - [`follower`][]: follows a server into a store, through restarts, cut connections and lost slots
//! - [`requirements`][] and [`slot`][]: what the server must have; [`snapshot`][] a new snapshot; [`wal_stream`][] the
//!   log
//! - [`catalog`][] the server's tables, [`table_reader`][] their rows, [`types`][] their values, [`pgoutput`][] the
//!   log's messages
//! - [`connection`][] how the server is reached, [`session`][] queries, [`head`][] its position, [`error`][] what can
//!   fail
//!
//! A position is confirmed to the server only once it is durable here.

mod catalog;
mod connection;
mod error;
mod follower;
mod head;
mod pgoutput;
mod requirements;
mod session;
mod slot;
mod snapshot;
mod table_reader;
mod types;
mod wal_stream;

pub use connection::{BadConnection, Connection, DEFAULT_PUBLICATION, DEFAULT_SLOT};
pub use follower::{Follower, follow};
pub use head::HeadReader;
pub use session::PostgresError;
pub use table_reader::read_layout;
