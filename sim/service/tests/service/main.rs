//! Tests over the service's HTTP surface, in one process and on paused time.
//!
//! - [`rig`] a source with its service, [`client`] a client restated, [`lines`] lines shortened for comparison,
//!   [`recorded`] recorded exchanges
//! - [`rules`] sync configurations, [`http`] the HTTP surface, [`conformance`] recorded exchanges replayed
//! - [`streams`], [`buckets`], [`write_checkpoints`] what streams promise; [`histories`] the same under random
//!   histories

#[path = "../shared/client.rs"]
mod client;
#[path = "../shared/recorded.rs"]
mod recorded;

mod buckets;
mod conformance;
mod histories;
mod http;
mod lines;
mod rig;
mod rules;
mod streams;
mod write_checkpoints;
