//! Turns row changes into operations, without input or output of its own.
//!
//! A source transaction becomes one checkpoint, and each of its changes becomes operations of its own. When the replica
//! identity of the row changed, these are a REMOVE for each bucket of the old row, then a PUT for each bucket of the
//! new row. Otherwise they are the PUTs, then a REMOVE for each bucket that the row has left.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{Row, Schema};
use uuid::Uuid;

use super::row_change::{ReplicaIdentity, RowChange, SourceTransaction};
use crate::operation::{RowOp, Subkey};
use crate::row_bytes::append_value;
use crate::storage::{Generation, SourceRow, Staged, StagedLookup, StagedOp, State};
use crate::sync_config::SyncConfig;
use crate::sync_config::query::ParameterQuery;

/// Turns row changes into operations.
#[derive(Clone, Debug)]
pub(crate) struct Replicator {
    schema: Arc<Schema>,
    tables: Vec<SourceTable>,
}

#[derive(Clone, Debug)]
struct SourceTable {
    /// Identifies the table in subkeys.
    id: Uuid,
    identity: ReplicaIdentity,
}

/// The subkeys of a row before and after a change.
#[derive(Clone, Copy, Debug)]
struct Keys {
    before: Option<Subkey>,
    after: Option<Subkey>,
}

/// A bucket that a row is in, and how the row appears there.
#[derive(Clone, Debug)]
struct Membership {
    bucket: Arc<str>,
    projection: usize,
    object_id: Arc<str>,
}

impl Replicator {
    /// A replicator for the tables of the schema. `identities` are in its order; tables without one have FULL.
    #[must_use]
    pub(crate) fn new(schema: Arc<Schema>, identities: &[ReplicaIdentity]) -> Self {
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"powersync-replica-identity");
        let tables = schema.tables.iter().enumerate().map(|(index, table)| SourceTable {
            id: Uuid::new_v5(&namespace, table.name.as_bytes()),
            identity: identities.get(index).copied().unwrap_or(ReplicaIdentity::Full),
        });
        Self { tables: tables.collect(), schema }
    }

    /// Applies a transaction, unless it was applied before. Returns whether it was new.
    pub(crate) fn replicate(&self, state: &mut State, transaction: &SourceTransaction) -> bool {
        if transaction.lsn <= state.replicated_lsn {
            return false;
        }
        let mut staged = Staged::after(state);
        self.stage(state, transaction, &mut staged);
        staged.commit(state);
        true
    }

    /// Adds what a transaction changes to what is staged, without changing the state: a durable store writes it to disk
    /// before clients see it.
    pub(crate) fn stage(&self, state: &State, transaction: &SourceTransaction, staged: &mut Staged) {
        for change in &transaction.changes {
            let known = state.rows.get(change.table).and_then(|rows| rows.get(&change.id));
            let keys = Keys {
                before: change.before.as_ref().map(|before| match known {
                    Some(known) if Arc::ptr_eq(&known.row, before) => known.subkey,
                    _ => self.subkey(change.table, &change.id, before),
                }),
                after: change.after.as_ref().map(|after| self.subkey(change.table, &change.id, after)),
            };
            for generation in state.active.iter().chain(state.next.iter()) {
                self.apply(generation, change, keys, staged);
            }
            let row = change.after.clone().zip(keys.after).map(|(row, subkey)| SourceRow { row, subkey });
            staged.rows.push((change.table, change.id.clone(), row));
        }
        staged.replicated_lsn = transaction.lsn;
    }

    /// Rows with their replica identities, by table and key.
    pub(crate) fn identified(&self, rows: Vec<BTreeMap<Arc<str>, Row>>) -> Vec<BTreeMap<Arc<str>, SourceRow>> {
        let of_table = |(table, rows): (usize, BTreeMap<Arc<str>, Row>)| {
            let identified = |(id, row): (Arc<str>, Row)| {
                let subkey = self.subkey(table, &id, &row);
                (id, SourceRow { row, subkey })
            };
            rows.into_iter().map(identified).collect()
        };
        rows.into_iter().enumerate().map(of_table).collect()
    }

    /// Fills a new generation from the current rows, table by table in order of id.
    pub(crate) fn snapshot(&self, state: &mut State, mut generation: Generation) -> Generation {
        let mut staged = Staged::after(state);
        for (table, rows) in state.rows.iter().enumerate() {
            for (id, known) in rows {
                let insert = RowChange { table, id: id.clone(), before: None, after: Some(known.row.clone()) };
                let keys = Keys { before: None, after: Some(known.subkey) };
                self.apply(&generation, &insert, keys, &mut staged);
            }
        }
        state.last_op_id = staged.last_op_id;
        for op in staged.ops {
            generation.push(op);
        }
        for lookup in staged.lookups {
            generation.update_lookup(lookup);
        }
        generation
    }

    fn apply(&self, generation: &Generation, change: &RowChange, keys: Keys, staged: &mut Staged) {
        let config = Arc::clone(&generation.config);
        self.apply_lookups(generation, &config, change, staged);
        if config.data_by_table[change.table].is_empty() {
            return;
        }
        let members =
            |row: &Option<Row>| row.as_ref().map_or_else(Vec::new, |row| memberships(generation, &config, change, row));
        let (before, after) = (members(&change.before), members(&change.after));
        let Keys { before: old_key, after: new_key } = keys;
        let mut push = |bucket: &Arc<str>, op: Arc<RowOp>| {
            staged.last_op_id += 1;
            let op_id = staged.last_op_id;
            staged.ops.push(StagedOp { generation: generation.number, bucket: bucket.clone(), op_id, op });
        };
        let object_type = |member: &Membership| &config.projections[member.projection].object_type;
        let same = old_key == new_key;
        // The operations of one row share their text across buckets.
        let mut removes: Vec<(usize, Arc<str>, Arc<RowOp>)> = Vec::new();
        let mut remove_op = |member: &Membership, key: Subkey| match removes
            .iter()
            .find(|(projection, id, _)| *projection == member.projection && *id == member.object_id)
        {
            Some((_, _, op)) => op.clone(),
            None => {
                let op = Arc::new(RowOp::remove(object_type(member), &member.object_id, key));
                removes.push((member.projection, member.object_id.clone(), op.clone()));
                op
            }
        };
        if let Some(key) = old_key.filter(|_| !same) {
            for member in &before {
                push(&member.bucket, remove_op(member, key));
            }
        }
        if let (Some(key), Some(row)) = (new_key, &change.after) {
            let mut puts: Vec<(usize, Arc<RowOp>)> = Vec::new();
            for member in &after {
                let op = match puts.iter().find(|(projection, _)| *projection == member.projection) {
                    Some((_, op)) => op.clone(),
                    None => {
                        let projection = &config.projections[member.projection];
                        let mut data = String::with_capacity(512);
                        projection.write(&mut data, &self.schema, &change.id, row, config.time_format);
                        let op = Arc::new(RowOp::put(&projection.object_type, &member.object_id, key, &data));
                        puts.push((member.projection, op.clone()));
                        op
                    }
                };
                push(&member.bucket, op);
            }
        }
        if let Some(key) = old_key.filter(|_| same) {
            let stays = |member: &Membership| {
                after.iter().any(|other| {
                    other.bucket == member.bucket
                        && other.object_id == member.object_id
                        && object_type(other) == object_type(member)
                })
            };
            for member in before.iter().filter(|member| !stays(member)) {
                push(&member.bucket, remove_op(member, key));
            }
        }
    }

    fn apply_lookups(&self, generation: &Generation, config: &SyncConfig, change: &RowChange, staged: &mut Staged) {
        for (definition, query) in &config.lookups_by_table[change.table] {
            let ParameterQuery::Lookup(lookup) = &config.definitions[*definition].parameters[*query] else {
                unreachable!("only queries with FROM are listed by table");
            };
            let entry = |row: &Option<Row>| {
                row.as_ref().map(|row| lookup.index_entry(&change.id, row, config.time_format)).unwrap_or_default()
            };
            staged.lookups.push(StagedLookup {
                generation: generation.number,
                query: (*definition, *query),
                id: change.id.clone(),
                before: entry(&change.before),
                after: entry(&change.after),
            });
        }
    }

    fn subkey(&self, table: usize, id: &str, row: &Row) -> Subkey {
        let table = &self.tables[table];
        let mut identity = Vec::with_capacity(256);
        identity.extend_from_slice(id.as_bytes());
        if table.identity == ReplicaIdentity::Full {
            for value in row.iter() {
                append_value(&mut identity, value);
            }
        }
        Subkey { table: table.id, row: Uuid::new_v5(&table.id, &identity) }
    }
}

fn memberships(generation: &Generation, config: &SyncConfig, change: &RowChange, row: &Row) -> Vec<Membership> {
    let mut found: Vec<Membership> = Vec::new();
    for (definition, query) in &config.data_by_table[change.table] {
        let query = &config.definitions[*definition].data[*query];
        let object_id = config.projections[query.projection].client_id(&change.id, row, config.time_format);
        query.buckets_of_row(&change.id, row, config.time_format, &mut |parameters| {
            let name = config.bucket_name(generation.number, *definition, parameters.iter());
            let bucket = match generation.buckets.get_key_value(name.as_str()) {
                Some((known, _)) => known.clone(),
                None => Arc::from(name),
            };
            found.push(Membership { bucket, projection: query.projection, object_id: object_id.clone() });
        });
    }
    found
}
