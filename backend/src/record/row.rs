//! What the backend stores about one row: its columns, when and by whom each register was written, its tombstone.

use std::sync::Arc;

use fixtures::{Row, Value};

use crate::record::author::{Author, Writer};
use crate::rules::Register;

/// What is stored under an id.
#[derive(Clone, Debug)]
pub enum Stored {
    /// A live row.
    Live(StoredRow),
    /// A row that was deleted through the backend, less than the retention ago.
    Deleted(Arc<Tombstone>),
    /// Neither a row nor a tombstone.
    Absent,
}

impl Stored {
    /// The live row.
    #[must_use]
    pub fn live(&self) -> Option<&StoredRow> {
        match self {
            Self::Live(row) => Some(row),
            _ => None,
        }
    }
}

/// A live row.
#[derive(Clone, Debug)]
pub struct StoredRow {
    /// Its columns.
    pub row: Row,
    /// Its stamps; `None` for rows that the backend never wrote.
    pub meta: Option<Arc<RowMeta>>,
}

/// What schema `sync_backend` holds about a live row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowMeta {
    /// One stamp for each register.
    pub stamps: Vec<Option<Stamp>>,
    /// The row as the backend last wrote it. A register that differs now was written by a write that bypassed the backend.
    pub written: Row,
    /// Columns that still hold the default from the row's own insert.
    pub defaulted: Vec<usize>,
    /// When the server last received a heartbeat: (exclusive invariant, time).
    pub heartbeats: Vec<(usize, i64)>,
}

/// When and by whom a register was last written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// The stamp that later writes are compared with, in microseconds since the epoch.
    pub at_us: i64,
    /// The operation that wrote the value.
    pub writer: Arc<Writer>,
    /// For a counter or a set: the last [`CONTRIBUTIONS_MAX`] operations that the value is the sum of, oldest first, each
    /// with the value that it left. All of them are overridden when the value is. Empty if `writer` alone made the value.
    pub contributions: Vec<(Arc<Writer>, Value)>,
}

/// The greatest number of operations that a merged value is attributed to.
pub const CONTRIBUTIONS_MAX: usize = 32;

/// What the backend keeps of a deleted row.
#[derive(Clone, Debug)]
pub struct Tombstone {
    /// The stamp of the deletion.
    pub at_us: i64,
    /// When it was received: retention starts here.
    pub received_us: i64,
    /// The operation that deleted it.
    pub writer: Arc<Writer>,
    /// The row at deletion.
    pub image: Row,
    /// Its stamps at deletion.
    pub meta: Option<Arc<RowMeta>>,
}

impl Stamp {
    /// A value made by one operation.
    #[must_use]
    pub fn new(at_us: i64, writer: Arc<Writer>) -> Self {
        Self { at_us, writer, contributions: Vec::new() }
    }
}

impl RowMeta {
    /// Metadata of a row in which nothing is known about any register.
    #[must_use]
    pub fn unknown(registers: usize, row: &Row) -> Self {
        Self { stamps: vec![None; registers], written: row.clone(), defaulted: Vec::new(), heartbeats: Vec::new() }
    }

    /// When the heartbeat of an exclusive invariant was last received.
    #[must_use]
    pub fn heartbeat_us(&self, exclusive: usize) -> Option<i64> {
        self.heartbeats.iter().find(|(index, _)| *index == exclusive).map(|(_, at_us)| *at_us)
    }

    /// Records a heartbeat.
    pub fn record_heartbeat(&mut self, exclusive: usize, at_us: i64) {
        match self.heartbeats.iter_mut().find(|(index, _)| *index == exclusive) {
            Some(entry) => entry.1 = at_us,
            None => self.heartbeats.push((exclusive, at_us)),
        }
    }

    /// Records that the backend wrote this value to a column.
    pub(crate) fn set_written(&mut self, column: usize, value: &Value) {
        if self.written[column] != *value {
            let mut written = self.written.to_vec();
            written[column] = value.clone();
            self.written = written.into();
        }
    }
}

impl StoredRow {
    /// Its metadata, or empty metadata for a table with this many registers.
    #[must_use]
    pub(crate) fn meta_or_unknown(&self, registers: usize) -> RowMeta {
        match &self.meta {
            Some(meta) => RowMeta::clone(meta),
            None => RowMeta::unknown(registers, &self.row),
        }
    }

    /// The stamp of a register.
    #[must_use]
    pub fn stamp(&self, register: usize) -> Option<&Stamp> {
        self.meta.as_ref()?.stamps.get(register)?.as_ref()
    }

    /// Whether the column still holds the default that the row's own insert filled in.
    #[must_use]
    pub fn is_defaulted(&self, column: usize) -> bool {
        self.meta
            .as_ref()
            .is_some_and(|meta| meta.defaulted.contains(&column) && meta.written[column] == self.row[column])
    }

    /// Who wrote the present value of a register.
    #[must_use]
    pub fn author(&self, register: usize, columns: &[usize]) -> Author {
        let bypassed = |meta: &Arc<RowMeta>| columns.iter().any(|c| meta.written[*c] != self.row[*c]);
        match (&self.meta, self.stamp(register)) {
            (Some(meta), Some(stamp)) if !bypassed(meta) => Author::Client(stamp.writer.clone()),
            _ => Author::Server,
        }
    }

    /// The authors in a register whose writes an operation overrides without having seen them. `base` is the value that
    /// it had seen, if it recorded one.
    #[must_use]
    pub fn unseen_authors(
        &self,
        index: usize,
        register: &Register,
        base: Option<&Value>,
        writer: &Writer,
    ) -> Vec<Author> {
        let author = self.author(index, &register.columns);
        let contributions = match (&author, self.stamp(index)) {
            (Author::Client(_), Some(stamp)) => stamp.contributions.as_slice(),
            _ => &[],
        };
        if contributions.is_empty() {
            return if author.is_earlier_of(writer) { Vec::new() } else { vec![author] };
        }
        // The base is a value that was stored here, plus the writer's own effects, which arrived later.
        let seen_if = |is_own: &dyn Fn(&Writer) -> bool| -> usize {
            let Some(base) = base else { return 0 };
            let mut own = 0_i64;
            let seen = (0..contributions.len()).rev().find(|at| {
                let (contributor, value) = &contributions[*at];
                let matches = match (value.as_int(), base.as_int()) {
                    (Some(value), Some(base)) => value.checked_add(own) == Some(base),
                    _ => register.holds_same(value, base),
                };
                if is_own(contributor)
                    && let Some(before) = at.checked_sub(1).and_then(|before| contributions[before].1.as_int())
                    && let Some(value) = value.as_int()
                {
                    own = own.saturating_add(value.saturating_sub(before));
                }
                matches
            });
            seen.map_or(0, |seen| seen + 1)
        };
        // A restored copy holds what its database had made before, and the wire does not say how much of it. Where the two
        // readings differ, the one that has seen less decides: a record too many hurts nobody.
        let seen = seen_if(&|contributor| contributor.is_same_client(writer))
            .min(seen_if(&|contributor| contributor.is_same_installation(writer)));
        contributions[seen..]
            .iter()
            .map(|(contributor, _)| Author::Client(contributor.clone()))
            .filter(|contributor| !contributor.is_earlier_of(writer))
            .collect()
    }

    /// The authors whose effects are in a register.
    #[must_use]
    pub fn authors(&self, index: usize, register: &Register) -> Vec<Author> {
        match (self.author(index, &register.columns), self.stamp(index)) {
            (Author::Client(_), Some(stamp)) if !stamp.contributions.is_empty() => {
                stamp.contributions.iter().map(|(contributor, _)| Author::Client(contributor.clone())).collect()
            }
            (author, _) => vec![author],
        }
    }

    /// The greatest stamp in the row.
    #[must_use]
    pub fn last_stamp_us(&self) -> Option<i64> {
        self.meta.as_ref()?.stamps.iter().flatten().map(|stamp| stamp.at_us).max()
    }

    /// A column's value.
    #[must_use]
    pub fn value(&self, column: usize) -> &Value {
        &self.row[column]
    }
}
