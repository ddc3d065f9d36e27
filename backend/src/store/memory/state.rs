//! What the store in memory holds: tables, ledger, records, commits; and the transaction that is open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fixtures::Row;

use crate::record::{Change, Commit, ConflictRecord, LedgerRow, TombstoneRow};
use crate::rules::Rules;
use crate::store::memory::table::MemoryTable;
use crate::store::session::NewConflict;
use crate::store::slot::Slot;

/// Subject and client id.
pub(super) type ClientKey = (Arc<str>, Arc<str>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) tables: Vec<MemoryTable>,
    pub(super) aliases: BTreeMap<(usize, Arc<str>), Arc<str>>,
    pub(super) clients: BTreeMap<ClientKey, Client>,
    pub(super) conflicts: Vec<ConflictRecord>,
    pub(super) commits: Vec<Arc<Commit>>,
    /// What retention removes, oldest first.
    pub(super) retained: VecDeque<(i64, Retained)>,
    pub(super) open: Open,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) epoch: u32,
    pub(super) forgotten_through: Option<i64>,
    pub(super) ledger: BTreeMap<i64, Vec<LedgerRow>>,
}

#[derive(Debug)]
pub(super) enum Retained {
    Ledger { client: ClientKey, op_id: i64, epoch: u32 },
    Tombstone { table: usize, id: Arc<str> },
    Alias { table: usize, id: Arc<str> },
}

/// The open transaction.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) now_us: i64,
    pub(super) undo: Vec<Undo>,
    pub(super) savepoint: usize,
    pub(super) changes: Vec<Change>,
    /// Entries, with the client whose ledger stores them; `None`: only the commit holds them.
    pub(super) ledger: Vec<(Option<ClientKey>, LedgerRow)>,
    pub(super) conflicts: Vec<NewConflict>,
    pub(super) tombstones: Vec<TombstoneRow>,
    pub(super) aliases: Vec<(usize, Arc<str>, Arc<str>)>,
}

/// How to undo one write.
#[derive(Debug)]
pub(super) enum Undo {
    Slot { table: usize, id: Arc<str>, slot: Slot },
    Alias { key: (usize, Arc<str>), before: Option<Arc<str>> },
    Change,
    Conflict,
    Tombstone,
    Ledger,
}

impl Inner {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            tables: rules.tables.iter().map(MemoryTable::new).collect(),
            aliases: BTreeMap::new(),
            clients: BTreeMap::new(),
            conflicts: Vec::new(),
            commits: Vec::new(),
            retained: VecDeque::new(),
            open: Open::default(),
        }
    }

    pub(super) fn rows(&self, table: usize) -> Vec<(Arc<str>, Row)> {
        let slots = self.tables[table].slots.iter();
        slots.filter_map(|(id, slot)| Some((id.clone(), slot.row.clone()?))).collect()
    }
}
