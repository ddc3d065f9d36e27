//! What the model says of a transaction: the fate of each operation, the records that are owed, and why.

use super::explain::Note;
use crate::history::{ConflictRecord, Outcome, RowId, Writer};

/// What a commit should show.
#[derive(Clone, Debug, Default)]
pub struct Prediction<'a> {
    /// Set when the transaction is refused whole; then nothing of it has an effect.
    pub refusal: Option<Refusal>,
    /// The fate of each operation, in order.
    pub ops: Vec<Predicted>,
    /// Conflict records, owed or allowed.
    pub records: Vec<Expected<'a>>,
    /// Losing row and survivor.
    pub aliases: Vec<(RowId, RowId)>,
    /// Why, register by register.
    pub notes: Vec<Note<'a>>,
    /// Children of deleted rows that later operations of the transaction delete.
    pub(super) left: Vec<LeftChild>,
}

/// A child of a deleted row, left to a later operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeftChild {
    /// The operation that deleted the parent, by its place.
    pub(super) by: usize,
    /// The parent's table.
    pub(super) table: usize,
    /// The reference.
    pub(super) reference: usize,
    /// The child.
    pub(super) child: RowId,
    /// The parent.
    pub(super) parent: RowId,
}

/// Why a transaction is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The first operation that is rejected, in order.
    pub op: usize,
    /// Why it is.
    pub reason: &'static str,
    /// Other operations that are wrong in themselves (an unknown column, a bad value), and may be named as well.
    pub also: Vec<usize>,
}

/// The fate of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// Its id.
    pub op_id: i64,
    /// The row that it acted on, after aliases.
    pub row: RowId,
    /// Its fate.
    pub outcome: Outcome,
    /// The reason, where docs/semantics.md names one.
    pub reason: Option<&'static str>,
    /// Those who won over it; empty where docs/semantics.md does not say who did.
    pub winners: Vec<Writer>,
    /// The row that a colliding insert was merged into.
    pub merged_into: Option<RowId>,
}

/// Who may stand in a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Party {
    /// The contract does not say.
    Anyone,
    /// One of these.
    OneOf(Vec<Writer>),
}

/// A conflict record that a commit owes, or may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected<'a> {
    /// The row, after aliases.
    pub row: RowId,
    /// Lawful contents of the column field; `None` is any.
    pub columns: Option<Vec<Option<&'a str>>>,
    /// The rule; `None` where docs/semantics.md does not name it.
    pub rule: Option<&'static str>,
    /// Whose value went.
    pub loser: Party,
    /// Whose value stayed.
    pub winner: Party,
    /// Whether it is owed, or only allowed.
    pub owed: bool,
}

impl Party {
    /// Exactly this one.
    #[must_use]
    pub fn only(writer: Writer) -> Self {
        Self::OneOf(vec![writer])
    }

    /// Whether this writer may stand there.
    #[must_use]
    pub fn admits(&self, writer: &Writer) -> bool {
        match self {
            Self::Anyone => true,
            Self::OneOf(writers) => writers.contains(writer),
        }
    }
}

impl Expected<'_> {
    /// Whether this record is that one. `row` is the record's row after aliases.
    #[must_use]
    pub fn is(&self, record: &ConflictRecord, row: RowId) -> bool {
        self.concerns(record, row)
            && self.rule.is_none_or(|rule| rule == record.rule)
            && self.loser.admits(&record.loser)
            && self.winner.admits(&record.winner)
    }

    /// Whether this record is about the same row and column.
    #[must_use]
    pub fn concerns(&self, record: &ConflictRecord, row: RowId) -> bool {
        self.row == row && self.columns.as_ref().is_none_or(|columns| columns.contains(&record.column.as_deref()))
    }
}
