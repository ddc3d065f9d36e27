//! The service on a real PostgreSQL, in reading order: [`cluster`] a private server, [`rig`] the service's process and
//! its clients, [`basics`] what streams, [`parity`] the same as from memory, [`conformance`] recorded exchanges,
//! [`faults`] kills, restarts, cuts.

#[path = "../service/client.rs"]
mod client;

mod basics;
mod cluster;
mod conformance;
mod rig;
