//! A store in memory with PostgreSQL's semantics: types, defaults, NOT NULL, unique keys, transactions that take
//! effect whole or not at all, and a change feed as logical decoding gives it.
//!
//! There is one lock, so commit order is decision order. Nothing waits inside it, and all maps are ordered.

mod server;
mod session;
mod state;
mod store;
mod table;

pub use server::ServerOp;
pub use store::{MemoryStore, Snapshot};
