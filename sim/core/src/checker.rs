//! What a history means: one checker a file, each a pure function of [`Context`] alone.
//!
//! A checker never sees a world, a device or a plan. [`timeline`] is the one analysis that several share: which
//! prefix of the server's commits each device shows at each moment. [`visibility`] says which rows a user should see,
//! [`wording`] puts events and contradictions into words. `row_ids`, `unique_key` and `tree` are look-ups that several
//! checkers need; the model and [`visibility`] restate what they judge and use none of them.

pub mod atomicity;
pub mod causal;
pub mod claims;
mod context;
pub mod convergence;
pub mod coverage;
pub mod durability;
pub mod exactly_once;
mod examine;
mod foreign;
pub mod installations;
pub mod integrity;
pub mod latency;
pub mod policy;
pub mod progress;
pub mod protocol;
pub mod refusals;
mod report;
mod row_ids;
mod server_sets;
mod settling;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod timeline;
mod tree;
mod unique_key;
pub mod view;
pub mod visibility;
pub mod wording;

pub use self::context::Context;
pub use self::examine::{CHECKERS, Checker, Examined, check_all, examine};
pub use self::report::Report;
pub use self::timeline::Timeline;
