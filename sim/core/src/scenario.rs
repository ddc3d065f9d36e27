//! What a scenario file says, with every name looked up: the claim, the devices, what they do, what goes wrong.
//!
//! This module owns the format and its checks. Drawing a plan from a scenario is [`crate::workload`]'s.
//! `scenarios/README.md` explains each field to those who write them.

pub mod by_name;
mod definition;
mod format;
mod resolve;
mod round;

pub use self::definition::Scenario;
pub(crate) use self::definition::{Mix, Rate, SeedRows};
pub(crate) use self::round::{ActivityRef, Round, RoundTarget, Rounds, When};
pub use crate::file_error::ScenarioError;

include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));
