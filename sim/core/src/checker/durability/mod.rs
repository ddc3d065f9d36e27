//! Durability: every accepted write is effective, lawfully overridden and on record, refused with the outcome
//! delivered, or lost with its device.
//!
//! The checker replays the change feed and follows each register (a column, or a column group) from writer to
//! writer. At each commit it asks of every operation of the uploading transaction: does its effect stand in the
//! feed? If not, or if it replaced a value that its device had not seen: does the declared rule, applied here to the
//! two writes, pick the same winner, and does a conflict record name loser, winner, column and rule? What changed
//! without any operation, and what was accepted but never reached a commit or a refusal, is lost.
//!
//! It restates the rules and shares no code with the backend or with the model. Where the contract leaves a choice
//! (which stamp a value gets that two devices wrote alike, what a tombstone's stamp is to the microsecond), every
//! choice is lawful here; the policy checker holds the backend to one. Values, not outcomes, are the evidence: an
//! answer is only ever tested against the feed.
//!
//! In reading order: [`registers`] what resolves as one, [`edit`] what a transaction means to do to a row, [`state`]
//! what the server holds and who wrote it, [`records`] who says that a write lost; [`commits`] the replay, [`rows`]
//! inserts and rows that return, [`deletes`] deletes and tombstones, [`merge`] one register, [`joins`] counters and
//! sets, [`structure`] parents, trees and leaders, [`lawful`] which loss the rule allows; [`ends`] what
//! never reached a commit; [`report`] the words.
//!
//! What it does not judge: the clock column (a stamp, no edit), whether a refusal was justified and whether values
//! that the server generates are right (policy), a second commit of one transaction (exactly-once).

mod commits;
mod deletes;
mod edit;
mod ends;
mod joins;
mod lawful;
mod merge;
mod records;
mod registers;
mod report;
mod rows;
mod state;
mod structure;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::Context;
use super::lives::Lives;
use super::timeline::Timeline;
use crate::history::{RowId, Scope, What, Who};
use crate::verdict::Finding;

pub(super) use edit::members;
use lawful::Discipline;
use records::Records;
use registers::{Layout, layouts};
use state::{State, Write};

/// What became of the accepted writes, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accepted operations.
    pub accepted: u64,
    /// Operations whose transaction was refused, with the outcome delivered.
    pub refused: u64,
    /// Operations that were lost with their device's storage before any attempt to upload them was answered.
    pub lost_with_device: u64,
    /// Accepted writes that were overridden lawfully by a write that had not seen them, or that they had not seen,
    /// by rule: `latest`, `deleted`, `revived`, `max`, `keep-server`, `cycle`, `exclusive`, `alias`, `cascade`,
    /// `parent-missing`, or the policy's name.
    pub overridden: BTreeMap<String, u64>,
    /// Accepted writes that joined with writes that they had not seen, by rule: `counter`, `set`. Nothing is lost.
    pub merged: BTreeMap<String, u64>,
    /// Pairs of concurrent writes by kind: `column`, `group`, `counter`, `set`, `delete`, `unique`, `parent`,
    /// `exclusive`; and `row`: writes of different registers of one row.
    pub concurrent: BTreeMap<String, u64>,
    /// Pairs of concurrent writes of one register: neither device had seen the other's.
    pub conflicts: u64,
}

/// Judges the history.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    examine(ctx, timeline).0
}

/// Judges the history, and counts.
#[must_use]
pub fn examine(ctx: &Context<'_>, timeline: &Timeline<'_>) -> (Finding, Stats) {
    let layouts = layouts(ctx.app);
    let records = Records::of(ctx);
    let mut judge = Judge::new(ctx, timeline, &layouts, &records);
    judge.run();
    (judge.finding, judge.stats)
}

/// The replay.
struct Judge<'a, 't> {
    ctx: &'t Context<'a>,
    timeline: &'t Timeline<'a>,
    layouts: &'t [Layout<'a>],
    records: &'t Records<'a>,
    discipline: Discipline,
    rows: Vec<State>,
    /// (table, id, row), sorted.
    ids: Vec<(usize, &'a str, RowId)>,
    /// Losing row and survivor.
    aliases: BTreeMap<RowId, RowId>,
    /// Each device's client id.
    clients: Vec<&'a str>,
    /// For each exclusive invariant, the rows that are running.
    running: Vec<BTreeSet<RowId>>,
    /// Transactions that an answer called committed though the feed has no commit of them.
    claimed: BTreeSet<(u32, i64)>,
    lives: Lives,
    /// How many judgements there were.
    judgements: usize,
    finding: Finding,
    stats: Stats,
}

impl<'a, 't> Judge<'a, 't> {
    fn new(
        ctx: &'t Context<'a>,
        timeline: &'t Timeline<'a>,
        layouts: &'t [Layout<'a>],
        records: &'t Records<'a>,
    ) -> Self {
        let names = &ctx.history.rows;
        let mut ids: Vec<(usize, &str, RowId)> =
            (0..).zip(names).map(|(row, name)| (name.table, name.id.as_ref(), row)).collect();
        ids.sort_unstable();
        Self {
            ctx,
            timeline,
            layouts,
            records,
            discipline: Discipline::of(&ctx.history.header.policy),
            rows: names.iter().map(|_| State::default()).collect(),
            ids,
            aliases: BTreeMap::new(),
            clients: ctx.history.header.devices.iter().map(|device| device.client_id.as_str()).collect(),
            running: vec![BTreeSet::new(); ctx.app.policy.exclusives.len()],
            claimed: BTreeSet::new(),
            lives: Lives::of(ctx.history),
            judgements: 0,
            finding: Finding::default(),
            stats: Stats::default(),
        }
    }

    fn run(&mut self) {
        self.begin();
        for (event, entry) in self.ctx.history.events.iter().enumerate() {
            match (&entry.who, &entry.what) {
                (_, What::Commit(commit)) => self.commit(event, commit),
                (Who::Client(device), What::Upload(upload)) => self.answered(event, entry.at_us, *device, upload),
                _ => {}
            }
        }
        self.ends();
    }

    /// Rows that were there before the feed begins: those whose first change has an image before it, and those that
    /// no change names but somebody reads in the end.
    fn begin(&mut self) {
        let mut known = vec![false; self.rows.len()];
        for event in &self.ctx.history.events {
            match &event.what {
                What::Commit(commit) => {
                    for change in &commit.changes {
                        let Some(known) = known.get_mut(change.row as usize) else { continue };
                        if !*known {
                            *known = true;
                            self.set_live(change.row, change.before.clone());
                        }
                    }
                }
                What::Read { scope: Scope::Final, rows } => {
                    for (row, image) in rows {
                        if known.get(*row as usize) == Some(&false) && image.is_some() {
                            self.set_live(*row, image.clone());
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The row that operations on this one act on.
    fn target(&self, row: RowId) -> RowId {
        let mut at = row;
        // A chain is as long as the number of its merges; a circle cannot come from lawful merges.
        for _ in 0..self.aliases.len() {
            match self.aliases.get(&at) {
                Some(survivor) => at = *survivor,
                None => break,
            }
        }
        at
    }

    /// The row and every id that was merged into it: a record may name either.
    fn names_of(&self, row: RowId) -> Vec<RowId> {
        let mut names = vec![row];
        if !self.aliases.is_empty() {
            names.extend(self.aliases.keys().copied().filter(|losing| self.target(*losing) == row));
        }
        names
    }

    /// The row of the table with this id, aliases followed.
    fn find(&self, table: usize, id: &str) -> Option<RowId> {
        let index = self.ids.partition_point(|(at, known, _)| (*at, *known) < (table, id));
        self.ids.get(index).filter(|(at, known, _)| (*at, *known) == (table, id)).map(|(_, _, row)| self.target(*row))
    }

    fn table(&self, row: RowId) -> usize {
        self.ctx.history.rows[row as usize].table
    }

    fn layout(&self, row: RowId) -> &'t Layout<'a> {
        &self.layouts[self.table(row)]
    }

    /// Whether the device of a write had seen another when it wrote.
    fn saw(&self, at: &commits::At<'_>, row: RowId, other: &Write) -> bool {
        if other.device == at.device {
            return other.event <= at.tx_event;
        }
        if self.lives.has_seen(at.device, other.device, other.event) {
            return true;
        }
        other.seq <= self.timeline.seen_row(at.device, at.tx_event, row)
    }

    fn overridden(&mut self, rule: &str) {
        count(&mut self.stats.overridden, rule, 1);
    }
}

/// Adds to a named count.
pub(super) fn count(counts: &mut BTreeMap<String, u64>, name: &str, by: u64) {
    match counts.get_mut(name) {
        Some(count) => *count += by,
        None => drop(counts.insert(name.to_owned(), by)),
    }
}
