//! The state of one transaction while its operations run, and what all of its parts share.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::Value;

use crate::policy::Conflict;
use crate::record::{Author, Cause, Stamp, StoredRow, Writer};
use crate::store::{NewConflict, Put, Session, StoreError};
use crate::upload::engine::{Engine, Upload};

/// The longest chain of aliases that is followed. A chain grows only when a survivor itself merges into another row.
const ALIAS_HOPS_MAX: usize = 16;

/// The state of one transaction while its operations run.
pub(super) struct Execution<'a, S> {
    pub(super) engine: &'a Engine,
    pub(super) session: &'a mut S,
    pub(super) subject: &'a Arc<str>,
    pub(super) client: &'a Arc<str>,
    /// The client's epoch.
    pub(super) epoch: u32,
    pub(super) received_us: i64,
    /// The position of the operation that runs.
    pub(super) position: usize,
    /// The last position at which the transaction deletes each row.
    pub(super) deletes: BTreeMap<(usize, Arc<str>), usize>,
    /// Children that are checked only when all operations have run.
    pub(super) deferred: Vec<DeferredChild>,
}

/// A child of a deleted parent that a later operation deletes: checked again at the end of the transaction.
#[derive(Debug)]
pub(super) struct DeferredChild {
    pub(super) reference: usize,
    pub(super) child: Arc<str>,
    pub(super) parent: Arc<str>,
    /// The position of the operation that deleted the parent.
    pub(super) position: usize,
    /// Its writer.
    pub(super) writer: Arc<Writer>,
}

/// Why an operation ends its transaction.
#[derive(Debug)]
pub(super) enum OperationError {
    /// It can never be applied.
    Rejected {
        /// Why.
        reason: String,
        /// Whose write it conflicts with.
        by: Option<Author>,
    },
    /// The database failed.
    Failed(StoreError),
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Contended(_) => Self::Failed(error),
            refused => Self::Rejected { reason: refused.to_string(), by: None },
        }
    }
}

impl OperationError {
    pub(super) fn rejected(reason: String, by: Option<Author>) -> Self {
        Self::Rejected { reason, by }
    }
}

impl<'a, S: Session> Execution<'a, S> {
    pub(super) fn new(
        engine: &'a Engine,
        session: &'a mut S,
        upload: &'a Upload,
        client: &'a Arc<str>,
        epoch: u32,
    ) -> Self {
        Self {
            engine,
            epoch,
            session,
            subject: &upload.subject,
            client,
            received_us: upload.received_us,
            position: 0,
            deletes: BTreeMap::new(),
            deferred: Vec::new(),
        }
    }

    pub(super) fn writer(&self, op_id: i64) -> Arc<Writer> {
        Arc::new(Writer { subject: self.subject.clone(), client: self.client.clone(), epoch: self.epoch, op: op_id })
    }

    /// The row that an id stands for, through aliases.
    pub(super) async fn resolve_id(&mut self, table: usize, id: &Arc<str>) -> Result<Arc<str>, StoreError> {
        let mut id = id.clone();
        for _ in 0..ALIAS_HOPS_MAX {
            match self.session.alias(table, &id).await? {
                Some(survivor) => id = survivor,
                None => break,
            }
        }
        Ok(id)
    }

    pub(super) async fn record_conflict(
        &mut self,
        table: usize,
        id: &Arc<str>,
        conflict: Conflict,
    ) -> Result<(), StoreError> {
        self.session.add_conflict(NewConflict { at_us: self.received_us, table, id: id.clone(), conflict }).await
    }

    /// Sets one column of another row on behalf of an operation.
    #[expect(clippy::too_many_arguments, reason = "a row's address, its column and its reason are all needed")]
    pub(super) async fn set_column(
        &mut self,
        table: usize,
        id: &Arc<str>,
        stored: &StoredRow,
        column: usize,
        value: Value,
        writer: &Arc<Writer>,
        cause: Cause,
    ) -> Result<(), StoreError> {
        let rules = self.engine.rules.clone();
        let table_rules = &rules.tables[table];
        let register = table_rules.register_of[column];
        let mut row = stored.row.to_vec();
        let mut meta = stored.meta_or_unknown(table_rules.registers.len());
        let after_us = stored.stamp(register).map_or(i64::MIN, |stamp| stamp.at_us.saturating_add(1));
        meta.stamps[register] = Some(Stamp::new(self.received_us.max(after_us), writer.clone()));
        meta.defaulted.retain(|defaulted| *defaulted != column);
        meta.set_written(column, &value);
        row[column] = value;
        self.session.put(Put { table, id: id.clone(), row: row.into(), meta: Some(meta), by: writer.op, cause }).await
    }
}
