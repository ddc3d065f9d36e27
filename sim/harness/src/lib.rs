//! The library behind the program `syncstorm`.
//!
//! In reading order: [`cli`] and [`world_args`] what can be asked, [`commands`] what each command does, [`campaign`] many plans on many
//! threads, [`trial`] one plan from start to history, [`databases`] what a worker keeps from plan to plan, [`interruption`] Ctrl-C,
//! [`invariants`] the application's own SQL, asked of the final rows, [`artifacts`] the files, [`mutants`] planted
//! defects. Where plans run is [`sim_world`]'s.

pub mod artifacts;
pub mod campaign;
pub mod cli;
pub mod commands;
pub mod databases;
pub mod interruption;
pub mod invariants;
pub mod mutants;
pub mod trial;
pub mod world_args;
