//! What a policy decides on, and what it decides.

use std::borrow::Cow;
use std::sync::Arc;

use fixtures::{ColumnDefault, Row, Rule, Value};

use crate::operation::Operation;
use crate::record::{Author, RowMeta, Stored, Writer};
use crate::rules::TableRules;
use crate::wire::Outcome;

/// What a policy decides on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The table's rules.
    pub rules: &'a TableRules,
    /// What is stored under the operation's id.
    pub stored: &'a Stored,
    /// The operation.
    pub op: &'a Operation,
    /// Who sent it.
    pub writer: &'a Arc<Writer>,
    /// When its request was received.
    pub received_us: i64,
}

impl Situation<'_> {
    /// The operation's clock: the clock column as sent, capped at receive time; without one, the receive time.
    #[must_use]
    pub fn clock_us(&self) -> i64 {
        let sent = self.rules.clock.and_then(|column| match self.op.sent(column)? {
            Value::Time(at_us) => Some(*at_us),
            Value::Text(text) => fixtures::value::time_from_text(text),
            _ => None,
        });
        sent.map_or(self.received_us, |at_us| at_us.min(self.received_us))
    }

    /// The operation as an author.
    #[must_use]
    pub fn author(&self) -> Author {
        Author::Client(self.writer.clone())
    }

    /// Whether a write with this stamp is older than the operation, by (clock, client).
    #[must_use]
    pub fn is_later_than(&self, stamp_us: i64, writer: &Writer) -> bool {
        (self.clock_us(), &self.writer.client) > (stamp_us, &writer.client)
    }
}

/// What a policy decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What happens to the row.
    pub effect: Effect,
    /// What the device is answered.
    pub outcome: Outcome,
    /// Why, if the outcome is not plainly *applied*; its first word is stable.
    pub reason: Option<String>,
    /// Who wrote the value that stays in the operation's place.
    pub by: Option<Author>,
    /// Overridden writes.
    pub conflicts: Vec<Conflict>,
}

impl Conflict {
    /// Whose conflict record it is: the loser's subject, or the winner's when the server lost.
    pub(crate) fn subject(&self) -> Arc<str> {
        match (&self.loser, &self.winner) {
            (Author::Client(writer), _) | (Author::Server, Author::Client(writer)) => writer.subject.clone(),
            (Author::Server, Author::Server) => Arc::from(""),
        }
    }
}

impl Decision {
    /// An operation that can never be applied.
    #[must_use]
    pub fn rejected(reason: String) -> Self {
        Self { effect: Effect::None, outcome: Outcome::Rejected, reason: Some(reason), by: None, conflicts: Vec::new() }
    }

    /// Applied, without any effect.
    #[must_use]
    pub fn nothing() -> Self {
        Self { effect: Effect::None, outcome: Outcome::Applied, reason: None, by: None, conflicts: Vec::new() }
    }

    /// Appends to the reason.
    pub(crate) fn explain(&mut self, reason: String) {
        self.reason = Some(match self.reason.take() {
            Some(earlier) => format!("{earlier}; {reason}"),
            None => reason,
        });
    }

    /// Replaces the outcome, unless the present one is worse.
    pub(crate) fn lower(&mut self, outcome: Outcome) {
        if self.outcome == Outcome::Applied || outcome == Outcome::Superseded {
            self.outcome = outcome;
        }
    }
}

/// What happens to a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It is inserted or updated.
    Write(RowWrite),
    /// It is deleted, and leaves a tombstone with this stamp.
    Delete {
        /// The stamp.
        at_us: i64,
    },
    /// The row is already deleted; its tombstone gets this later stamp.
    RestampTombstone {
        /// The stamp.
        at_us: i64,
    },
}

/// A row to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RowWrite {
    /// All columns.
    pub row: Vec<Value>,
    /// Its stamps and other metadata.
    pub meta: RowMeta,
}

/// A write that was overridden: a conflict record before it has a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The column or the group; `None` = the whole row.
    pub column: Option<Arc<str>>,
    /// The rule that decided.
    pub rule: Cow<'static, str>,
    /// Whose write is overridden.
    pub loser: Author,
    /// Whose write stays.
    pub winner: Author,
}

/// The row that an INSERT of the operation's columns stores.
#[must_use]
pub fn inserted_row(rules: &TableRules, op: &Operation, now_us: i64) -> Row {
    rules
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| match op.sent(index) {
            Some(value) => value.clone(),
            None => match &column.default {
                ColumnDefault::Null => Value::Null,
                ColumnDefault::Literal(value) => value.clone(),
                ColumnDefault::Now => Value::Time(now_us),
                ColumnDefault::Expression => Value::stand_in(column.ty, now_us),
            },
        })
        .collect()
}

/// Rejects a counter value outside its range.
pub(crate) fn out_of_range(rule: Rule, value: &Value, name: &str) -> Option<Decision> {
    let Rule::Counter { min, max } = rule else { return None };
    let int = value.as_int()?;
    (!(min..=max).contains(&int))
        .then(|| Decision::rejected(format!("out-of-range: {name}: {int} is not in {min}..={max}")))
}
