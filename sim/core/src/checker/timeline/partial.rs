//! What partial applies should show. A partial apply of priority p brings a user's buckets of priorities up to p to one
//! checkpoint, so the rows that are in these buckets alone must be the server's after one commit. Only deletes may wait:
//! the sync core carries them out with the next full apply, as its authors intend
//! (<https://github.com/powersync-ja/powersync-sqlite-core/pull/179>).

use std::collections::{BTreeMap, BTreeSet};

use fixtures::Row;

use super::{Differing, Timeline, Wrong};
use crate::checker::view::View;
use crate::checker::visibility::Visibility;
use crate::history::{RowId, What};

/// Later commits that are tried when a row shows a value that it had twice: each of them must bring back an old value.
const LATER_TRIED: usize = 32;

/// What a user sees through the buckets up to a priority.
#[derive(Debug)]
pub(super) struct PartialView {
    /// Which rows are in no bucket of a lower rank, at any time: by row.
    rows: Vec<bool>,
    view: View,
    /// Where one of these rows changes: (commit, row), sorted.
    changes: Vec<(u64, RowId)>,
}

/// What a device shows at a partial apply.
pub(super) struct Shown<'a> {
    /// The commit of its last full apply.
    pub(super) prefix: u64,
    /// The hash of each row.
    pub(super) hashes: &'a [u64],
    /// Rows that changed since its last full apply.
    pub(super) changed: &'a BTreeMap<RowId, Option<Row>>,
    /// Rows that it wrote itself since then: until the next full apply they may show a write that was refused.
    pub(super) own: &'a BTreeSet<RowId>,
}

impl Shown<'_> {
    fn hash(&self, row: RowId) -> u64 {
        self.hashes.get(row as usize).copied().unwrap_or(0)
    }
}

impl PartialView {
    fn contains(&self, row: RowId) -> bool {
        self.rows.get(row as usize).copied().unwrap_or(false)
    }

    /// The rows to compare at commit `seq`, with repeats.
    fn rows_to_compare<'a>(&'a self, shown: &'a Shown<'_>, seq: u64) -> impl Iterator<Item = RowId> + 'a {
        let from = self.changes.partition_point(|(at, _)| *at <= shown.prefix);
        let changed = self.changes[from..].iter().take_while(move |(at, _)| *at <= seq).map(|(_, row)| *row);
        let rows = changed.chain(shown.changed.keys().copied().filter(|row| self.contains(*row)));
        rows.filter(|row| !shown.own.contains(row))
    }

    /// Whether the row is not as after the commit, and not merely waiting to be deleted.
    fn differs(&self, shown: &Shown<'_>, row: RowId, seq: u64) -> bool {
        let expected = self.view.hash_at(row, seq);
        expected != 0 && expected != shown.hash(row)
    }
}

impl Timeline<'_> {
    pub(super) fn build_partial_views(&mut self, visibility: &Visibility, users: &[&str]) {
        let priorities: BTreeSet<u32> = (self.history.events.iter())
            .filter_map(|event| match &event.what {
                What::Apply(apply) => apply.priority,
                _ => None,
            })
            .collect();
        for priority in priorities {
            let brought = self.views_of(&visibility.of_priorities(|one| one <= priority), users);
            let others = self.views_of(&visibility.of_priorities(|one| one > priority), users);
            for (user, (view, other)) in brought.into_iter().zip(others).enumerate() {
                let rows = (0..).take(self.history.rows.len());
                let rows: Vec<bool> =
                    rows.map(|row| !view.versions(row).is_empty() && other.versions(row).is_empty()).collect();
                let mut changes: Vec<(u64, RowId)> = (0..)
                    .zip(&rows)
                    .filter(|(_, is_in)| **is_in)
                    .flat_map(|(row, _)| view.versions(row).iter().map(move |version| (version.seq, row)))
                    .collect();
                changes.sort_unstable();
                self.partial_views.insert((user, priority), PartialView { rows, view, changes });
            }
        }
    }

    /// Whether the row is in buckets up to the priority alone, for the device's user.
    #[must_use]
    pub fn brings(&self, device: u32, priority: u32, row: RowId) -> bool {
        let user = self.devices.get(device as usize).map_or(0, |device| device.user);
        self.partial_views.get(&(user, priority)).is_some_and(|partial| partial.contains(row))
    }

    /// What is torn after a partial apply: the newest commit that a row of its buckets shows, and the rows that are not
    /// as after that commit, at most `described_max` of them.
    pub(super) fn torn(
        &self,
        device: u32,
        priority: u32,
        shown: &Shown<'_>,
        described_max: usize,
    ) -> Option<(u64, Wrong)> {
        let partial = self.partial_views.get(&(self.devices[device as usize].user, priority))?;
        let mut newest = shown.prefix;
        for row in partial.rows_to_compare(shown, shown.prefix) {
            // A row that shows what never was, or what is older than the last full apply, is reported as that.
            newest = newest.max(partial.view.find_image(row, shown.hash(row), shown.prefix)?);
        }
        let is_whole = |seq: u64| partial.rows_to_compare(shown, seq).all(|row| !partial.differs(shown, row, seq));
        let later = partial.changes.partition_point(|(at, _)| *at <= newest);
        let mut later: Vec<u64> = partial.changes[later..].iter().map(|(at, _)| *at).take(LATER_TRIED).collect();
        later.dedup();
        if std::iter::once(newest).chain(later).any(is_whole) {
            return None;
        }
        let rows: BTreeSet<RowId> =
            partial.rows_to_compare(shown, newest).filter(|row| partial.differs(shown, *row, newest)).collect();
        let described = rows.iter().take(described_max).map(|row| Differing {
            row: *row,
            shown: None,
            shown_since: partial.view.find_image(*row, shown.hash(*row), 0),
            expected_since: partial.view.version_at(*row, newest).map_or(0, |version| version.seq),
        });
        Some((newest, Wrong { rows: described.collect(), count: rows.len() }))
    }
}
