//! The write-ahead log as it streams in, as a [`Source`].

use std::collections::BTreeMap;

use pgwire_replication::{Lsn, ReplicationEvent};

use super::catalog::NAMESPACE;
use super::error::ReplicationError;
use super::head::HeadReader;
use super::pgoutput::Message;
use super::session::{PostgresError, Session};
use super::table_reader::Tables;
use crate::changes::logged::{LoggedChange, LoggedTransaction};
use crate::replication::source::{Source, SourceEvent};

/// The log as it streams in.
pub(super) struct WalStream {
    session: Session,
    tables: Tables,
    heads: HeadReader,
    /// Tables by the server's id; `None` for those that no sync query can name.
    relations: BTreeMap<u32, Option<usize>>,
    /// The changes so far of the transaction that is streaming in.
    open: Option<Vec<LoggedChange>>,
}

impl WalStream {
    pub(super) fn new(session: Session, tables: Tables, heads: HeadReader) -> Self {
        Self { session, tables, heads, relations: BTreeMap::new(), open: None }
    }
}

impl Source for WalStream {
    type Error = ReplicationError;

    async fn next(&mut self) -> Result<SourceEvent, ReplicationError> {
        loop {
            match self.session.client.recv().await?.ok_or(ReplicationError::Ended)? {
                ReplicationEvent::Begin { .. } => self.open = Some(Vec::new()),
                ReplicationEvent::XLogData { data, .. } => self.take(Message::parse(&data)?)?,
                ReplicationEvent::Commit { end_lsn, .. } => {
                    let changes = self.open.take().unwrap_or_default();
                    return Ok(SourceEvent::Transaction(LoggedTransaction { lsn: end_lsn.as_u64(), changes }));
                }
                ReplicationEvent::KeepAlive { wal_end, reply_requested, .. } if self.open.is_none() => {
                    return Ok(SourceEvent::Position { lsn: wal_end.as_u64(), urgent: reply_requested });
                }
                ReplicationEvent::KeepAlive { .. } | ReplicationEvent::Message { .. } => {}
                ReplicationEvent::StoppedAt { .. } => return Err(ReplicationError::Ended),
            }
        }
    }

    fn confirm(&mut self, lsn: u64) {
        self.session.client.update_applied_lsn(Lsn::from_u64(lsn));
    }

    async fn probe(&mut self) -> Result<(), ReplicationError> {
        self.heads.get().await.map(drop).map_err(ReplicationError::Silent)
    }
}

impl WalStream {
    fn take(&mut self, message: Message) -> Result<(), ReplicationError> {
        let mut changes = Vec::new();
        match message {
            Message::Other => return Ok(()),
            Message::Relation(relation) => {
                let known = if relation.namespace == NAMESPACE {
                    if let Some(reason) = self.tables.catalog.difference(&relation) {
                        return Err(ReplicationError::Tables(reason));
                    }
                    self.tables.catalog.tables.iter().position(|table| table.name == relation.name)
                } else {
                    None
                };
                self.relations.insert(relation.id, known);
                return Ok(());
            }
            Message::Insert { relation, new } => {
                if let Some(table) = self.table(relation)? {
                    let (key, cells) = self.tables.cells(table, &new, None);
                    changes.push(LoggedChange::Put { table, key, old_key: None, old: None, cells });
                }
            }
            Message::Update { relation, old, new } => {
                if let Some(table) = self.table(relation)? {
                    let (key, cells) = self.tables.cells(table, &new, old.as_ref());
                    let (old_key, old) = match &old {
                        None => (None, None),
                        Some(old) => {
                            let (key, row) = self.tables.old(table, old);
                            (Some(key), row)
                        }
                    };
                    changes.push(LoggedChange::Put { table, key, old_key, old, cells });
                }
            }
            Message::Delete { relation, old } => {
                if let Some(table) = self.table(relation)? {
                    let (key, old) = self.tables.old(table, &old);
                    changes.push(LoggedChange::Delete { table, key, old });
                }
            }
            Message::Truncate { relations } => {
                for relation in relations {
                    if let Some(table) = self.table(relation)? {
                        changes.push(LoggedChange::Truncate { table });
                    }
                }
            }
        }
        let open = self.open.as_mut().ok_or(PostgresError::Unexpected("a change outside a transaction"))?;
        open.append(&mut changes);
        Ok(())
    }

    fn table(&self, relation: u32) -> Result<Option<usize>, PostgresError> {
        self.relations.get(&relation).copied().ok_or(PostgresError::Unexpected("a change of a table not described"))
    }
}
