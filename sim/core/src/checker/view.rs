//! A view: what one user should see after each commit, and the commits after which it looks like a given state.
//!
//! A state's hash is the sum of its rows' hashes, so that a change of one row changes it in constant time, and a
//! device's state is looked up among all states of the server instead of being compared with each.

use std::cell::OnceCell;

use fixtures::Row;

use crate::history::RowId;
use crate::row_hash::row_hash;

/// A row from one commit on.
#[derive(Clone, Debug)]
pub struct Version {
    /// The commit.
    pub seq: u64,
    /// The row's hash; 0 when it is absent.
    pub hash: u64,
    /// The row; `None`: it is absent.
    pub row: Option<Row>,
}

/// What one user should see after each commit.
#[derive(Debug, Default)]
pub struct View {
    versions: Vec<Vec<Version>>,
    /// The state's hash after each commit that changed it, ascending by commit.
    states: Vec<(u64, u64)>,
    /// (hash, commit), sorted.
    by_state: Vec<(u64, u64)>,
    /// (row, hash, commit), sorted; built when first asked for.
    by_image: OnceCell<Vec<(RowId, u64, u64)>>,
}

impl View {
    pub(super) fn new(rows: usize) -> Self {
        Self { versions: vec![Vec::new(); rows], ..Self::default() }
    }

    /// Records a commit: what its rows are after it. Commits come in ascending order.
    pub(super) fn commit<'r>(&mut self, seq: u64, changes: impl Iterator<Item = (RowId, Option<&'r Row>)>) {
        let mut state = self.states.last().map_or(0, |(_, hash)| *hash);
        for (row, image) in changes {
            let Some(versions) = self.versions.get_mut(row as usize) else { continue };
            let hash = row_hash(row, image);
            state = state.wrapping_sub(versions.last().map_or(0, |version| version.hash)).wrapping_add(hash);
            let version = Version { seq, hash, row: image.cloned() };
            match versions.last_mut() {
                Some(last) if last.seq == seq => *last = version,
                _ => versions.push(version),
            }
        }
        if self.states.last().map_or(0, |(_, hash)| *hash) != state {
            self.states.push((seq, state));
        }
    }

    pub(super) fn seal(&mut self) {
        self.by_state = self.states.iter().map(|(seq, hash)| (*hash, *seq)).collect();
        self.by_state.push((0, 0));
        self.by_state.sort_unstable();
    }

    /// Every version of the row, ascending; it is absent before the first.
    #[must_use]
    pub fn versions(&self, row: RowId) -> &[Version] {
        self.versions.get(row as usize).map_or(&[], Vec::as_slice)
    }

    /// The version that holds after this commit.
    #[must_use]
    pub fn version_at(&self, row: RowId, seq: u64) -> Option<&Version> {
        let versions = self.versions(row);
        versions.partition_point(|version| version.seq <= seq).checked_sub(1).map(|index| &versions[index])
    }

    /// The row after this commit.
    #[must_use]
    pub fn row_at(&self, row: RowId, seq: u64) -> Option<&Row> {
        self.version_at(row, seq).and_then(|version| version.row.as_ref())
    }

    pub(super) fn hash_at(&self, row: RowId, seq: u64) -> u64 {
        self.version_at(row, seq).map_or(0, |version| version.hash)
    }

    /// The hash of the whole state after this commit.
    pub(super) fn state_at(&self, seq: u64) -> u64 {
        self.states.partition_point(|(at, _)| *at <= seq).checked_sub(1).map_or(0, |index| self.states[index].1)
    }

    /// The first commit from `floor` on after which the whole state has this hash.
    pub(super) fn find(&self, hash: u64, floor: u64) -> Option<u64> {
        if self.state_at(floor) == hash {
            return Some(floor);
        }
        let index = self.by_state.partition_point(|entry| *entry < (hash, floor));
        self.by_state.get(index).filter(|entry| entry.0 == hash).map(|entry| entry.1)
    }

    /// The last commit before `ceiling` after which the whole state had this hash.
    pub(super) fn find_before(&self, hash: u64, ceiling: u64) -> Option<u64> {
        let index = self.by_state.partition_point(|entry| *entry < (hash, ceiling)).checked_sub(1)?;
        Some(self.by_state[index]).filter(|entry| entry.0 == hash).map(|entry| entry.1)
    }

    /// The last commit up to `ceiling` until which the state stays as it is after `seq`.
    pub(super) fn unchanged_until(&self, seq: u64, ceiling: u64) -> u64 {
        let next = self.states.partition_point(|(at, _)| *at <= seq);
        self.states.get(next).map_or(ceiling, |(at, _)| ceiling.min(at - 1)).max(seq)
    }

    /// The first commit from `floor` on after which the row has this hash.
    pub(super) fn find_image(&self, row: RowId, hash: u64, floor: u64) -> Option<u64> {
        if self.hash_at(row, floor) == hash {
            return Some(floor);
        }
        let images = self.by_image.get_or_init(|| {
            let mut images = Vec::new();
            for (row, versions) in (0..).zip(&self.versions) {
                images.extend(versions.iter().map(|version| (row, version.hash, version.seq)));
            }
            images.sort_unstable();
            images
        });
        let index = images.partition_point(|entry| *entry < (row, hash, floor));
        images.get(index).filter(|entry| (entry.0, entry.1) == (row, hash)).map(|entry| entry.2)
    }

    /// Each row that is visible after this commit, ascending.
    pub fn rows_at(&self, seq: u64) -> impl Iterator<Item = (RowId, &Row)> {
        (0..).zip(&self.versions).filter_map(move |(row, _)| self.row_at(row, seq).map(|image| (row, image)))
    }
}
