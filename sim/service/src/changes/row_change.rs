//! Row changes as a source commits them.

use std::sync::Arc;

use fixtures::Row;

/// A transaction as the source committed it.
#[derive(Clone, Debug)]
pub struct SourceTransaction {
    /// Its position, greater than that of every transaction before it.
    pub lsn: u64,
    /// Its row changes, in order.
    pub changes: Vec<RowChange>,
}

/// A row change. An insert has no `before`, a delete no `after`. A changed primary key is a delete and an insert.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// Index of the table in the schema.
    pub table: usize,
    /// The primary key.
    pub id: Arc<str>,
    /// The whole row before.
    pub before: Option<Row>,
    /// The whole row after.
    pub after: Option<Row>,
}

/// What identifies a row in the source's change stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// All columns: an update that changes anything becomes a REMOVE and a PUT.
    Full,
    /// The primary key: an update becomes a PUT.
    PrimaryKey,
}
