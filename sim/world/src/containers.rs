//! The containers world: a deployment as `syncstorm deploy init` makes it, started by Docker from its own compose file.
//!
//! `compose` reads that file, `docker` is the engine, `stack` a deployment as a worker keeps it from plan to plan,
//! `server` one of the two servers in its container, `store` the cache and the bucket storage with what ails them; the rest is that of any world of real servers.
//!
//! The backend goes by the plan's clock, the sync service, which may be anybody's, by the machine's: its tokens are
//! signed again with their times moved (`real/apart.rs`), and devices bear with longer silence on a stream
//! ([`IDLE_STRETCH`]), as plan time passes faster than keepalives come.

mod compose;
mod docker;
mod server;
mod stack;
mod store;

pub use stack::{Choice, Pool, Site, end_all};
pub use super::real::IDLE_STRETCH;
