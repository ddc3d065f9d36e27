//! What reports look like, and that nothing in a run can break them.

mod hostile;
mod sample;
mod shape;
mod snapshots;
