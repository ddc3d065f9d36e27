//! One claim being judged, and what contradicts it.

use super::facts::Facts;
use crate::checker::context::Context;
use crate::history::RowId;
use crate::verdict::{Anomaly, Class, Finding};

/// One claim being judged.
pub(super) struct Ruling<'r, 'a, 't> {
    pub(super) facts: &'r Facts<'a, 't>,
    pub(super) code: &'static str,
    pub(super) finding: &'r mut Finding,
}

/// What contradicts a claim.
#[derive(Default)]
pub(super) struct Contradiction {
    /// The role of the row, and its column if there is one.
    pub(super) role: String,
    pub(super) what: String,
    pub(super) because: String,
    pub(super) events: Vec<usize>,
    pub(super) operations: Vec<(u32, i64)>,
}

impl<'a> Ruling<'_, 'a, '_> {
    pub(super) fn contradict(&mut self, mut contradiction: Contradiction) {
        contradiction.events.sort_unstable();
        contradiction.events.dedup();
        contradiction.operations.sort_unstable();
        contradiction.operations.dedup();
        let evidence = contradiction.events.iter().map(|event| self.facts.evidence(*event)).collect();
        self.finding.invalid(Anomaly {
            checker: "claims",
            code: self.code,
            class: Class::Safety,
            role: contradiction.role,
            what: contradiction.what,
            because: contradiction.because,
            evidence,
            rows: self.facts.rows_of(&contradiction.events),
            events: contradiction.events,
            operations: contradiction.operations,
        });
    }

    pub(super) fn ctx(&self) -> &Context<'a> {
        self.facts.ctx
    }

    /// `table.column` of a row, or `table`.
    pub(super) fn role(&self, row: RowId, column: Option<usize>) -> String {
        let (app, history) = (self.ctx().app, self.ctx().history);
        column.map_or_else(|| history.row_role(app, row), |column| history.column_role(app, row, column))
    }

    /// `table#3.column` of a row, or `table#3`.
    pub(super) fn label(&self, row: RowId, column: Option<usize>) -> String {
        let (app, history) = (self.ctx().app, self.ctx().history);
        column.map_or_else(|| history.row_label(app, row), |column| history.column_label(app, row, column))
    }
}
