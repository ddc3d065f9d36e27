//! One commit to the store's file.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Transaction, params};

use super::encoding::{
    CLEAR, META_ACTIVE, META_LAST_OP_ID, META_LAYOUT, META_LSN, META_SNAPSHOT_NEEDED, META_SOURCE, MOVE, ROW,
    encode_subkey,
};
use crate::bucket::Bucket;
use crate::operation::{Body, Op, RowOp};
use crate::row_bytes;
use crate::storage::{SourceRow, StagedOp};

/// A commit that is being written.
pub(crate) struct StoreTransaction<'s> {
    db: Transaction<'s>,
    bucket_ids: &'s mut BTreeMap<(u32, Arc<str>), i64>,
}

impl<'s> StoreTransaction<'s> {
    pub(super) fn new(db: Transaction<'s>, bucket_ids: &'s mut BTreeMap<(u32, Arc<str>), i64>) -> Self {
        Self { db, bucket_ids }
    }

    pub(super) fn commit(self) -> Result<(), rusqlite::Error> {
        self.db.commit()
    }

    fn meta(&self, key: &str, value: impl rusqlite::ToSql) -> Result<(), rusqlite::Error> {
        let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
        put.execute(params![key, value]).map(drop)
    }

    /// The source's position, and the greatest operation id given out.
    pub(crate) fn position(&self, lsn: u64, last_op_id: u64) -> Result<(), rusqlite::Error> {
        self.meta(META_LSN, lsn.cast_signed())?;
        self.last_op_id(last_op_id)
    }

    pub(crate) fn last_op_id(&self, last_op_id: u64) -> Result<(), rusqlite::Error> {
        self.meta(META_LAST_OP_ID, last_op_id.cast_signed())
    }

    /// The generation that is served.
    pub(crate) fn active_generation(&self, number: u32) -> Result<(), rusqlite::Error> {
        self.meta(META_ACTIVE, number)
    }

    /// Whether replication needs a new snapshot to go on.
    pub(crate) fn snapshot_needed(&self, needed: bool) -> Result<(), rusqlite::Error> {
        self.meta(META_SNAPSHOT_NEEDED, needed)
    }

    /// Which cluster and database the rows are from, and its tables.
    pub(crate) fn source(&self, source: &str, layout: &str) -> Result<(), rusqlite::Error> {
        self.meta(META_SOURCE, source)?;
        self.meta(META_LAYOUT, layout)
    }

    pub(crate) fn generation(&self, number: u32, config: &str) -> Result<(), rusqlite::Error> {
        self.db.execute("INSERT OR REPLACE INTO generations VALUES (?1, ?2)", params![number, config]).map(drop)
    }

    /// Deletes all generations except these.
    pub(crate) fn keep_generations(&mut self, kept: &[u32]) -> Result<(), rusqlite::Error> {
        let deleted: Vec<((u32, Arc<str>), i64)> = self
            .bucket_ids
            .iter()
            .filter(|((number, _), _)| !kept.contains(number))
            .map(|(key, id)| (key.clone(), *id))
            .collect();
        let list: Vec<String> = kept.iter().map(ToString::to_string).collect();
        let list = list.join(",");
        self.db.execute_batch(&format!(
            "DELETE FROM ops WHERE bucket IN (SELECT id FROM buckets WHERE generation NOT IN ({list}));
             DELETE FROM buckets WHERE generation NOT IN ({list});
             DELETE FROM generations WHERE number NOT IN ({list});"
        ))?;
        for (key, _) in deleted {
            self.bucket_ids.remove(&key);
        }
        Ok(())
    }

    pub(crate) fn op(&mut self, staged: &StagedOp) -> Result<(), rusqlite::Error> {
        self.row_op(staged.generation, &staged.bucket, staged.op_id, &staged.op)
    }

    /// Writes a whole bucket of a new generation.
    pub(crate) fn bucket(&mut self, generation: u32, name: &Arc<str>, bucket: &Bucket) -> Result<(), rusqlite::Error> {
        for op in bucket.range(0, u64::MAX) {
            match &op.body {
                Body::Row(row) => self.row_op(generation, name, op.op_id, row)?,
                Body::Move { .. } | Body::Clear { .. } => self.compacted(generation, name, op)?,
            }
        }
        Ok(())
    }

    /// Writes an operation that compaction has replaced.
    pub(crate) fn compacted(&mut self, generation: u32, name: &Arc<str>, op: &Op) -> Result<(), rusqlite::Error> {
        let (kind, checksum, target) = match &op.body {
            Body::Row(_) => return Ok(()),
            Body::Move { checksum, target } => (MOVE, *checksum, *target),
            Body::Clear { checksum, target } => (CLEAR, *checksum, *target),
        };
        let bucket = self.bucket_id(generation, name)?;
        let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO ops VALUES (?1, ?2, ?3, ?4, ?5, NULL)")?;
        put.execute(params![op.op_id.cast_signed(), bucket, kind, checksum, target.cast_signed()]).map(drop)
    }

    pub(crate) fn delete_op(&self, op_id: u64) -> Result<(), rusqlite::Error> {
        let mut delete = self.db.prepare_cached("DELETE FROM ops WHERE op_id = ?1")?;
        delete.execute([op_id.cast_signed()]).map(drop)
    }

    pub(crate) fn row(&self, table: usize, id: &str, row: Option<&SourceRow>) -> Result<(), rusqlite::Error> {
        #[expect(clippy::cast_possible_wrap, reason = "tables are few")]
        let table = table as i64;
        let Some(SourceRow { row, subkey }) = row else {
            let mut delete = self.db.prepare_cached("DELETE FROM source_rows WHERE source = ?1 AND id = ?2")?;
            return delete.execute(params![table, id]).map(drop);
        };
        let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO source_rows VALUES (?1, ?2, ?3, ?4)")?;
        put.execute(params![table, id, encode_subkey(*subkey), row_bytes::encode(row)]).map(drop)
    }

    pub(crate) fn delete_rows(&self) -> Result<(), rusqlite::Error> {
        self.db.execute("DELETE FROM source_rows", []).map(drop)
    }

    pub(crate) fn write_checkpoint(&self, client: &str, counter: u64, head: u64) -> Result<(), rusqlite::Error> {
        let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO write_checkpoints VALUES (?1, ?2, ?3)")?;
        put.execute(params![client, counter.cast_signed(), head.cast_signed()]).map(drop)
    }

    fn row_op(&mut self, generation: u32, name: &Arc<str>, op_id: u64, op: &RowOp) -> Result<(), rusqlite::Error> {
        let bucket = self.bucket_id(generation, name)?;
        let mut put = self.db.prepare_cached("INSERT INTO ops VALUES (?1, ?2, ?3, ?4, 0, ?5)")?;
        put.execute(params![op_id.cast_signed(), bucket, ROW, op.checksum, op.wire]).map(drop)
    }

    fn bucket_id(&mut self, generation: u32, name: &Arc<str>) -> Result<i64, rusqlite::Error> {
        let key = (generation, name.clone());
        if let Some(id) = self.bucket_ids.get(&key) {
            return Ok(*id);
        }
        let mut put = self.db.prepare_cached("INSERT INTO buckets (generation, name) VALUES (?1, ?2)")?;
        let id = put.insert(params![generation, &**name])?;
        self.bucket_ids.insert(key, id);
        Ok(id)
    }
}
