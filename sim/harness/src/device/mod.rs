//! A device: one installation of the app, with its database, upload queue, sync stream, clock and lifecycle.
//!
//! [`kind`] the platforms' constants, [`database`] its storage, [`host`] the steps around the real core,
//! [`actor`] the task that drives them over a network and through time.

pub mod actor;
pub mod database;
pub mod host;
pub mod kind;
#[cfg(target_os = "linux")]
mod statements;
