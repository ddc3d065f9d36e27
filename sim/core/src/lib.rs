//! A run as pure data: what is planned, what was seen, and what it means.
//!
//! Nothing here touches tokio, a database, a socket, a clock, a file or the operating system's entropy; the same
//! input always gives the same output. In reading order: [`seed`] where every draw comes from, [`plan`] what will
//! be done, [`fault`] what can go wrong meanwhile, [`history`] what was seen, [`model`] what the server should have made
//! of it, [`verdict`] what it means, [`promise`] what a scenario claims, [`checker`] whether it holds, [`run`] the summary
//! that reports show.

pub mod activity;
pub mod checker;
mod device;
pub mod fault;
mod file_error;
pub mod history;
mod intent;
mod layout;
pub mod model;
mod nemesis;
pub mod plan;
pub mod promise;
mod range;
pub mod regression;
mod row_hash;
pub mod run;
pub mod scenario;
pub mod seed;
pub mod shrink;
pub mod verdict;
pub mod workload;

pub use history::History;
pub use plan::Plan;
pub use seed::Seed;
pub use verdict::{Anomaly, Class, Finding, Verdict};
