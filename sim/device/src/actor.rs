//! The task that drives one device: it waits for commands, lines, responses and timers, and lets the host take one step
//! at a time. It does not know which world it is in.
//!
//! Every SQLite commit, every request sent and every response received is a *step*; an armed crash strikes right after
//! one of them, and whatever was only in memory is gone.
//!
//! `state` is what a device has, `session` what its process holds in memory; `run` waits. What a device then does is in
//! `commands`, `timers`, `transactions`, `lifecycle`, `storage`, `stream`, `uploads` and `write_checkpoints`.

mod commands;
mod lifecycle;
mod run;
mod session;
mod state;
mod storage;
mod stream;
mod timers;
mod transactions;
mod upload_reply;
mod uploads;
mod write_checkpoints;

pub use state::{Actor, DeviceContext};
