//! What a session knows about its open transaction: what it has read, and what it has not sent yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fixtures::Row;

use crate::record::LedgerRow;
use crate::store::postgres::locks::Lock;
use crate::store::postgres::note::ChangeNote;
use crate::store::session::NewConflict;
use crate::store::slot::Slot;

/// A row: table and id.
pub(super) type Key = (usize, Arc<str>);

/// The open transaction.
#[derive(Debug, Default)]
pub(super) struct OpenTransaction {
    /// Whether a transaction is open.
    pub(super) is_open: bool,
    /// Whether BEGIN was sent.
    pub(super) has_begun: bool,
    pub(super) received_us: i64,
    pub(super) client_lock: Option<i64>,
    /// The client and its epoch, as the ledger knows it.
    pub(super) client_epoch: Option<u32>,
    /// Whether to set a savepoint before the first change, and whether it was sent.
    pub(super) wants_savepoint: bool,
    pub(super) has_savepoint: bool,
    /// The lock on everything, if it is held: shared or exclusive.
    pub(super) everything: Option<Lock>,
    /// Names whose aliases are read with the next question.
    pub(super) names: BTreeSet<Key>,
    pub(super) aliases: BTreeMap<Key, Option<Arc<str>>>,
    /// Rows as they were read, under lock.
    pub(super) read: BTreeMap<Key, Slot>,
    /// Rows that a question found and locked, and that may not be read yet.
    pub(super) found: BTreeSet<Key>,
    /// Rows as the transaction leaves them.
    pub(super) written: BTreeMap<Key, Slot>,
    pub(super) unsent_changes: Vec<RowChange>,
    pub(super) changes: Vec<ChangeNote>,
    pub(super) tombstones: Vec<(String, String, i64)>,
    pub(super) new_aliases: Vec<(usize, Arc<str>, Arc<str>)>,
    pub(super) conflicts: Vec<NewConflict>,
    pub(super) ledger: Vec<LedgerRow>,
    pub(super) ledger_of: Option<(Arc<str>, Arc<str>)>,
    pub(super) observed: Vec<LedgerRow>,
}

/// A row change that is not sent yet.
#[derive(Debug)]
pub(super) enum RowChange {
    Insert(Key, Row),
    Update(Key, Row),
    Delete(Key),
}

impl RowChange {
    pub(super) fn table(&self) -> usize {
        match self {
            Self::Insert((table, _), _) | Self::Update((table, _), _) | Self::Delete((table, _)) => *table,
        }
    }
}
