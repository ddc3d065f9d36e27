//! From a scenario and a seed to a plan: who does what, when, and what goes wrong meanwhile.
//!
//! `schedule` draws times, rounds and faults; `author` then writes the transactions in order of time, because
//! which rows a device is likely to see follows from what was done before (`tracker`); `crud` needs no activity,
//! `values` makes values, `generate` puts a plan together, [`strategy`] hands plans to proptest. Every transaction
//! is drawn from a fork of its own.

mod author;
mod crud;
mod generate;
mod schedule;
mod seeds;
mod server;
pub mod strategy;
mod tracker;
mod values;
mod weights;

pub use self::generate::{beginning, generate, plan_seed};
