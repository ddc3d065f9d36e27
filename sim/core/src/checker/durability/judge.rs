//! The state of the replay: rows, ids, who has seen what; and the finding.

use std::collections::BTreeSet;

use super::lawful::Discipline;
use super::records::Records;
use super::registers::Layout;
use super::state::{State, Write};
use super::stats::{Stats, count};
use super::transaction::JudgedTx;
use crate::checker::context::Context;
use crate::checker::installations::Installations;
use crate::checker::row_ids::RowIds;
use crate::checker::timeline::Timeline;
use crate::history::RowId;
use crate::verdict::Finding;

/// The state of the replay, and what it found.
pub(super) struct Judge<'a, 't> {
    pub(super) ctx: &'t Context<'a>,
    pub(super) timeline: &'t Timeline<'a>,
    pub(super) layouts: &'t [Layout<'a>],
    pub(super) records: &'t Records<'a>,
    pub(super) discipline: Discipline,
    pub(super) rows: Vec<State>,
    pub(super) ids: RowIds<'a>,
    /// Each device's client id.
    pub(super) clients: Vec<&'a str>,
    /// For each exclusive invariant, the rows that are running.
    pub(super) running: Vec<BTreeSet<RowId>>,
    /// Transactions that an answer called committed though the feed has no commit of them.
    pub(super) claimed: BTreeSet<(u32, i64)>,
    pub(super) installations: Installations,
    /// How many judgements there were.
    pub(super) judgements: usize,
    pub(super) finding: Finding,
    pub(super) stats: Stats,
}

impl<'a, 't> Judge<'a, 't> {
    pub(super) fn new(
        ctx: &'t Context<'a>,
        timeline: &'t Timeline<'a>,
        layouts: &'t [Layout<'a>],
        records: &'t Records<'a>,
    ) -> Self {
        let names = &ctx.history.rows;
        Self {
            ctx,
            timeline,
            layouts,
            records,
            discipline: Discipline::of(&ctx.history.header.policy),
            rows: names.iter().map(|_| State::default()).collect(),
            ids: RowIds::new(ctx.history),
            clients: ctx.history.header.devices.iter().map(|device| device.client_id.as_str()).collect(),
            running: vec![BTreeSet::new(); ctx.app.policy.exclusives.len()],
            claimed: BTreeSet::new(),
            installations: Installations::of(ctx.history),
            judgements: 0,
            finding: Finding::default(),
            stats: Stats::default(),
        }
    }

    /// The row that operations on this one act on.
    pub(super) fn target(&self, row: RowId) -> RowId {
        self.ids.survivor(row)
    }

    /// The row of the table with this id, aliases followed.
    pub(super) fn find(&self, table: usize, id: &str) -> Option<RowId> {
        self.ids.find(table, id)
    }

    pub(super) fn table(&self, row: RowId) -> usize {
        self.ctx.history.rows[row as usize].table
    }

    pub(super) fn layout(&self, row: RowId) -> &'t Layout<'a> {
        &self.layouts[self.table(row)]
    }

    /// Whether the device of a write had seen another when it wrote.
    pub(super) fn saw(&self, at: &JudgedTx<'_>, row: RowId, other: &Write) -> bool {
        if other.device == at.device {
            return other.event <= at.tx_event;
        }
        if self.installations.has_seen(at.device, other.device, other.event) {
            return true;
        }
        other.seq <= self.timeline.seen_row(at.device, at.tx_event, row)
    }

    pub(super) fn overridden(&mut self, rule: &str) {
        count(&mut self.stats.overridden, rule, 1);
    }
}
