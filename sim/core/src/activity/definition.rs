//! An activity: the rows that it needs, and what it does with them. Every name is looked up.

use serde_json::Value as Json;

use crate::range::Range;

/// One activity, with every name of a table and column resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// Its name in plans and stories: `complete-task`.
    pub name: String,
    /// How often it occurs in a mix of all activities, relative to others.
    pub weight: f64,
    /// The rows that it needs, in order of their names, parents before what depends on them.
    pub slots: Vec<Slot>,
    /// Values that a round may give, and what they are otherwise.
    pub given: Vec<(String, Term)>,
    /// What it does, in order.
    pub steps: Vec<ActStep>,
}

/// A row that an activity needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Its name within the activity.
    pub name: String,
    /// Where it comes from unless a round binds it.
    pub source: Source,
}

/// Where a row comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// One that the device is likely to see.
    Pick(usize),
    /// One that does not exist yet.
    New(usize),
    /// Several that the device is likely to see.
    List(usize, Range),
    /// Those whose column names the row in another slot.
    Children {
        /// The slot of the parent.
        of: usize,
        /// The table of the children.
        table: usize,
        /// Their column.
        column: usize,
    },
}

impl Source {
    /// The table of its rows.
    #[must_use]
    pub fn table(&self) -> usize {
        match self {
            Self::Pick(table) | Self::New(table) | Self::List(table, _) | Self::Children { table, .. } => *table,
        }
    }

    /// Whether it is several rows.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self, Self::List(..) | Self::Children { .. })
    }
}

/// One thing that an activity does. Rows are indices of slots, columns of the schema.
#[derive(Clone, Debug, PartialEq)]
pub enum ActStep {
    /// Inserts a row.
    Insert(usize, Vec<(usize, Term)>, bool),
    /// Inserts a row, or updates the one that has its key already.
    Ensure(usize, Vec<usize>, Vec<(usize, Term)>),
    /// Updates columns.
    Set(usize, Vec<(usize, Term)>),
    /// Adds an element to a set.
    Add(usize, usize, Term),
    /// Removes an element from a set; `None`: one that is likely to be there.
    Remove(usize, usize, Option<Term>),
    /// Adds to a counter.
    Increment(usize, usize, Range),
    /// Moves a row of the list behind another one of it, this many times.
    Move(usize, usize, Range),
    /// Deletes a row, or every row of a list.
    Delete(usize),
    /// Looks at rows.
    Read(Vec<usize>),
}

/// A value, not yet drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// As the generator of this table's column makes them.
    Draw(usize, usize),
    /// An element of the set that this table's column is.
    Element(usize, usize),
    /// A unique text.
    Text,
    /// The device's clock.
    Now,
    /// NULL.
    Null,
    /// The device's name.
    Device,
    /// A constant.
    Value(Json),
    /// One of these.
    OneOf(Vec<Json>),
    /// A whole number.
    Int(Range),
    /// The id of the row in this slot.
    Id(usize),
    /// The given value of this index.
    Given(usize),
}
