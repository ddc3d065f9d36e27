//! The containers world: a deployment as `syncstorm deploy init` makes it, started by Docker from its own compose file.
//!
//! `compose` reads that file, `variables` what it leaves open, `docker` is the engine, reached through
//! `docker_gateway`, `group` the containers of one deployment, `environment` what a worker keeps from plan to plan, `database` PostgreSQL's container, `server` one of
//! the two servers in its container, `store_faults` the faults of the cache and the bucket storage. The rest is that of
//! any world of real servers.
//!
//! The backend goes by the plan's clock. The sync service may be another implementation and goes by the machine's: its
//! tokens are signed again with their times moved (`real/token_retiming.rs`), and devices wait longer on a silent
//! stream ([`STREAM_IDLE_FACTOR`]), as plan time passes faster than keepalives come.

mod compose;
mod database;
mod docker;
mod docker_gateway;
mod environment;
mod group;
mod server;
mod store_faults;
mod variables;

pub use super::real::timing::STREAM_IDLE_FACTOR;
pub use docker_gateway::require_gateway;
pub use environment::{ContainersConfig, ContainersPool};
pub use group::end_all;
