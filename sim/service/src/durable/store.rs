//! The SQLite file: its tables, and how they are read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use super::encoding::{
    CLEAR, META_ACTIVE, META_LAST_OP_ID, META_LAYOUT, META_LSN, META_SNAPSHOT_NEEDED, META_SOURCE, MOVE, decode_row_op,
    decode_subkey,
};
use super::transaction::StoreTransaction;
use crate::bucket::Bucket;
use crate::operation::{Body, Op, RowOp};
use crate::row_bytes;
use crate::storage::SourceRow;

/// The version of the tables. A file of another version is refused.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (number INTEGER PRIMARY KEY, config TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS buckets
    (id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (generation, name));
CREATE TABLE IF NOT EXISTS ops
    (op_id INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, kind INTEGER NOT NULL, checksum INTEGER NOT NULL,
     target INTEGER NOT NULL, wire TEXT);
CREATE TABLE IF NOT EXISTS source_rows
    (source INTEGER NOT NULL, id TEXT NOT NULL, subkey BLOB NOT NULL, data BLOB NOT NULL, PRIMARY KEY (source, id))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS write_checkpoints
    (client TEXT PRIMARY KEY, counter INTEGER NOT NULL, head INTEGER NOT NULL) WITHOUT ROWID;
";

/// How much of a crash the file survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum SyncMode {
    /// Loss of power too: each commit waits for the disk.
    #[default]
    Full,
    /// The end of the process, however sudden, but not loss of power.
    Process,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An error of SQLite.
    #[error("the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file has another version.
    #[error("the store is of version {found}; this program reads version {VERSION}")]
    Version {
        /// Its version.
        found: i64,
    },
    /// Another process has it open.
    #[error("the store is in use by another process")]
    InUse,
    /// It does not hold what it should.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// The directory could not be made.
    #[error("the store's directory: {0}")]
    Directory(#[from] std::io::Error),
}

/// The file.
#[derive(Debug)]
pub(crate) struct Store {
    db: Connection,
    /// Ids of buckets by generation and name.
    bucket_ids: BTreeMap<(u32, Arc<str>), i64>,
}

/// What the table `meta` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreMeta {
    /// The source's position up to which everything is in the buckets; `None` before the first snapshot.
    pub(crate) lsn: Option<u64>,
    pub(crate) last_op_id: u64,
    /// Names the cluster and the database that the rows are from.
    pub(crate) source: String,
    /// The tables, as the source writes them.
    pub(crate) layout: String,
    /// The generation that is served.
    pub(crate) active: u32,
    /// A new snapshot was begun and not finished.
    pub(crate) snapshot_needed: bool,
}

/// A generation as the file holds it.
#[derive(Debug)]
pub(crate) struct StoredGeneration {
    pub(crate) number: u32,
    pub(crate) config: String,
    pub(crate) buckets: BTreeMap<Arc<str>, Bucket>,
}

impl Store {
    /// Opens or creates the file, and locks it for this process.
    pub(crate) fn open(path: &Path, sync: SyncMode) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let db = Connection::open(path)?;
        let busy = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => StoreError::InUse,
            _ => StoreError::Sqlite(error),
        };
        // A process that was just killed may hold its lock for a moment longer.
        db.busy_timeout(std::time::Duration::from_secs(2))?;
        // Exclusive before WAL: then the index of the log is in memory, and the lock is held until the process ends.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(busy)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(busy)?;
        db.pragma_update(None, "synchronous", if sync == SyncMode::Full { "FULL" } else { "NORMAL" })?;
        db.execute_batch("BEGIN EXCLUSIVE").map_err(busy)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != 0 && found != VERSION {
            return Err(StoreError::Version { found });
        }
        db.execute_batch(TABLES)?;
        db.pragma_update(None, "user_version", VERSION)?;
        db.execute_batch("COMMIT")?;
        db.set_prepared_statement_cache_capacity(32);
        let bucket_ids = bucket_ids(&db)?;
        Ok(Self { db, bucket_ids })
    }

    pub(crate) fn meta(&self) -> Result<StoreMeta, StoreError> {
        let mut get = self.db.prepare("SELECT value FROM meta WHERE key = ?1")?;
        let mut int =
            |key: &str| -> Result<Option<i64>, rusqlite::Error> { get.query_row([key], |row| row.get(0)).optional() };
        let lsn = int(META_LSN)?.map(i64::cast_unsigned);
        let last_op_id = int(META_LAST_OP_ID)?.unwrap_or(0).cast_unsigned();
        let active = u32::try_from(int(META_ACTIVE)?.unwrap_or(0)).map_err(|_| StoreError::Damaged("generation"))?;
        let snapshot_needed = int(META_SNAPSHOT_NEEDED)?.unwrap_or(0) != 0;
        let mut text = |key: &str| -> Result<String, rusqlite::Error> {
            Ok(get.query_row([key], |row| row.get(0)).optional()?.unwrap_or_default())
        };
        let (source, layout) = (text(META_SOURCE)?, text(META_LAYOUT)?);
        Ok(StoreMeta { lsn, last_op_id, source, layout, active, snapshot_needed })
    }

    /// The source's rows, by table and key.
    pub(crate) fn rows(&self, tables: usize) -> Result<Vec<BTreeMap<Arc<str>, SourceRow>>, StoreError> {
        let mut all = vec![BTreeMap::new(); tables];
        let mut query = self.db.prepare("SELECT source, id, subkey, data FROM source_rows")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (table, id): (i64, String) = (row.get(0)?, row.get(1)?);
            let (subkey, data) = (row.get_ref(2)?, row.get_ref(3)?);
            let subkey = subkey.as_blob().ok().and_then(decode_subkey).ok_or(StoreError::Damaged("subkey"))?;
            let row = data.as_blob().ok().and_then(row_bytes::decode).ok_or(StoreError::Damaged("row"))?;
            let table =
                usize::try_from(table).ok().and_then(|table| all.get_mut(table)).ok_or(StoreError::Damaged("table"))?;
            table.insert(Arc::from(id), SourceRow { row, subkey });
        }
        Ok(all)
    }

    /// All generations with their buckets.
    pub(crate) fn generations(&self) -> Result<Vec<StoredGeneration>, StoreError> {
        let mut all: BTreeMap<u32, StoredGeneration> = BTreeMap::new();
        let mut query = self.db.prepare("SELECT number, config FROM generations")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (number, config) = (row.get(0)?, row.get(1)?);
            all.insert(number, StoredGeneration { number, config, buckets: BTreeMap::new() });
        }
        let names: BTreeMap<i64, (u32, Arc<str>)> =
            self.bucket_ids.iter().map(|(key, id)| (*id, (key.0, key.1.clone()))).collect();
        let mut ops: BTreeMap<i64, Vec<Op>> = BTreeMap::new();
        let mut query =
            self.db.prepare("SELECT op_id, bucket, kind, checksum, target, wire FROM ops ORDER BY op_id")?;
        let mut rows = query.query([])?;
        let mut last: Option<Arc<RowOp>> = None;
        while let Some(row) = rows.next()? {
            let op_id = row.get::<_, i64>(0)?.cast_unsigned();
            let checksum: u32 = row.get(3)?;
            let target = row.get::<_, i64>(4)?.cast_unsigned();
            let body = match row.get::<_, i64>(2)? {
                MOVE => Body::Move { checksum, target },
                CLEAR => Body::Clear { checksum, target },
                _ => {
                    let wire: String = row.get(5)?;
                    // The operations of one row are neighbours, one for each bucket. They share their text.
                    let same = last.as_ref().filter(|last| last.wire == wire);
                    let op = match same {
                        Some(same) => same.clone(),
                        None => Arc::new(decode_row_op(wire, checksum).ok_or(StoreError::Damaged("operation"))?),
                    };
                    last = Some(op.clone());
                    Body::Row(op)
                }
            };
            ops.entry(row.get(1)?).or_default().push(Op { op_id, body });
        }
        for (id, ops) in ops {
            let (number, name) = names.get(&id).ok_or(StoreError::Damaged("bucket"))?;
            let generation = all.get_mut(number).ok_or(StoreError::Damaged("generation"))?;
            generation.buckets.insert(name.clone(), Bucket::restored(ops));
        }
        Ok(all.into_values().collect())
    }

    /// Write checkpoints as (client, counter, head).
    pub(crate) fn write_checkpoints(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        let mut query = self.db.prepare("SELECT client, counter, head FROM write_checkpoints")?;
        let rows = query.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(2)?.cast_unsigned()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Commits what `write` writes: all of it is durable when this returns, or nothing is written.
    pub(crate) fn commit(
        &mut self,
        write: impl FnOnce(&mut StoreTransaction<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), StoreError> {
        let result = {
            let mut transaction = StoreTransaction::new(self.db.transaction()?, &mut self.bucket_ids);
            write(&mut transaction).and_then(|()| transaction.commit())
        };
        if result.is_err() {
            // After a rollback, buckets that were given ids may be gone.
            self.bucket_ids = bucket_ids(&self.db)?;
        }
        Ok(result?)
    }
}

/// Ids of buckets by generation and name.
fn bucket_ids(db: &Connection) -> Result<BTreeMap<(u32, Arc<str>), i64>, rusqlite::Error> {
    let mut query = db.prepare("SELECT id, generation, name FROM buckets")?;
    let rows = query.query_map([], |row| {
        let name: String = row.get(2)?;
        Ok(((row.get(1)?, Arc::from(name)), row.get(0)?))
    })?;
    rows.collect()
}
