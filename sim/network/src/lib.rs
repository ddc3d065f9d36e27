//! How a device reaches the two servers: one choke point where every network fault is injected.
//!
//! Devices speak to a [`Network`] and do not know which one it is. [`request`] is what they send and get, [`network`] how,
//! [`extension`] what goes with a request to a router besides its HTTP. [`sim`] is the simulated network.

pub mod extension;
pub mod network;
pub mod request;
pub mod sim;

pub use extension::{KillBeforeCommit, KilledBeforeCommit, RequestTag};
pub use network::{LocalFuture, Network, StreamEvent, StreamResponse, SyncStream};
pub use request::{NetError, Purpose, Request, Response, ServerRole};
