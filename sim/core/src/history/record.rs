//! One whole history.

use super::event::Event;
use super::header::{Header, RowName};

/// One history.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// What it is a history of.
    pub header: Header,
    /// Every row that occurs: those of the plan first, by their symbolic number, then any other in order of
    /// appearance.
    pub rows: Vec<RowName>,
    /// What was seen, in order of time.
    pub events: Vec<Event>,
}
