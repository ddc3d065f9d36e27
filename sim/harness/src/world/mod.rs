//! Where a plan runs. So far the deterministic world; the code above a world never asks which one it is in.

pub mod deterministic;
