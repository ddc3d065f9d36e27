//! What reports look like, and that nothing in a run breaks them.

mod elements;
mod outside_texts;
mod sample;
mod shape;
mod snapshots;
