//! The tables of a source, and a snapshot of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{Row, Schema};

use crate::changes::ReplicaIdentity;
use crate::sync_config::{ConfigError, SyncConfig};

/// The tables of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The tables.
    pub schema: Arc<Schema>,
    /// In the schema's order.
    pub identities: Vec<ReplicaIdentity>,
    /// Columns of type `bytea`, as (table, column).
    pub bytea: Vec<(usize, usize)>,
    /// All of it as the source writes it. Two layouts are the same when their texts are.
    pub text: String,
}

impl Layout {
    /// Reads a sync configuration for these tables.
    ///
    /// # Errors
    /// When it is malformed, or asks for what the tables do not have.
    pub fn sync_config(&self, text: &str) -> Result<SyncConfig, ConfigError> {
        let mut config = SyncConfig::parse(text, &self.schema)?;
        config.leave_out_bytea(&self.bytea, &self.schema)?;
        Ok(config)
    }
}

/// Everything that a source holds at one position.
#[derive(Clone, Debug)]
pub struct SourceSnapshot {
    /// The tables.
    pub layout: Layout,
    /// Names the cluster and the database.
    pub source: String,
    /// The position.
    pub lsn: u64,
    /// The rows, by table and key.
    pub rows: Vec<BTreeMap<Arc<str>, Row>>,
}
