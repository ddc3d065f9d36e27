//! All that a checker may look at.

use fixtures::App;

use crate::history::History;
use crate::promise::Promises;

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
