//! The program `syncstorm-backend`: the router on a socket, with keys, limits, metrics and a shutdown.
//!
//! In reading order: [`config`] what can be set, [`clock`] what time it is, [`keys`] the keys in the state directory,
//! `layers` what every request passes through, `metrics` what is counted, `cache` Redis, `serve` start and shutdown.
//!
//! [`Server::bind`] and [`Server::run`] are the program without its process, for programs that embed it.

mod cache;
pub mod clock;
pub mod config;
mod error;
pub mod keys;
mod layers;
mod metrics;
mod serve;

pub use clock::machine_clock_us;
pub use config::Config;
pub use error::ServerError;
pub use serve::{Server, rotate_keys, serve, serve_with};
