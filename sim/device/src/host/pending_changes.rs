//! What the next apply may change: the rows that lines of the stream and local writes have touched since the last one.

use std::collections::BTreeSet;
use std::sync::Arc;

use fixtures::App;

use super::stream_line::{Checkpoint, StreamLine};

/// What the host remembers of the stream since the last full apply.
pub(super) struct PendingChanges {
    touched: BTreeSet<(usize, Arc<str>)>,
    /// Rows may change that are not in `touched`.
    is_unknown: bool,
    /// The buckets that the stream has named: rows of one that is gone vanish without a line about them.
    buckets: BTreeSet<Box<str>>,
    checkpoint_op: u64,
    write_checkpoint: Option<u64>,
    first_arrival_us: Option<i64>,
}

impl PendingChanges {
    /// On a database that is not fresh it is unknown what was touched before the app started.
    pub(super) fn new(is_fresh: bool) -> Self {
        Self {
            touched: BTreeSet::new(),
            is_unknown: !is_fresh,
            buckets: BTreeSet::new(),
            checkpoint_op: 0,
            write_checkpoint: None,
            first_arrival_us: None,
        }
    }

    /// A row was written locally.
    pub(super) fn touch(&mut self, table: usize, id: Arc<str>) {
        self.touched.insert((table, id));
    }

    /// A line arrived.
    pub(super) fn note(&mut self, app: &App, line: &StreamLine<'_>, now_us: i64) {
        match line {
            StreamLine::Data(ops) => {
                self.first_arrival_us.get_or_insert(now_us);
                for op in ops {
                    match (&op.object_type, &op.object_id) {
                        (Some(table), Some(id)) if matches!(&*op.op, "PUT" | "REMOVE") => {
                            if let Some(table) = app.schema.table_index(table) {
                                self.touched.insert((table, Arc::from(&**id)));
                            }
                        }
                        _ => self.is_unknown |= op.op == "CLEAR",
                    }
                }
            }
            StreamLine::Checkpoint(checkpoint) => {
                let is_named = |known: &str| checkpoint.buckets.iter().any(|named| *named.bucket == *known);
                self.is_unknown |= self.buckets.iter().any(|known| !is_named(known));
                self.buckets.clear();
                self.note_checkpoint(checkpoint);
            }
            StreamLine::CheckpointDiff(checkpoint) => self.note_checkpoint(checkpoint),
            StreamLine::PartialComplete { .. } | StreamLine::Other => {}
        }
    }

    fn note_checkpoint(&mut self, checkpoint: &Checkpoint<'_>) {
        self.checkpoint_op = checkpoint.last_op_id.parse().unwrap_or(0);
        self.write_checkpoint = checkpoint.write_checkpoint.as_ref().and_then(|number| number.parse().ok());
        self.is_unknown |= !checkpoint.removed_buckets.is_empty();
        for named in &checkpoint.buckets {
            if !self.buckets.contains(&*named.bucket) {
                self.buckets.insert(Box::from(&*named.bucket));
            }
        }
    }

    /// The stream was closed: the next one may bring less than the core already has.
    pub(super) fn forget(&mut self) {
        self.is_unknown = true;
    }

    /// Whether rows may change that [`Self::touched`] does not name.
    pub(super) fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// The rows that were touched; a full apply takes them, a partial one leaves them for it.
    pub(super) fn touched(&mut self, is_full: bool) -> BTreeSet<(usize, Arc<str>)> {
        if is_full { std::mem::take(&mut self.touched) } else { self.touched.clone() }
    }

    /// A full apply has changed everything that was pending.
    pub(super) fn clear(&mut self) {
        self.is_unknown = false;
        self.touched.clear();
    }

    /// The last checkpoint's last op id.
    pub(super) fn checkpoint_op(&self) -> u64 {
        self.checkpoint_op
    }

    /// The write checkpoint that the last checkpoint carried.
    pub(super) fn write_checkpoint(&self) -> Option<u64> {
        self.write_checkpoint
    }

    /// When the first data line since the last apply arrived.
    pub(super) fn take_first_arrival_us(&mut self) -> Option<i64> {
        self.first_arrival_us.take()
    }
}
