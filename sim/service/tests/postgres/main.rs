//! The service on a real PostgreSQL, in reading order: [`cluster`] a private server, [`rig`] the service's process and
//! its clients, [`basics`] what streams, [`parity`] the same as from memory, [`conformance`] recorded exchanges,
//! [`faults`] kills, restarts, cuts.

#[expect(dead_code, reason = "the tests of the other binary use all of it")]
#[path = "../service/client.rs"]
mod client;

mod basics;
mod cluster;
mod conformance;
mod faults;
mod parity;
mod rig;
