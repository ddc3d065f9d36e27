//! The external world: a stack that somebody else runs, of which no more is known than where it is.
//!
//! `guest` makes a plan the stack's guest, `gateway` is the way of devices to its two servers, `mapping` how its upload
//! endpoint is spoken to, `owned` lists what plans may write and takes it away again, `stack` is all of it. The rest is that of any world
//! of real servers: commits are read from a logical slot that ends with its session, of which the plan's own rows
//! alone are told (`real/share.rs`).
//!
//! Servers go by the machine's clock, and devices by the plan's, which is some time in the past: tokens are signed
//! again with their times moved, and no clock of a device is later than its receipt.

mod gateway;
mod guest;
mod mapping;
mod owned;
mod stack;

pub(crate) use guest::guest;
pub use guest::why_not;
pub use mapping::Mapping;
pub use stack::{Choice, Pool, Site, end_all};
