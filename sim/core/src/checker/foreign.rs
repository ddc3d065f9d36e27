//! Rows that somebody else wrote meanwhile, in a database that others use as well: what concerns them is not judged.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::server_sets::is_effective;
use crate::history::{RowId, What, Who};
use crate::verdict::{Finding, Verdict};

/// How many rows are named.
const NAMED: usize = 5;

/// The rows that commits of others changed, and what each operation is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Foreign {
    rows: BTreeSet<RowId>,
    about: BTreeMap<(u32, i64), RowId>,
    names: String,
}

impl Foreign {
    /// Looks for them. A commit that left a row as it was, but for what the database sets by itself, did not change it.
    pub(super) fn find(ctx: &Context<'_>) -> Self {
        let events = || ctx.history.events.iter();
        let foreign =
            events().filter_map(|event| if let What::Commit(commit) = &event.what { Some(commit) } else { None });
        let rows: BTreeSet<RowId> = foreign
            .filter(|commit| commit.foreign)
            .flat_map(|commit| commit.changes.iter().filter(|change| is_effective(ctx, change)))
            .map(|change| change.row)
            .collect();
        if rows.is_empty() {
            return Self::default();
        }
        let mut about = BTreeMap::new();
        for event in events() {
            if let (Who::Client(device), What::Tx(tx)) = (event.who, &event.what) {
                about.extend(tx.ops.iter().map(|op| ((device, op.op_id), op.row)));
            }
        }
        let mut names: Vec<String> = rows.iter().take(NAMED).map(|row| ctx.history.row_label(ctx.app, *row)).collect();
        if rows.len() > NAMED {
            names.push(format!("{} more", rows.len() - NAMED));
        }
        Self { rows, about, names: names.join(", ") }
    }

    /// The rows that operations are about; nothing where nobody else wrote any row.
    pub(super) fn rows_of(&self, operations: &[(u32, i64)]) -> impl Iterator<Item = RowId> {
        operations.iter().filter_map(|operation| self.about.get(operation)).copied()
    }

    /// Whether somebody else wrote one of these rows.
    pub(super) fn concerns(&self, rows: &[RowId]) -> bool {
        rows.iter().any(|row| self.rows.contains(row))
    }

    /// Takes out of a finding what is about such rows; what is left to say is then at best unknown. A contradiction that
    /// is about no row stands: nobody's write explains it.
    pub(super) fn set_aside(&self, mut finding: Finding) -> Finding {
        if self.rows.is_empty() {
            return finding;
        }
        let before = finding.anomalies.len();
        finding.anomalies.retain(|anomaly| {
            let of_operations: Vec<RowId> = self.rows_of(&anomaly.operations).collect();
            !self.concerns(&anomaly.rows) && !self.concerns(&of_operations)
        });
        let aside = match before - finding.anomalies.len() {
            0 => String::new(),
            1 => "; 1 contradiction that may come from it is set aside".to_owned(),
            many => format!("; {many} contradictions that may come from it are set aside"),
        };
        finding.verdict = if finding.anomalies.is_empty() { Verdict::Unknown } else { Verdict::Invalid };
        finding.unknown.push(format!("Somebody else wrote {} meanwhile{aside}.", self.names));
        finding
    }
}
