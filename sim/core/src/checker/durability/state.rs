//! What the server holds after each commit, and who wrote it: the replay that durability judges against.
//!
//! Values are those of the change feed, never predictions: one defect is reported once, and what follows is judged
//! from what is really there.

use fixtures::Row;

use super::set_history::SetHistory;
pub(super) use super::write::Write;
use super::write_log::WriteLog;
use crate::history::RowId;

/// Who wrote a register, and with which stamp.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register {
    /// The writer of its value; `None`: the server.
    pub(super) by: Option<Write>,
    /// Another writer of the same value.
    pub(super) also: Option<Write>,
    /// Where the server itself wrote it in the course of a device's transaction: one of that transaction's writes.
    pub(super) course: Option<Write>,
    /// The least stamp that it may have, in microseconds since 1970.
    pub(super) low: i64,
    /// The greatest.
    pub(super) high: i64,
}

/// A register that the server wrote, at an unknown time.
pub(super) const SERVER: Register = Register { by: None, also: None, course: None, low: i64::MIN, high: i64::MIN };

/// How a row went.
#[derive(Clone, Debug)]
pub(super) struct Deletion {
    /// Whose operation deleted it, or a parent of it; `None`: the server.
    pub(super) by: Option<Write>,
    /// Another device that deleted it, later.
    pub(super) also: Option<Write>,
    /// Whether it went with its parent.
    pub(super) cascade: bool,
    /// The least stamp that its tombstone may have.
    pub(super) low: i64,
    /// The greatest.
    pub(super) high: i64,
    /// Who had written its registers.
    pub(super) registers: Vec<Register>,
    /// What it was.
    pub(super) image: Option<Row>,
}

/// One row on the server.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// What it is; `None`: it is not there.
    pub(super) live: Option<Row>,
    /// Its tombstone.
    pub(super) deletion: Option<Deletion>,
    /// The state of each register; empty while only the server wrote the row.
    pub(super) registers: Vec<Register>,
    /// Columns that hold the default which the row's own insert left to the server; empty for none.
    pub(super) filled: Vec<bool>,
    /// The writes of devices, in commit order.
    pub(super) writes: WriteLog,
    /// Writes of the value that a register holds, beside the one that made it: (register, write).
    pub(super) alike: Vec<(usize, Write)>,
    /// Who added and removed the elements of its sets.
    pub(super) sets: SetHistory,
    /// Whoever wrote anything of the row, its clock alone included, or let structure write it: a policy that
    /// supersedes operations whole may name any of them. Empty under the others.
    pub(super) everyone: Vec<Write>,
    /// When the server last received a write of its heartbeat.
    pub(super) heartbeat_us: i64,
    /// When the server last received any write of it.
    pub(super) touched_us: i64,
    /// The last judgement that concerns this row, and its place among the rows of it.
    pub(super) mark: (usize, usize),
}

impl State {
    pub(super) fn register(&self, index: usize) -> Register {
        self.registers.get(index).copied().unwrap_or(SERVER)
    }

    /// Everyone who wrote what the register holds: who made it so first.
    pub(super) fn writers(&self, index: usize) -> Vec<Option<Write>> {
        let register = self.register(index);
        let alike = self.alike.iter().filter(|(at, _)| *at == index).map(|(_, write)| *write);
        register.by.into_iter().chain(register.also).chain(alike).map(Some).collect()
    }

    pub(super) fn is_filled(&self, column: usize) -> bool {
        self.filled.get(column).copied().unwrap_or(false)
    }
}

/// What a commit did to one row.
#[derive(Clone, Debug)]
pub(super) struct Net {
    /// The row.
    pub(super) row: RowId,
    /// What it was before the commit.
    pub(super) before: Option<Row>,
    /// What it is after it.
    pub(super) after: Option<Row>,
    /// The place of the row's edit in the commit's edits.
    pub(super) edit: Option<usize>,
    /// Whether it was gone in between.
    pub(super) gone: bool,
}
