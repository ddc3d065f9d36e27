//! What the upload algorithm asks of a database: one connection, with at most one transaction open.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use fixtures::{Row, Value};

use crate::policy::Conflict;
use crate::record::{Cause, LedgerRow, Origin, RowMeta, Stored, Tombstone};
use crate::store::error::StoreError;

/// One connection, with at most one transaction open. Reads see the transaction's own writes.
pub trait Session: Send {
    /// Opens a transaction whose `now()` is the receive time.
    fn begin(&mut self, received_us: i64) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Marks the state that [`Session::rollback_to_savepoint`] returns to.
    fn savepoint(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Undoes everything since the savepoint, or since the beginning.
    fn rollback_to_savepoint(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Ends the transaction without effect.
    fn rollback(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Commits at the given time.
    fn commit(&mut self, at_us: i64, origin: Option<Origin>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A hint: rows that the transaction will ask for, so that a remote database can be asked once. Nothing is locked.
    fn prefetch(&mut self, _names: BTreeSet<(usize, Arc<str>)>) {}

    /// Serializes the transactions of one client.
    fn lock_client(&mut self, subject: &str, client: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Locks what the transaction decides on, in the order of [`Footprint`].
    fn lock(&mut self, footprint: &Footprint) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Removes ledger entries, tombstones and aliases from before this instant.
    fn forget(&mut self, before_us: i64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The ledger's entries for these operation ids.
    fn ledger(
        &mut self,
        subject: &str,
        client: &str,
        op_ids: &[i64],
    ) -> impl Future<Output = Result<ClientLedger, StoreError>> + Send;
    /// The row that an id is an alias of.
    fn alias(&mut self, table: usize, id: &str) -> impl Future<Output = Result<Option<Arc<str>>, StoreError>> + Send;
    /// What is stored under an id.
    fn stored(&mut self, table: usize, id: &str) -> impl Future<Output = Result<Stored, StoreError>> + Send;
    /// The live row that has the same values in a unique key as this row.
    fn holder(
        &mut self,
        unique: usize,
        row: &[Value],
    ) -> impl Future<Output = Result<Option<Arc<str>>, StoreError>> + Send;
    /// The live rows that refer to this parent, in id order.
    fn children(
        &mut self,
        reference: usize,
        parent: &str,
    ) -> impl Future<Output = Result<Vec<Arc<str>>, StoreError>> + Send;
    /// The live rows that are running under an exclusive invariant, in id order.
    fn running(&mut self, exclusive: usize) -> impl Future<Output = Result<Vec<Arc<str>>, StoreError>> + Send;

    /// Inserts or updates a row.
    fn put(&mut self, put: Put) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Updates the metadata of a live row, and not the row.
    fn put_meta(
        &mut self,
        table: usize,
        id: &str,
        meta: RowMeta,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Deletes a live row; `None` leaves no tombstone (the baseline).
    fn delete(
        &mut self,
        table: usize,
        id: &str,
        tombstone: Option<Tombstone>,
        by: i64,
        cause: Cause,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Replaces a tombstone.
    fn put_tombstone(
        &mut self,
        table: usize,
        id: &str,
        tombstone: Tombstone,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Makes one id an alias of another.
    fn add_alias(
        &mut self,
        table: usize,
        losing: &str,
        survivor: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Writes a conflict record.
    fn add_conflict(&mut self, conflict: NewConflict) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Writes a ledger entry.
    fn add_ledger(
        &mut self,
        subject: &Arc<str>,
        client: &Arc<str>,
        entry: LedgerRow,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Adds ledger entries to the commit for observers, without storing them: the baseline has no ledger.
    fn observe(&mut self, entries: Vec<LedgerRow>) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Everything that a transaction's operations name: it is locked before it is read. Rows come first, in (table, id)
/// order, then unique values, trees and exclusive invariants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footprint {
    /// Rows written and rows referred to.
    pub rows: BTreeSet<(usize, Arc<str>)>,
    /// Unique keys: the values sent, or `None` where only part of a key is sent.
    pub uniques: Vec<(usize, Option<Vec<Value>>)>,
    /// Trees.
    pub trees: BTreeSet<usize>,
    /// Exclusive invariants.
    pub exclusives: BTreeSet<usize>,
}

/// The ledger's entries for some operation ids of one client.
#[derive(Clone, Debug, Default)]
pub struct ClientLedger {
    /// The client's epoch; 0 for a client that was never seen.
    pub epoch: u32,
    /// The greatest operation id whose entry retention removed.
    pub forgotten_through: Option<i64>,
    /// Entries for the ids asked for, of all epochs.
    pub entries: Vec<LedgerRow>,
}

/// A row to be stored.
#[derive(Clone, Debug)]
pub struct Put {
    /// The table.
    pub table: usize,
    /// The row.
    pub id: Arc<str>,
    /// All columns.
    pub row: Row,
    /// Its metadata; `None` leaves it unchanged (the baseline).
    pub meta: Option<RowMeta>,
    /// The operation that causes it.
    pub by: i64,
    /// Why.
    pub cause: Cause,
}

/// A conflict record before it is numbered.
#[derive(Clone, Debug)]
pub struct NewConflict {
    /// When the deciding transaction was received.
    pub at_us: i64,
    /// The table.
    pub table: usize,
    /// The row.
    pub id: Arc<str>,
    /// What was decided.
    pub conflict: Conflict,
}
