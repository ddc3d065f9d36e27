//! Which prefix of the server's commits each device shows at each moment, and where in the history things stand.
//!
//! Built once, in time linear in the history (times a logarithm), and shared by the checkers. A full apply should
//! leave a device with exactly the rows that its user sees after some commit: that commit is the device's *prefix*.
//! Where it does not, [`Applied::state`] says how, and the nearest commit stands in, so that one defect is
//! reported once and does not falsify every later judgement.

mod build;
mod partial;
mod screens;
#[cfg(test)]
mod tests;

pub use screens::written;

use std::collections::BTreeMap;

use fixtures::Row;

use self::partial::PartialView;
use super::view::{Version, View};
use crate::history::{Commit, History, LocalOp, LocalTx, Origin, RowId, What};

/// The analysis of a history that checkers share.
#[derive(Debug)]
pub struct Timeline<'a> {
    history: &'a History,
    /// (commit, its event), ascending.
    commits: Vec<(u64, usize)>,
    /// (origin, commit), sorted.
    origins: Vec<(Origin, u64)>,
    devices: Vec<Device>,
    /// The greatest commit that a full apply showed of each checkpoint, by the checkpoint's last operation.
    checkpoints: BTreeMap<u64, u64>,
    /// The server's rows, then what each distinct audience sees.
    views: Vec<View>,
    /// What each user sees of the buckets that a partial apply brings: by (user, priority).
    partial_views: BTreeMap<(usize, u32), PartialView>,
    /// How many columns each table has.
    widths: Vec<usize>,
    /// Why the rows that users should see are not known, if they are not.
    blind: Option<String>,
    flaws: Vec<String>,
    misread: Vec<(usize, RowId, Option<Row>)>,
}

/// What is known of one device.
#[derive(Debug, Default)]
struct Device {
    view: usize,
    /// The user, as `partial_views` counts them.
    user: usize,
    /// (op id, event, index in its transaction), sorted.
    ops: Vec<(i64, usize, usize)>,
    /// (transaction, event), sorted.
    txs: Vec<(i64, usize)>,
    /// (transaction, event), sorted.
    completed: Vec<(i64, usize)>,
    applied: Vec<Applied>,
    /// The commit that it shows before it has applied anything: 0, unless it began as a copy of another.
    start: u64,
    /// What partial applies showed of single rows: (event, commit), ascending by event.
    partial: BTreeMap<RowId, Vec<(usize, u64)>>,
}

/// What a device showed after one apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The apply's event.
    pub event: usize,
    /// `None`: a full apply.
    pub priority: Option<u32>,
    /// The greatest commit whose effects the device shows from here on (as far as full applies show).
    pub prefix: u64,
    /// Whether it showed what it should.
    pub state: State,
}

/// How the rows that a device shows after an apply relate to the server's.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// They are the server's after commit [`Applied::prefix`]; for a partial apply: each listed row is or was the server's.
    Prefix,
    /// They are the server's after that commit, but that commit came later than the apply.
    Future,
    /// They are the server's after that commit, which leaves out a commit of the device's own that it has completed.
    MissingOwn {
        /// The device's own commit.
        own: u64,
    },
    /// They are the server's after that commit, although the device had shown a later one already.
    Back {
        /// What it had shown.
        from: u64,
    },
    /// They differ from the server's exactly as they did before; nothing new is wrong.
    Repeated,
    /// They are the server's after no commit at all.
    Wrong(Wrong),
    /// A partial apply after which the rows of the buckets that it brought are the server's after no commit: some are
    /// newer than others of the same buckets. They differ from the server's after the commit `at`.
    Torn {
        /// The newest commit that one of them shows.
        at: u64,
        /// The rows that are not as after that commit.
        wrong: Wrong,
    },
    /// It is not known, because the sync config is not understood.
    Unknown,
}

/// A state that the server never had.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrong {
    /// Some of the rows that differ from the server's after [`Applied::prefix`], ascending.
    pub rows: Vec<Differing>,
    /// How many rows differ.
    pub count: usize,
}

/// A row that is not as the server has it after a given commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Differing {
    /// The row.
    pub row: RowId,
    /// What the device shows, where that is known; `None` in it: absent.
    pub shown: Option<Option<Row>>,
    /// The commit after which the server's row first was as shown, if it ever was (0: before the first).
    pub shown_since: Option<u64>,
    /// The commit that made the server's row what it is after the prefix (0: before the first).
    pub expected_since: u64,
}

impl<'a> Timeline<'a> {
    /// The history that this is an analysis of.
    #[must_use]
    pub fn history(&self) -> &'a History {
        self.history
    }

    /// The last commit; 0 if there is none.
    #[must_use]
    pub fn last_commit(&self) -> u64 {
        self.commits.last().map_or(0, |(seq, _)| *seq)
    }

    /// Every commit with its event, ascending.
    pub fn commits(&self) -> impl Iterator<Item = (usize, &'a Commit)> {
        self.commits.iter().map(|(_, event)| (*event, commit_in(self.history, *event)))
    }

    /// The commit with this number.
    #[must_use]
    pub fn commit(&self, seq: u64) -> Option<&'a Commit> {
        self.commit_event(seq).map(|event| commit_in(self.history, event))
    }

    /// The event of the commit with this number.
    #[must_use]
    pub fn commit_event(&self, seq: u64) -> Option<usize> {
        self.commits.binary_search_by_key(&seq, |(seq, _)| *seq).ok().map(|index| self.commits[index].1)
    }

    /// The last commit before this event; 0 if there is none.
    #[must_use]
    pub fn committed_before(&self, event: usize) -> u64 {
        let index = self.commits.partition_point(|(_, at)| *at < event);
        index.checked_sub(1).map_or(0, |index| self.commits[index].0)
    }

    /// The commits of a device's transaction, ascending: one, none if it was refused, more if it was applied twice.
    #[must_use]
    pub fn commit_of(&self, device: u32, tx_id: i64) -> Vec<u64> {
        self.commits_of(device, tx_id).collect()
    }

    /// As [`Timeline::commit_of`], without a list.
    pub fn commits_of(&self, device: u32, tx_id: i64) -> impl Iterator<Item = u64> {
        let from = self.origins.partition_point(|(origin, _)| (origin.device, origin.tx_id) < (device, tx_id));
        let wanted = Origin { device, tx_id };
        self.origins[from..].iter().take_while(move |(origin, _)| *origin == wanted).map(|(_, seq)| *seq)
    }

    /// The event of a device's local transaction.
    #[must_use]
    pub fn local_tx(&self, device: u32, tx_id: i64) -> Option<usize> {
        let txs = &self.devices.get(device as usize)?.txs;
        first(txs, |(id, _)| *id < tx_id).filter(|(id, _)| *id == tx_id).map(|(_, event)| *event)
    }

    /// The event at which a device removed the transaction from its queue.
    #[must_use]
    pub fn completed(&self, device: u32, tx_id: i64) -> Option<usize> {
        let completed = &self.devices.get(device as usize)?.completed;
        first(completed, |(id, _)| *id < tx_id).filter(|(id, _)| *id == tx_id).map(|(_, event)| *event)
    }

    /// A device's operation, its transaction, and that transaction's event.
    #[must_use]
    pub fn op(&self, device: u32, op_id: i64) -> Option<(&'a LocalOp, &'a LocalTx, usize)> {
        let ops = &self.devices.get(device as usize)?.ops;
        let (id, event, index) = *first(ops, |(id, _, _)| *id < op_id)?;
        let What::Tx(tx) = &self.history.events[event].what else { return None };
        tx.ops.get(index).filter(|_| id == op_id).map(|op| (op, tx, event))
    }

    /// The server's row after a commit.
    #[must_use]
    pub fn row_at(&self, row: RowId, seq: u64) -> Option<&Row> {
        self.views[0].row_at(row, seq)
    }

    /// Every version of the server's row, ascending.
    #[must_use]
    pub fn versions(&self, row: RowId) -> &[Version] {
        self.views[0].versions(row)
    }

    /// The server's rows.
    #[must_use]
    pub fn server(&self) -> &View {
        &self.views[0]
    }

    /// What a device should see; the server's rows while [`Timeline::blind`].
    #[must_use]
    pub fn view(&self, device: u32) -> &View {
        &self.views[self.devices.get(device as usize).map_or(0, |device| device.view)]
    }

    /// Why it is not known which rows users should see, if it is not: the sync config asks for something that
    /// `Visibility` does not know. Prefixes are then only what single rows show.
    #[must_use]
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// Contradictions within the change feed itself.
    #[must_use]
    pub fn flaws(&self) -> &[String] {
        &self.flaws
    }

    /// Reads on a device that did not show what it had applied and written: (event, row, what it should have shown).
    #[must_use]
    pub fn misread(&self) -> &[(usize, RowId, Option<Row>)] {
        &self.misread
    }

    /// A device's applies, in order.
    #[must_use]
    pub fn applied(&self, device: u32) -> &[Applied] {
        self.devices.get(device as usize).map_or(&[], |device| &device.applied)
    }

    /// The greatest commit whose effects the device's synced rows include just before this event; 0: none.
    #[must_use]
    pub fn seen(&self, device: u32, event: usize) -> u64 {
        let applied = self.applied(device);
        let start = self.devices.get(device as usize).map_or(0, |device| device.start);
        applied
            .partition_point(|applied| applied.event < event)
            .checked_sub(1)
            .map_or(start, |index| applied[index].prefix)
    }

    /// As [`Timeline::seen`], for one row: a partial apply may have shown more of it than of the others.
    #[must_use]
    pub fn seen_row(&self, device: u32, event: usize, row: RowId) -> u64 {
        let seen = self.seen(device, event);
        let partial = self.devices.get(device as usize).and_then(|device| device.partial.get(&row));
        partial.map_or(seen, |partial| {
            let index = partial.partition_point(|(at, _)| *at < event);
            index.checked_sub(1).map_or(seen, |index| seen.max(partial[index].1))
        })
    }

    /// The first full apply at which the device shows the effects of this commit.
    #[must_use]
    pub fn shown_at(&self, device: u32, seq: u64) -> Option<usize> {
        let applied = self.applied(device);
        // Prefixes ascend, except for defects, which other checkers report.
        let index = applied.partition_point(|applied| applied.prefix < seq);
        applied.get(index).filter(|applied| applied.prefix >= seq).map(|applied| applied.event)
    }
}

pub(super) fn commit_in(history: &History, event: usize) -> &Commit {
    match &history.events[event].what {
        What::Commit(commit) => commit,
        _ => unreachable!("only events of commits are indexed as commits"),
    }
}

fn first<T>(sorted: &[T], before: impl FnMut(&T) -> bool) -> Option<&T> {
    sorted.get(sorted.partition_point(before))
}
