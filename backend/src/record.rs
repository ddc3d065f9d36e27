//! What the server remembers: who wrote what, which writes were overridden, and what each commit did.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use fixtures::{Row, Value};

use crate::rules::Register;
use crate::wire::OpAnswer;

/// One operation, by who sent it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// The token's subject.
    pub subject: Arc<str>,
    /// The client id.
    pub client: Arc<str>,
    /// The client's epoch: a restored copy of its database has not seen what the lost one wrote.
    pub epoch: u32,
    /// The operation id.
    pub op: i64,
}

/// Who is responsible for a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Author {
    /// An uploaded operation.
    Client(Arc<Writer>),
    /// The server: a seed row, or a write that bypassed the backend.
    Server,
}

impl Writer {
    /// Whether both are operations of one database of one client.
    #[must_use]
    pub fn is_same_client(&self, other: &Self) -> bool {
        self.client == other.client && self.subject == other.subject && self.epoch == other.epoch
    }
}

impl Author {
    /// The operation, unless the server is the author.
    #[must_use]
    pub fn writer(&self) -> Option<&Arc<Writer>> {
        match self {
            Self::Client(writer) => Some(writer),
            Self::Server => None,
        }
    }

    /// Whether this is an earlier operation of the writer's own client: its queue order says that it was seen.
    #[must_use]
    pub fn is_earlier_of(&self, writer: &Writer) -> bool {
        self.writer().is_some_and(|own| own.is_same_client(writer) && own.op <= writer.op)
    }
}

/// `client/op`, as the wire's `by` has it; `client@epoch/op` of a restored copy, which uses operation ids again;
/// `server` for the server.
impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(writer) if writer.epoch > 1 => write!(f, "{}@{}/{}", writer.client, writer.epoch, writer.op),
            Self::Client(writer) => write!(f, "{}/{}", writer.client, writer.op),
            Self::Server => f.write_str("server"),
        }
    }
}

/// When and by whom a register was last written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// The stamp that later writes are compared with, in microseconds since the epoch.
    pub at_us: i64,
    /// The operation that wrote the value.
    pub writer: Arc<Writer>,
    /// For a counter or a set: the operations whose effects add up to the value, oldest first, each with the value
    /// that it left. They all lose when the value is overridden, so they are remembered, the last
    /// [`CONTRIBUTIONS_MAX`] of them. Empty where `writer` alone made the value.
    pub contributions: Vec<(Arc<Writer>, Value)>,
}

/// How many operations a merged value is attributed to at most.
pub const CONTRIBUTIONS_MAX: usize = 32;

impl Stamp {
    /// A value made by one operation.
    #[must_use]
    pub fn new(at_us: i64, writer: Arc<Writer>) -> Self {
        Self { at_us, writer, contributions: Vec::new() }
    }
}

/// What `sync_backend` holds about a live row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowMeta {
    /// One stamp a register.
    pub stamps: Vec<Option<Stamp>>,
    /// The row as the backend last wrote it. A register that differs now was written by a bypassing server write.
    pub written: Row,
    /// Columns that the row's own insert left to their default, and that nothing has written since.
    pub defaulted: Vec<usize>,
    /// When the server last received a heartbeat, one entry an exclusive invariant.
    pub heartbeats: Vec<(usize, i64)>,
}

/// A live row.
#[derive(Clone, Debug)]
pub struct StoredRow {
    /// Its columns.
    pub row: Row,
    /// What is known about its writers; `None` for rows that the backend never wrote.
    pub meta: Option<Arc<RowMeta>>,
}

/// What is left of a deleted row.
#[derive(Clone, Debug)]
pub struct Tombstone {
    /// The stamp of the deletion.
    pub at_us: i64,
    /// When it was received: retention counts from here.
    pub received_us: i64,
    /// The operation that deleted it.
    pub writer: Arc<Writer>,
    /// The row at deletion.
    pub image: Row,
    /// Its stamps at deletion.
    pub meta: Option<Arc<RowMeta>>,
}

/// A write that was overridden, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictRecord {
    /// Its number, from 1, in commit order.
    pub seq: u64,
    /// When the deciding transaction was received.
    pub at_us: i64,
    /// Whose record it is: the loser's subject, or the winner's when the server lost.
    pub subject: Arc<str>,
    /// The table.
    pub table: usize,
    /// The row.
    pub id: Arc<str>,
    /// The column or the group; `None` = the whole row.
    pub column: Option<Arc<str>>,
    /// The rule that decided.
    pub rule: Cow<'static, str>,
    /// Whose write does not stand.
    pub loser: Author,
    /// Whose does.
    pub winner: Author,
}

/// Where a committed transaction came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The token's subject.
    pub subject: Arc<str>,
    /// The client id.
    pub client_id: Arc<str>,
    /// The client's transaction.
    pub tx_id: i64,
}

/// Why a row changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It is the effect of a client's operation.
    Client,
    /// Its parent was deleted, and children go with it.
    Cascade,
    /// The row that it referred to is not there, and the reference became NULL.
    ParentMissing,
    /// It held an exclusive invariant with a lease that had ended.
    LeaseEnded,
    /// It referred to an id that merged into another row.
    Alias,
    /// A write that bypassed the backend.
    Server,
}

/// One row change, as logical decoding with full replica identity gives it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The table.
    pub table: usize,
    /// The row.
    pub id: Arc<str>,
    /// The row before; `None` = it was inserted.
    pub before: Option<Row>,
    /// The row after; `None` = it was deleted.
    pub after: Option<Row>,
    /// The operation id (of the commit's origin) that it belongs to.
    pub by: Option<i64>,
    /// Why it happened.
    pub cause: Cause,
}

/// One operation's entry in the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRow {
    /// The operation id.
    pub op_id: i64,
    /// The client's epoch: above 1 after a restored database copy has sent operation ids anew.
    pub epoch: u32,
    /// SHA-256 of (op, table, id, data, old).
    pub digest: [u8; 32],
    /// What the device was answered.
    pub answer: OpAnswer,
}

/// A deletion, as the commit that made it says.
#[derive(Clone, Debug, PartialEq)]
pub struct TombstoneRow {
    /// The table.
    pub table: usize,
    /// The row.
    pub id: Arc<str>,
    /// The stamp.
    pub at_us: i64,
}

/// One committed database transaction.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When it committed.
    pub at_us: i64,
    /// When its request was received: the transaction's `now()`.
    pub received_us: i64,
    /// The upload that it comes from; `None` for server-side writes.
    pub origin: Option<Origin>,
    /// Row changes, in the order in which they were made. One row may occur several times.
    pub changes: Vec<Change>,
    /// Ledger entries written.
    pub ledger: Vec<LedgerRow>,
    /// Conflict records written.
    pub conflicts: Vec<ConflictRecord>,
    /// Tombstones written.
    pub tombstones: Vec<TombstoneRow>,
    /// Aliases written: table, losing id, survivor.
    pub aliases: Vec<(usize, Arc<str>, Arc<str>)>,
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

    /// Notes a heartbeat.
    pub fn beat(&mut self, exclusive: usize, at_us: i64) {
        match self.heartbeats.iter_mut().find(|(index, _)| *index == exclusive) {
            Some(entry) => entry.1 = at_us,
            None => self.heartbeats.push((exclusive, at_us)),
        }
    }
}

impl StoredRow {
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

    /// Who wrote what the columns of a register hold now.
    #[must_use]
    pub fn author(&self, register: usize, columns: &[usize]) -> Author {
        let bypassed = |meta: &Arc<RowMeta>| columns.iter().any(|c| meta.written[*c] != self.row[*c]);
        match (&self.meta, self.stamp(register)) {
            (Some(meta), Some(stamp)) if !bypassed(meta) => Author::Client(stamp.writer.clone()),
            _ => Author::Server,
        }
    }

    /// Whose effects in a register an operation overrides without having seen them. `base` is the value that it
    /// had seen, if it recorded one.
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
        let seen = base.and_then(|base| {
            // What the writer had seen is a value that was here plus its own effects, which came here later.
            let mut own = 0_i64;
            (0..contributions.len()).rev().find(|at| {
                let (contributor, value) = &contributions[*at];
                let matches = match (value.as_int(), base.as_int()) {
                    (Some(value), Some(base)) => value.checked_add(own) == Some(base),
                    _ => register.holds_same(value, base),
                };
                if contributor.is_same_client(writer)
                    && let Some(before) = at.checked_sub(1).and_then(|before| contributions[before].1.as_int())
                    && let Some(value) = value.as_int()
                {
                    own = own.saturating_add(value.saturating_sub(before));
                }
                matches
            })
        });
        contributions[seen.map_or(0, |seen| seen + 1)..]
            .iter()
            .map(|(contributor, _)| Author::Client(contributor.clone()))
            .filter(|contributor| !contributor.is_earlier_of(writer))
            .collect()
    }

    /// Everyone whose effect is in a register.
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
