//! Databases: in memory and on PostgreSQL.
//!
//! [`Session`] is what [`crate::upload`] asks of them: one connection with one transaction at a time. A session in
//! memory never waits; one on PostgreSQL waits at each call.

mod error;
pub mod memory;
pub mod postgres;
mod session;
mod slot;

pub use error::StoreError;
pub use session::{ClientLedger, Footprint, NewConflict, Put, Session};
