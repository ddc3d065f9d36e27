//! Tests of the service's process on a real PostgreSQL.
//!
//! - [`cluster`] a private server, [`rig`] the service's process and its clients, [`boxes`] the table of most tests
//! - [`changes`] what clients get, [`parity`] the same as from memory, [`conformance`] recorded exchanges replayed
//! - [`server`] tokens, limits, TLS, probes; [`faults`] kills, restarts, cuts

#[expect(dead_code, reason = "the tests of the other binary use all of it")]
#[path = "../shared/client.rs"]
mod client;
#[path = "../shared/recorded.rs"]
mod recorded;

mod boxes;
mod changes;
mod cluster;
mod conformance;
mod faults;
mod parity;
mod rig;
mod server;
