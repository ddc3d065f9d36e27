//! Syncstorm: deterministic trials of an offline-first sync stack.
//!
//! This crate is the only one that knows everybody. In reading order: [`cli`] what can be asked, [`commands`] what
//! each command does, [`catalogue`] applications and scenarios by name, [`campaign`] many plans on many threads,
//! [`trial`] one plan from start to history, [`world`] where it runs, [`invariants`] what the application's own SQL
//! says of its end, [`device`] one installation of the app over the real sync core, [`interpreter`] what its person
//! does, [`network`] how it reaches the servers, [`postgres`] a private PostgreSQL, [`recorder`]
//! the history, [`artifacts`] the files, [`mutants`] planted defects, [`deploy`] a deployment to start with,
//! [`target`] a stack that somebody else runs, [`verify`] checklists for it; `signer` makes tokens.

pub mod artifacts;
pub mod campaign;
pub mod catalogue;
pub mod cli;
pub mod commands;
pub mod deploy;
pub mod device;
pub mod interpreter;
pub mod invariants;
pub mod mutants;
pub mod network;
pub mod postgres;
pub mod recorder;
mod signer;
pub mod target;
pub mod trial;
pub mod verify;
pub mod world;
