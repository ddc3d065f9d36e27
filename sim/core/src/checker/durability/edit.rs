//! What operations mean to do to one row, folded into one.
//!
//! Where the feed says whose effect each change is, an edit is one operation. Elsewhere (a backend that is not ours,
//! an answer without a commit) it is all of a transaction's operations on the row: each sees the one before, so the
//! net edit (first base, last value) says all that can be judged from the row's images before and after the commit.

use fixtures::Value;

use super::registers::Layout;
use crate::history::{LocalOp, Op, RowId};

/// The net edit of one row.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    /// The row that it acts on, aliases followed.
    pub(super) row: RowId,
    /// The row that the device named.
    pub(super) named: RowId,
    /// Whether the row is to be absent afterwards.
    pub(super) delete: bool,
    /// Whether it inserts (or inserts or replaces).
    pub(super) put: bool,
    /// Whether the transaction deleted the row before it wrote it again.
    pub(super) recreated: bool,
    /// Columns that it writes, or whose old value it knows.
    pub(super) cells: Vec<Cell<'a>>,
    /// The least clock of its operations, in microseconds since 1970.
    pub(super) clock_low: i64,
    /// The greatest.
    pub(super) clock_high: i64,
    /// Its last operation.
    pub(super) op_id: i64,
    /// How many operations it is folded from.
    pub(super) ops: usize,
    /// How many of them are inserts, since it was last deleted.
    pub(super) puts: usize,
}

/// One column of an edit.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    /// The column.
    pub(super) column: usize,
    /// Its value before, as the device saw it.
    pub(super) base: Option<&'a Value>,
    /// Its value after; `None`: it is not written.
    pub(super) new: Option<&'a Value>,
    /// What it was in between, where several operations wrote it: the base of each later one.
    pub(super) via: Vec<&'a Value>,
    /// Whether an insert wrote it: then there is no base to merge with.
    pub(super) blind: bool,
    /// The last operation that wrote it.
    pub(super) op_id: i64,
}

impl<'a> Edit<'a> {
    pub(super) fn new(row: RowId, named: RowId) -> Self {
        Self {
            row,
            named,
            delete: false,
            put: false,
            recreated: false,
            cells: Vec::new(),
            clock_low: i64::MAX,
            clock_high: i64::MIN,
            op_id: 0,
            ops: 0,
            puts: 0,
        }
    }

    /// Adds the row's next operation of the same transaction.
    pub(super) fn fold(&mut self, op: &'a LocalOp, layout: &Layout<'_>, received_us: i64) {
        let sent = layout.clock.and_then(|clock| op.data.iter().find(|(column, _)| *column == clock));
        let clock = match sent {
            Some((_, Value::Time(micros))) => (*micros).min(received_us),
            _ => received_us,
        };
        self.clock_low = self.clock_low.min(clock);
        self.clock_high = self.clock_high.max(clock);
        self.op_id = op.op_id;
        self.ops += 1;
        // NULL in a column that may not be NULL on the server says nothing about what the server had: a local insert
        // left the column out.
        let is_known = |(column, value): &&(usize, Value)| {
            !(value.is_null() && layout.not_null[*column] && op.data.iter().all(|(sent, _)| sent != column))
        };
        match op.op {
            Op::Put => {
                self.put = true;
                self.puts += 1;
                self.recreated |= self.delete;
                self.delete = false;
                for (column, value) in &op.data {
                    let cell = self.cell_mut(*column);
                    cell.via.extend(cell.new.take());
                    (cell.new, cell.blind, cell.op_id) = (Some(value), true, op.op_id);
                }
            }
            Op::Patch => {
                let replaced = self.put;
                for (column, value) in op.old.iter().filter(is_known) {
                    let cell = self.cell_mut(*column);
                    match (cell.base, cell.new) {
                        (None, None) => cell.base = Some(value),
                        // An insert of the same transaction had replaced the row, and left this column out; its
                        // group now carries it.
                        (Some(base), None) if replaced && base != value => {
                            cell.via.push(base);
                            (cell.new, cell.op_id) = (Some(value), op.op_id);
                        }
                        // Likewise where the transaction had written the column before that insert.
                        (_, Some(new)) if replaced && new != value => {
                            cell.via.push(new);
                            (cell.new, cell.op_id) = (Some(value), op.op_id);
                        }
                        _ => {}
                    }
                }
                for (column, value) in &op.data {
                    let cell = self.cell_mut(*column);
                    cell.via.extend(cell.new.take());
                    (cell.new, cell.op_id) = (Some(value), op.op_id);
                }
            }
            Op::Delete => {
                self.delete = true;
                (self.put, self.puts) = (false, 0);
                for (column, value) in op.old.iter().filter(is_known) {
                    let cell = self.cell_mut(*column);
                    if cell.base.is_none() && cell.new.is_none() {
                        cell.base = Some(value);
                    }
                }
                for cell in &mut self.cells {
                    cell.via.extend(cell.new.take());
                }
            }
        }
    }

    pub(super) fn cell(&self, column: usize) -> Option<&Cell<'a>> {
        self.cells.iter().find(|cell| cell.column == column)
    }

    fn cell_mut(&mut self, column: usize) -> &mut Cell<'a> {
        let index = self.cells.iter().position(|cell| cell.column == column).unwrap_or_else(|| {
            self.cells.push(Cell { column, base: None, new: None, via: Vec::new(), blind: false, op_id: 0 });
            self.cells.len() - 1
        });
        &mut self.cells[index]
    }
}

/// The set that a JSON array of strings stands for, NULL being empty; `None` if it is anything else.
pub(in crate::checker) fn members(value: Option<&Value>) -> Option<std::collections::BTreeSet<String>> {
    match value {
        None | Some(Value::Null) => Some(std::collections::BTreeSet::new()),
        Some(Value::Text(text)) => serde_json::from_str(text).ok(),
        Some(_) => None,
    }
}
