//! What a history means: one checker a file, each a pure function of [`Context`] alone.
//!
//! A checker never sees a world, a device or a plan. [`timeline`] is the one analysis that several share: which
//! prefix of the server's commits each device shows at each moment.

pub mod policy;
#[cfg(test)]
pub(crate) mod testing;
pub mod timeline;
pub mod view;
pub mod visibility;

use fixtures::App;

use crate::history::History;
use crate::promise::Promises;

pub use timeline::Timeline;

/// All that a checker may look at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The application.
    pub app: &'a App,
    /// The history.
    pub history: &'a History,
    /// What the scenario claims.
    pub promises: &'a Promises,
}
