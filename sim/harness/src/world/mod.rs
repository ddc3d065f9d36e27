//! Where a plan runs.

pub mod deterministic;
mod told;
