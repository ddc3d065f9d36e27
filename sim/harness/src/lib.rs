//! Syncstorm: deterministic trials of an offline-first sync stack.
//!
//! This crate is the only one that knows everybody. In reading order: [`device`] one installation of the app over
//! the real sync core, [`interpreter`] what its person does, [`network`] how it reaches the servers, [`recorder`]
//! the history.

pub mod device;
pub mod interpreter;
pub mod network;
pub mod recorder;
