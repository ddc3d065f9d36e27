//! The SQLite file: its tables, how they are written, and how a state comes back from them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Deserialize;
use uuid::Uuid;

use super::encoding;
use crate::bucket::{Body, Bucket, Op, RowOp, Subkey};
use crate::storage::{SourceRow, StagedOp};

/// What the file is laid out as. A file of another version is refused.
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

const ROW: i64 = 0;
const MOVE: i64 = 1;
const CLEAR: i64 = 2;

/// How much of a crash the file survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Sync {
    /// Loss of power too: each commit waits for the disk.
    #[default]
    Full,
    /// The end of the process, however sudden, but not loss of power.
    Process,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file is not one of ours, or of another version.
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

/// What the file says about where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The source up to here is in the buckets; `None` before the first snapshot.
    pub(crate) lsn: Option<u64>,
    pub(crate) last_op_id: u64,
    /// Which cluster and database the rows are of.
    pub(crate) source: String,
    /// The tables, as the source's own text.
    pub(crate) catalog: String,
    /// The generation that is served.
    pub(crate) active: u32,
    /// A new snapshot was begun and not finished.
    pub(crate) resync: bool,
}

/// A generation as the file has it.
#[derive(Debug)]
pub(crate) struct StoredGeneration {
    pub(crate) number: u32,
    pub(crate) config: String,
    pub(crate) buckets: BTreeMap<Arc<str>, Bucket>,
}

impl Store {
    /// Opens or creates the file, and locks it for this process.
    pub(crate) fn open(path: &Path, sync: Sync) -> Result<Self, StoreError> {
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
        // Exclusive before WAL: the index of the log is then in memory, and the lock is kept.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(busy)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(busy)?;
        db.pragma_update(None, "synchronous", if sync == Sync::Full { "FULL" } else { "NORMAL" })?;
        db.execute_batch("BEGIN EXCLUSIVE").map_err(busy)?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != 0 && found != VERSION {
            return Err(StoreError::Version { found });
        }
        db.execute_batch(TABLES)?;
        db.pragma_update(None, "user_version", VERSION)?;
        db.execute_batch("COMMIT")?;
        db.set_prepared_statement_cache_capacity(32);
        let mut bucket_ids = BTreeMap::new();
        {
            let mut query = db.prepare("SELECT id, generation, name FROM buckets")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let name: String = row.get(2)?;
                bucket_ids.insert((row.get(1)?, Arc::from(name)), row.get(0)?);
            }
        }
        Ok(Self { db, bucket_ids })
    }

    /// Where it stands.
    pub(crate) fn standing(&self) -> Result<Standing, StoreError> {
        let mut get = self.db.prepare("SELECT value FROM meta WHERE key = ?1")?;
        let mut int =
            |key: &str| -> Result<Option<i64>, rusqlite::Error> { get.query_row([key], |row| row.get(0)).optional() };
        let lsn = int("lsn")?.map(i64::cast_unsigned);
        let last_op_id = int("last_op_id")?.unwrap_or(0).cast_unsigned();
        let active = u32::try_from(int("active")?.unwrap_or(0)).map_err(|_| StoreError::Damaged("generation"))?;
        let resync = int("resync")?.unwrap_or(0) != 0;
        let mut text = |key: &str| -> Result<String, rusqlite::Error> {
            Ok(get.query_row([key], |row| row.get(0)).optional()?.unwrap_or_default())
        };
        let (source, catalog) = (text("source")?, text("catalog")?);
        Ok(Standing { lsn, last_op_id, source, catalog, active, resync })
    }

    /// The source's rows, by table and key.
    pub(crate) fn rows(&self, tables: usize) -> Result<Vec<BTreeMap<Arc<str>, SourceRow>>, StoreError> {
        let mut all = vec![BTreeMap::new(); tables];
        let mut query = self.db.prepare("SELECT source, id, subkey, data FROM source_rows")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (table, id): (i64, String) = (row.get(0)?, row.get(1)?);
            let (subkey, data) = (row.get_ref(2)?, row.get_ref(3)?);
            let subkey = subkey.as_blob().ok().and_then(subkey_of).ok_or(StoreError::Damaged("subkey"))?;
            let row = data.as_blob().ok().and_then(encoding::decode).ok_or(StoreError::Damaged("row"))?;
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
                    // The operations of one row lie next to each other, one a bucket: they share their text.
                    let same = last.as_ref().filter(|last| last.wire == wire);
                    let op = match same {
                        Some(same) => same.clone(),
                        None => Arc::new(row_op(wire, checksum).ok_or(StoreError::Damaged("operation"))?),
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

    /// Writes together: all of it is durable when this returns, or none of it is there.
    pub(crate) fn commit(
        &mut self,
        write: impl FnOnce(&mut Writing<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), StoreError> {
        let result = {
            let mut writing = Writing { db: self.db.transaction()?, bucket_ids: &mut self.bucket_ids };
            write(&mut writing).and_then(|()| writing.db.commit())
        };
        if result.is_err() {
            self.reread_buckets()?;
        }
        Ok(result?)
    }

    /// After a rollback the file may know other buckets than were given ids.
    fn reread_buckets(&mut self) -> Result<(), StoreError> {
        self.bucket_ids.clear();
        let mut query = self.db.prepare("SELECT id, generation, name FROM buckets")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(2)?;
            self.bucket_ids.insert((row.get(1)?, Arc::from(name)), row.get(0)?);
        }
        Ok(())
    }
}

/// A commit in the making.
pub(crate) struct Writing<'s> {
    db: Transaction<'s>,
    bucket_ids: &'s mut BTreeMap<(u32, Arc<str>), i64>,
}

impl Writing<'_> {
    pub(crate) fn meta(&self, key: &str, value: impl rusqlite::ToSql) -> Result<(), rusqlite::Error> {
        let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
        put.execute(params![key, value]).map(drop)
    }

    /// Where the source stands, and the greatest operation id given out.
    pub(crate) fn position(&self, lsn: u64, last_op_id: u64) -> Result<(), rusqlite::Error> {
        self.meta("lsn", lsn.cast_signed())?;
        self.meta("last_op_id", last_op_id.cast_signed())
    }

    pub(crate) fn generation(&self, number: u32, config: &str) -> Result<(), rusqlite::Error> {
        self.db.execute("INSERT OR REPLACE INTO generations VALUES (?1, ?2)", params![number, config]).map(drop)
    }

    /// Forgets all generations but these.
    pub(crate) fn keep_generations(&mut self, kept: &[u32]) -> Result<(), rusqlite::Error> {
        let gone: Vec<((u32, Arc<str>), i64)> = self
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
        for (key, _) in gone {
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
                Body::Move { checksum, target } => self.swept(generation, name, op.op_id, MOVE, *checksum, *target)?,
                Body::Clear { checksum, target } => {
                    self.swept(generation, name, op.op_id, CLEAR, *checksum, *target)?
                }
            }
        }
        Ok(())
    }

    /// Writes what compaction made of an operation.
    pub(crate) fn compacted(&mut self, generation: u32, name: &Arc<str>, op: &Op) -> Result<(), rusqlite::Error> {
        match &op.body {
            Body::Row(_) => Ok(()),
            Body::Move { checksum, target } => self.swept(generation, name, op.op_id, MOVE, *checksum, *target),
            Body::Clear { checksum, target } => self.swept(generation, name, op.op_id, CLEAR, *checksum, *target),
        }
    }

    pub(crate) fn forget_op(&self, op_id: u64) -> Result<(), rusqlite::Error> {
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
        put.execute(params![table, id, subkey_bytes(*subkey), encoding::encode(row)]).map(drop)
    }

    pub(crate) fn forget_rows(&self) -> Result<(), rusqlite::Error> {
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

    fn swept(
        &mut self,
        generation: u32,
        name: &Arc<str>,
        op_id: u64,
        kind: i64,
        checksum: u32,
        target: u64,
    ) -> Result<(), rusqlite::Error> {
        let bucket = self.bucket_id(generation, name)?;
        let mut put = self.db.prepare_cached("INSERT OR REPLACE INTO ops VALUES (?1, ?2, ?3, ?4, ?5, NULL)")?;
        put.execute(params![op_id.cast_signed(), bucket, kind, checksum, target.cast_signed()]).map(drop)
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

fn subkey_bytes(subkey: Subkey) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(subkey.table.as_bytes());
    bytes[16..].copy_from_slice(subkey.row.as_bytes());
    bytes
}

fn subkey_of(bytes: &[u8]) -> Option<Subkey> {
    let (table, row) = bytes.split_at_checked(16)?;
    Some(Subkey { table: Uuid::from_slice(table).ok()?, row: Uuid::from_slice(row).ok()? })
}

/// The parts of an operation that its wire text repeats.
#[derive(Deserialize)]
struct WireParts {
    object_type: String,
    object_id: String,
    subkey: String,
}

fn row_op(wire: String, checksum: u32) -> Option<RowOp> {
    let parts: WireParts = serde_json::from_str(&format!("{{{wire}}}")).ok()?;
    let (table, row) = parts.subkey.split_once('/')?;
    let subkey = Subkey { table: table.parse().ok()?, row: row.parse().ok()? };
    Some(RowOp {
        object_type: Arc::from(parts.object_type),
        object_id: Arc::from(parts.object_id),
        subkey,
        checksum,
        wire,
    })
}
