//! The backend on a real PostgreSQL: it does what the store in memory does, loses nothing when the database is
//! killed, and serves no one whom it should not.

mod cluster;
mod faults;
mod fuzz;
mod parity;
mod rig;
mod server;
mod values;
