//! The service as a program: PostgreSQL on one side, HTTP on the other, a store between them.
//!
//! - [`config`][]: its flags and environment; [`official`] the configuration file of the official service
//! - [`run`](run())[]: its process and signals; [`serve`][] starting, answering, stopping; [`http`][] probes, metrics
//!   and the service's routes
//! - [`keyring`][]: the keys of tokens; [`provider`][] what the service asks for; [`time`][] its clock
//! - [`error`][]: why it did not start

mod config;
mod error;
mod http;
mod keyring;
pub mod official;
mod provider;
mod run;
mod serve;
mod time;

pub use config::Config;
pub use error::ServeError;
pub use run::{run, run_with};
pub use serve::Server;
pub use time::Time;
