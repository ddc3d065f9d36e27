//! A note in the write-ahead log for each commit: what logical decoding alone does not report.
//!
//! A reader of the database's change feed sees rows change, but not whose operation changed them, or why. With
//! [`PostgresConfig::annotates`](crate::store::postgres::PostgresConfig::annotates) set, each transaction of the backend
//! ends with one transactional logical message with prefix [`PREFIX`]. Its content is a [`CommitNote`] as JSON, with
//! changes in the order of the row changes in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::record::{Author, Cause, Change, Commit, ConflictRecord, LedgerRow, Origin, TombstoneRow, Writer};
use crate::rules::Rules;
use crate::wire::OpAnswer;

/// The prefix of the backend's logical messages.
pub const PREFIX: &str = "sync_backend";

/// The note of one commit. Instants are microseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CommitNote {
    /// When the commit was asked for.
    pub at_us: i64,
    /// When its request was received.
    pub received_us: i64,
    /// The upload that it comes from.
    pub origin: Option<OriginNote>,
    /// One entry for each row change, in order.
    pub changes: Vec<ChangeNote>,
    /// Ledger entries written, or only observed.
    pub ledger: Vec<LedgerNote>,
    /// Conflict records written.
    pub conflicts: Vec<ConflictNote>,
    /// Tombstones written: table, id, stamp.
    pub tombstones: Vec<(String, String, i64)>,
    /// Aliases written: table, losing id, survivor.
    pub aliases: Vec<(String, String, String)>,
}

/// Where a commit came from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct OriginNote {
    /// The token's subject.
    pub subject: String,
    /// The client id.
    pub client_id: String,
    /// The client's transaction.
    pub tx_id: i64,
}

/// The operation that caused a row change, and why.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ChangeNote {
    /// The table.
    pub table: String,
    /// The row.
    pub id: String,
    /// The operation.
    pub by: i64,
    /// `client`, `cascade`, `parent-missing`, `lease-ended` or `alias`.
    pub cause: String,
}

/// A ledger entry.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LedgerNote {
    /// The client's epoch.
    pub epoch: u32,
    /// SHA-256 of the operation, in hex.
    pub digest: String,
    /// What the device was answered.
    pub answer: OpAnswer,
}

/// A conflict record, without its number: records are numbered in commit order.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ConflictNote {
    /// Who may read the record.
    pub subject: String,
    /// The table.
    pub table: String,
    /// The row.
    pub id: String,
    /// The column or the group.
    pub column: Option<String>,
    /// The rule that decided.
    pub rule: String,
    /// Whose write is overridden; `None`: the server's.
    pub loser: Option<AuthorNote>,
    /// Whose write stays.
    pub winner: Option<AuthorNote>,
}

/// An operation, by who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AuthorNote {
    /// The token's subject.
    pub subject: String,
    /// The client id.
    pub client: String,
    /// The client's epoch.
    pub epoch: u32,
    /// The operation id.
    pub op: i64,
}

const CAUSES: [(Cause, &str); 6] = [
    (Cause::Client, "client"),
    (Cause::Cascade, "cascade"),
    (Cause::ParentMissing, "parent-missing"),
    (Cause::LeaseEnded, "lease-ended"),
    (Cause::Alias, "alias"),
    (Cause::Server, "server"),
];

pub(super) fn cause_name(cause: Cause) -> String {
    let (_, name) = CAUSES.iter().find(|(known, _)| *known == cause).expect("every cause has a name");
    (*name).to_owned()
}

impl AuthorNote {
    pub(super) fn of(author: &Author) -> Option<Self> {
        author.writer().map(|writer| Self {
            subject: writer.subject.to_string(),
            client: writer.client.to_string(),
            epoch: writer.epoch,
            op: writer.op,
        })
    }

    fn author(note: Option<&Self>) -> Author {
        note.map_or(Author::Server, |note| {
            Author::Client(Arc::new(Writer {
                subject: Arc::from(note.subject.as_str()),
                client: Arc::from(note.client.as_str()),
                epoch: note.epoch,
                op: note.op,
            }))
        })
    }
}

impl LedgerNote {
    pub(super) fn of(entry: &LedgerRow) -> Self {
        let digest = entry.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { epoch: entry.epoch, digest, answer: entry.answer.clone() }
    }

    fn row(&self) -> Option<LedgerRow> {
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(self.digest.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(LedgerRow { op_id: self.answer.op_id, epoch: self.epoch, digest, answer: self.answer.clone() })
    }
}

impl CommitNote {
    /// Reads the content of a logical message.
    ///
    /// # Errors
    /// When this backend did not write it.
    pub fn parse(content: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(content)
    }

    /// The commit: this note, with the row changes that precede it in the same transaction of the log. Their `by` and
    /// `cause` are filled in. `seq` is the commit's number, `conflicts_before` the number of the last conflict record
    /// before it.
    ///
    /// `None` when note and changes do not match, or a table is unknown.
    #[must_use]
    pub fn commit(&self, rules: &Rules, seq: u64, conflicts_before: u64, mut changes: Vec<Change>) -> Option<Commit> {
        let table = |name: &str| rules.table(name).map(|table| table.index);
        if changes.len() != self.changes.len() {
            return None;
        }
        for (change, note) in changes.iter_mut().zip(&self.changes) {
            if change.table != table(&note.table)? || *change.id != *note.id {
                return None;
            }
            change.by = Some(note.by);
            change.cause = CAUSES.iter().find(|(_, name)| *name == note.cause)?.0;
        }
        let conflicts = self.conflicts.iter().zip(conflicts_before + 1..).map(|(note, seq)| {
            Some(ConflictRecord {
                seq,
                at_us: self.received_us,
                subject: Arc::from(note.subject.as_str()),
                table: table(&note.table)?,
                id: Arc::from(note.id.as_str()),
                column: note.column.as_deref().map(Arc::from),
                rule: note.rule.clone().into(),
                loser: AuthorNote::author(note.loser.as_ref()),
                winner: AuthorNote::author(note.winner.as_ref()),
            })
        });
        let tombstones = self.tombstones.iter().map(|(name, id, at_us)| {
            Some(TombstoneRow { table: table(name)?, id: Arc::from(id.as_str()), at_us: *at_us })
        });
        let aliases = self.aliases.iter().map(|(name, losing, survivor)| {
            Some((table(name)?, Arc::from(losing.as_str()), Arc::from(survivor.as_str())))
        });
        Some(Commit {
            seq,
            at_us: self.at_us,
            received_us: self.received_us,
            origin: self.origin.as_ref().map(|origin| Origin {
                subject: Arc::from(origin.subject.as_str()),
                client_id: Arc::from(origin.client_id.as_str()),
                tx_id: origin.tx_id,
            }),
            changes,
            ledger: self.ledger.iter().map(LedgerNote::row).collect::<Option<_>>()?,
            conflicts: conflicts.collect::<Option<_>>()?,
            tombstones: tombstones.collect::<Option<_>>()?,
            aliases: aliases.collect::<Option<_>>()?,
        })
    }
}
