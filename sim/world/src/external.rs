//! The external world: a stack that somebody else runs, of which only its address is known.
//!
//! `isolated_plan` gives a plan ids that nobody else has. `gateway` is the way of devices to the two servers, `mapping`
//! how the upload endpoint is spoken to. `row_list` lists what plans may write, `cleanup` deletes it again.
//! `environment` is all of this for a worker, `config` what the user says about the stack, `remote_server` one of its
//! servers. The rest is that of any world of real servers: commits are read from a logical slot that ends with its
//! session, and only those of the plan's own rows are recorded (`real/shared_database.rs`).
//!
//! Servers go by the machine's clock, and devices by the plan's, which is some time in the past. So tokens are signed
//! again with their times moved, and no clock of a device is later than its receipt.

mod cleanup;
mod config;
mod environment;
mod gateway;
mod isolated_plan;
mod mapping;
mod remote_server;
mod row_list;

pub use config::ExternalConfig;
pub use environment::{ExternalPool, end_all};
pub(crate) use isolated_plan::isolate;
pub use isolated_plan::{suited, why_unsupported};
pub use mapping::Mapping;
