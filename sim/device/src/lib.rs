//! A device: one installation of the app, with its database, upload queue, sync stream, clock and lifecycle.
//!
//! In reading order: [`command`] what a run tells it, [`status`] what it shows the run, [`platform`] the platforms'
//! constants, [`database`] its storage, [`host`] the steps around the real sync core, [`interpreter`] what its user does,
//! [`actor`] the task that drives it over a network and through time, [`upload_subject`] what an upload is about,
//! [`recorder`] the history. [`error`] says what can fail; `statements` keeps the core's prepared statements.

pub mod actor;
pub mod command;
pub mod database;
pub mod error;
pub mod host;
pub mod interpreter;
pub mod platform;
pub mod recorder;
#[cfg(target_os = "linux")]
mod statements;
pub mod status;
pub mod upload_subject;
