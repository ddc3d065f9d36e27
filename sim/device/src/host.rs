//! The host around the real sync core: what an SDK does, as steps of at most one SQLite commit each.
//!
//! Sans-IO: it knows no network, no clock and no task. [`super::actor`] drives it. Every method that commits says
//! so; a crash may strike after any of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fixtures::{App, Value};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::value::RawValue;
use sim_core::history::{Apply, LocalOp, Op, RowId};

use crate::database::Database;
use crate::error::DeviceError;
use crate::recorder::Recorder;

/// The sentinel that means "the write checkpoint is not known yet".
const MAX_OP_ID: i64 = i64::MAX;

/// What the core tells its SDK to do. Bodies that the host does not need are skipped unread.
#[derive(Debug, Deserialize)]
pub enum Instruction {
    /// Write to the log.
    LogLine {
        /// DEBUG, INFO or WARNING.
        severity: String,
        /// The line.
        line: String,
    },
    /// The status changed.
    UpdateSyncStatus(serde::de::IgnoredAny),
    /// Open the stream with this request body.
    EstablishSyncStream {
        /// The body.
        request: Box<RawValue>,
    },
    /// Get a token.
    FetchCredentials {
        /// Whether the present one has expired; if not, this is a prefetch.
        did_expire: bool,
    },
    /// The iteration is over.
    CloseSyncStream {
        /// Whether to connect again at once.
        hide_disconnect: bool,
    },
    /// For file systems of browsers.
    FlushFileSystem(serde::de::IgnoredAny),
    /// A full checkpoint was applied.
    DidCompleteSync(serde::de::IgnoredAny),
    /// Only on request.
    HandleDiagnostics(serde::de::IgnoredAny),
}

/// What one control call brought about.
#[derive(Debug, Default)]
pub struct Step {
    /// What to do next, in order.
    pub instructions: Vec<Instruction>,
    /// What became visible, if anything was applied.
    pub applied: Option<Apply>,
}

/// One transaction of the upload queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Its id.
    pub tx_id: i64,
    /// The greatest op id in it.
    pub last_op_id: i64,
    /// The wire form of its operations: a JSON array.
    pub ops_json: String,
    /// The op ids, ascending.
    pub op_ids: Vec<i64>,
}

/// The host of one device.
pub struct Host {
    database: Database,
    app: Arc<App>,
    recorder: Recorder,
    /// Rows that data lines or local writes touched since the last full apply.
    touched: BTreeSet<(usize, Arc<str>)>,
    /// Whether the next full apply must list every visible row, because memory of what was touched is gone.
    whole: bool,
    /// The buckets that the stream has told of: rows of one that is gone vanish untouched.
    buckets: BTreeSet<Box<str>>,
    checkpoint_op: u64,
    write_checkpoint: Option<u64>,
    first_arrival_us: Option<i64>,
    /// How many operations are queued, once counted.
    queued: Option<u32>,
    sqlite_time: Duration,
}

#[derive(Deserialize)]
struct DataLine<'a> {
    #[serde(borrow)]
    data: DataBody<'a>,
}

#[derive(Deserialize)]
struct DataBody<'a> {
    #[serde(borrow)]
    data: Vec<DataOp<'a>>,
}

#[derive(Deserialize)]
struct DataOp<'a> {
    op: Cow<'a, str>,
    #[serde(borrow, default)]
    object_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    object_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct CheckpointLine<'a> {
    #[serde(borrow, alias = "checkpoint_diff")]
    checkpoint: CheckpointBody<'a>,
}

#[derive(Deserialize)]
struct CheckpointBody<'a> {
    last_op_id: Cow<'a, str>,
    #[serde(default)]
    write_checkpoint: Option<Cow<'a, str>>,
    #[serde(default)]
    removed_buckets: Vec<serde::de::IgnoredAny>,
    #[serde(borrow, default, alias = "updated_buckets")]
    buckets: Vec<NamedBucket<'a>>,
}

#[derive(Deserialize)]
struct NamedBucket<'a> {
    #[serde(borrow)]
    bucket: Cow<'a, str>,
}

#[derive(Deserialize)]
struct PartialLine {
    partial_checkpoint_complete: PartialBody,
}

#[derive(Deserialize)]
struct PartialBody {
    priority: u32,
}

#[derive(Deserialize)]
struct CrudEntry<'a> {
    op: Op,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    table: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Columns<'a>>,
    #[serde(borrow, default)]
    old: Option<Columns<'a>>,
}

/// A JSON object's members in order, values unread.
struct Columns<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<BorrowedKey<'de>>()? {
                    members.push((key.0, map.next_value::<&'de RawValue>()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Columns)
    }
}

#[derive(Deserialize)]
struct BorrowedKey<'a>(#[serde(borrow)] Cow<'a, str>);

impl Host {
    /// Starts the app on a database.
    #[must_use]
    pub fn start(database: Database, app: Arc<App>, recorder: Recorder, fresh: bool) -> Self {
        Self {
            database,
            app,
            recorder,
            touched: BTreeSet::new(),
            whole: !fresh,
            buckets: BTreeSet::new(),
            checkpoint_op: 0,
            write_checkpoint: None,
            first_arrival_us: None,
            queued: if fresh { Some(0) } else { None },
            sqlite_time: Duration::ZERO,
        }
    }

    /// The storage.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Kills the app; its database stays.
    #[must_use]
    pub fn kill(mut self) -> (Database, Duration) {
        self.database.kill();
        (self.database, self.sqlite_time)
    }

    /// Ends the app at the end of a plan; its connection may serve the next one.
    #[must_use]
    pub fn stop(self) -> (Database, Duration) {
        (self.database, self.sqlite_time)
    }

    /// Time spent inside SQLite and the core.
    #[must_use]
    pub fn sqlite_time(&self) -> Duration {
        self.sqlite_time
    }

    /// Calls the core. One commit.
    ///
    /// # Errors
    /// The core's; the iteration is then over.
    pub fn control(&mut self, op: &str, payload: Option<&str>) -> Result<Step, DeviceError> {
        let json = self.timed(|connection| control(connection, op, payload))?;
        let mut step = Step { instructions: serde_json::from_str(&json)?, applied: None };
        if step.instructions.iter().any(|instruction| matches!(instruction, Instruction::DidCompleteSync(_))) {
            step.applied = Some(self.collect(None)?);
        }
        Ok(step)
    }

    /// Hands one line of the stream to the core. One commit.
    ///
    /// # Errors
    /// The core's; the iteration is then over.
    pub fn line(&mut self, line: &str) -> Result<Step, DeviceError> {
        let mut partial = None;
        if line.starts_with("{\"data\"") {
            let parsed: DataLine<'_> = serde_json::from_str(line)?;
            self.first_arrival_us.get_or_insert(self.recorder.now_us());
            for op in &parsed.data.data {
                match (&op.object_type, &op.object_id) {
                    (Some(table), Some(id)) if matches!(&*op.op, "PUT" | "REMOVE") => {
                        if let Some(table) = self.app.schema.table_index(table) {
                            self.touched.insert((table, Arc::from(&**id)));
                        }
                    }
                    _ => self.whole |= op.op == "CLEAR",
                }
            }
        } else if line.starts_with("{\"checkpoint\"") || line.starts_with("{\"checkpoint_diff\"") {
            let parsed: CheckpointLine<'_> = serde_json::from_str(line)?;
            self.checkpoint_op = parsed.checkpoint.last_op_id.parse().unwrap_or(0);
            self.write_checkpoint = parsed.checkpoint.write_checkpoint.and_then(|number| number.parse().ok());
            self.whole |= !parsed.checkpoint.removed_buckets.is_empty();
            let names = parsed.checkpoint.buckets;
            if line.starts_with("{\"checkpoint\"") {
                self.whole |= self.buckets.iter().any(|known| !names.iter().any(|named| *named.bucket == **known));
                self.buckets.clear();
            }
            for named in names {
                if !self.buckets.contains(&*named.bucket) {
                    self.buckets.insert(Box::from(&*named.bucket));
                }
            }
        } else if line.starts_with("{\"partial") {
            let parsed: PartialLine = serde_json::from_str(line)?;
            partial = Some(parsed.partial_checkpoint_complete.priority);
        }
        let open = match partial {
            Some(0) => true,
            Some(_) => self.gate_is_open()?,
            None => false,
        };
        let mut step = self.control("line_text", Some(line))?;
        let closed =
            step.instructions.iter().any(|instruction| matches!(instruction, Instruction::CloseSyncStream { .. }));
        if closed {
            self.whole = true;
        } else if open {
            step.applied = Some(self.collect(partial)?);
        }
        Ok(step)
    }

    /// Runs a local transaction. One commit, or none if the body fails.
    ///
    /// # Errors
    /// SQLite's; nothing of the transaction then stays.
    pub fn transaction<T>(
        &mut self,
        body: impl FnOnce(&Connection) -> Result<T, DeviceError>,
    ) -> Result<(T, Option<i64>, Vec<LocalOp>), DeviceError> {
        let start = Instant::now();
        let connection = self.database.connection()?;
        let before: i64 = connection
            .prepare_cached("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'ps_crud'), 0)")?
            .query_row([], |row| row.get(0))?;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = body(connection).and_then(|value| {
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(value)
        });
        let value = match done {
            Ok(value) => value,
            Err(error) => {
                if !connection.is_autocommit() {
                    connection.prepare_cached("ROLLBACK")?.execute([])?;
                }
                self.sqlite_time += start.elapsed();
                return Err(error);
            }
        };
        let entries: Vec<(i64, i64, String)> = connection
            .prepare_cached("SELECT id, tx_id, data FROM ps_crud WHERE id > ?1 ORDER BY id")?
            .query_map([before], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        self.sqlite_time += start.elapsed();
        self.queued = self.queued.map(|queued| queued + u32::try_from(entries.len()).unwrap_or(u32::MAX));
        let tx_id = entries.first().map(|(_, tx_id, _)| *tx_id);
        let mut ops = Vec::with_capacity(entries.len());
        for (op_id, _, data) in &entries {
            let (op, table, id) = self.local_op(*op_id, data)?;
            ops.push(op);
            self.touched.insert((table, id));
        }
        Ok((value, tx_id, ops))
    }

    /// The oldest transaction of the upload queue, in wire form.
    ///
    /// # Errors
    /// SQLite's.
    pub fn next_queued(&mut self) -> Result<Option<Queued>, DeviceError> {
        let entries = self.timed(|connection| {
            let head: Option<i64> = connection
                .prepare_cached("SELECT tx_id FROM ps_crud ORDER BY id LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            let Some(tx_id) = head else { return Ok(None) };
            let entries: Vec<(i64, String)> = connection
                .prepare_cached("SELECT id, data FROM ps_crud WHERE tx_id = ?1 ORDER BY id")?
                .query_map([tx_id], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            Ok(Some((tx_id, entries)))
        })?;
        let Some((tx_id, entries)) = entries else { return Ok(None) };
        let mut ops_json = String::with_capacity(entries.iter().map(|(_, data)| data.len() + 32).sum());
        ops_json.push('[');
        for (index, (op_id, data)) in entries.iter().enumerate() {
            if index > 0 {
                ops_json.push(',');
            }
            self.write_wire_op(&mut ops_json, *op_id, data)?;
        }
        ops_json.push(']');
        Ok(Some(Queued {
            tx_id,
            last_op_id: entries.last().map_or(0, |(id, _)| *id),
            op_ids: entries.iter().map(|(id, _)| *id).collect(),
            ops_json,
        }))
    }

    /// How many operations are queued.
    ///
    /// # Errors
    /// SQLite's.
    pub fn queue_length(&mut self) -> Result<u32, DeviceError> {
        if let Some(queued) = self.queued {
            return Ok(queued);
        }
        let queued = self.timed(|connection| {
            Ok(connection.prepare_cached("SELECT count(*) FROM ps_crud")?.query_row([], |row| row.get(0))?)
        })?;
        self.queued = Some(queued);
        Ok(queued)
    }

    /// Removes an answered transaction from the queue and stores its outcomes. One commit.
    ///
    /// `outcomes` are (op id, or none for the whole transaction; outcome; reason).
    ///
    /// # Errors
    /// SQLite's.
    pub fn complete(
        &mut self,
        tx: &Queued,
        outcomes: &[(Option<i64>, &str, Option<&str>)],
    ) -> Result<(), DeviceError> {
        self.queued = None;
        self.timed(|connection| {
            in_transaction(connection, || {
                connection.prepare_cached("DELETE FROM ps_crud WHERE id <= ?1")?.execute([tx.last_op_id])?;
                connection
                    .prepare_cached("UPDATE ps_buckets SET target_op = ?1 WHERE name = '$local'")?
                    .execute([MAX_OP_ID])?;
                let mut insert = connection.prepare_cached(&format!(
                    "INSERT INTO \"{}\"(id, tx_id, op_id, outcome, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
                    fixtures::client_schema::OUTCOMES_TABLE
                ))?;
                for (op_id, outcome, reason) in outcomes {
                    let id = match op_id {
                        Some(op_id) => format!("{}/{op_id}", tx.tx_id),
                        None => tx.tx_id.to_string(),
                    };
                    insert.execute(params![id, tx.tx_id, op_id, outcome, reason])?;
                }
                Ok(())
            })
        })
    }

    /// Whether the device must learn its write checkpoint: the queue is empty and the target unknown. Gives the
    /// queue's sequence number to compare with afterwards.
    ///
    /// # Errors
    /// SQLite's.
    pub fn wants_write_checkpoint(&mut self) -> Result<Option<i64>, DeviceError> {
        self.timed(|connection| {
            let wants: bool = connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM ps_buckets WHERE name = '$local' AND target_op = ?1)
                     AND NOT EXISTS (SELECT 1 FROM ps_crud)",
                )?
                .query_row([MAX_OP_ID], |row| row.get(0))?;
            if !wants {
                return Ok(None);
            }
            Ok(connection
                .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'ps_crud'")?
                .query_row([], |row| row.get(0))
                .optional()?)
        })
    }

    /// Sets the write checkpoint that the next full apply must include, unless something was queued meanwhile.
    /// One commit. Returns whether it was set.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_target(&mut self, sequence: i64, target: u64) -> Result<bool, DeviceError> {
        let target = i64::try_from(target).unwrap_or(MAX_OP_ID);
        self.timed(|connection| {
            in_transaction(connection, || {
                let unchanged: bool = connection
                    .prepare_cached(
                        "SELECT NOT EXISTS (SELECT 1 FROM ps_crud)
                         AND EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'ps_crud' AND seq = ?1)",
                    )?
                    .query_row([sequence], |row| row.get(0))?;
                if unchanged {
                    connection
                        .prepare_cached("UPDATE ps_buckets SET target_op = ?1 WHERE name = '$local'")?
                        .execute([target])?;
                }
                Ok(unchanged)
            })
        })
    }

    /// The rows of one table as the app's views show them: every one, or those with these ids.
    ///
    /// # Errors
    /// SQLite's.
    pub fn visible(&mut self, table: usize) -> Result<Vec<(Arc<str>, fixtures::Row)>, DeviceError> {
        let app = self.app.clone();
        self.timed(|connection| read_view(connection, &app, table, None))
    }

    /// One row as the app's view shows it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn visible_row(&mut self, table: usize, id: &str) -> Result<Option<fixtures::Row>, DeviceError> {
        let app = self.app.clone();
        self.timed(|connection| Ok(read_view(connection, &app, table, Some(id))?.pop().map(|(_, row)| row)))
    }

    fn timed<T>(
        &mut self,
        body: impl FnOnce(&Connection) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let start = Instant::now();
        let result = self.database.connection().and_then(body);
        self.sqlite_time += start.elapsed();
        result
    }

    fn gate_is_open(&mut self) -> Result<bool, DeviceError> {
        self.timed(|connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT NOT EXISTS (SELECT 1 FROM ps_crud)
                     AND NOT EXISTS (SELECT 1 FROM ps_buckets WHERE name = '$local' AND target_op > last_op)",
                )?
                .query_row([], |row| row.get(0))?)
        })
    }

    /// What the apply that just happened made visible.
    fn collect(&mut self, priority: Option<u32>) -> Result<Apply, DeviceError> {
        let whole = self.whole && priority.is_none();
        let mut rows: Vec<(RowId, Option<fixtures::Row>)> = Vec::new();
        if whole {
            for table in 0..self.app.schema.tables.len() {
                for (id, row) in self.visible(table)? {
                    rows.push((self.recorder.row(table, &id), Some(row)));
                }
            }
        } else {
            let touched = if priority.is_none() { std::mem::take(&mut self.touched) } else { self.touched.clone() };
            for (table, id) in touched {
                let app = self.app.clone();
                let json = self.timed(|connection| stored(connection, &app.schema.tables[table].name, &id))?;
                let image = json.and_then(|json| self.recorder.image(table, &json));
                rows.push((self.recorder.row(table, &id), image));
            }
        }
        if priority.is_none() {
            self.whole = false;
            self.touched.clear();
        }
        let (target, queued) = self.timed(|connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT (SELECT target_op FROM ps_buckets WHERE name = '$local'), (SELECT count(*) FROM ps_crud)",
                )?
                .query_row([], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, u32>(1)?)))?)
        })?;
        rows.sort_by_key(|(row, _)| *row);
        Ok(Apply {
            priority,
            last_op_id: self.checkpoint_op,
            write_checkpoint: self.write_checkpoint,
            target: target.and_then(|target| u64::try_from(target).ok()),
            queued,
            rows,
            arrived_us: self.first_arrival_us.take().unwrap_or_else(|| self.recorder.now_us()),
            whole,
        })
    }

    fn local_op(&self, op_id: i64, data: &str) -> Result<(LocalOp, usize, Arc<str>), DeviceError> {
        let entry: CrudEntry<'_> = serde_json::from_str(data)?;
        let table = self.app.schema.table_index(&entry.table).expect("the client has only the schema's tables");
        let mut op = LocalOp {
            op_id,
            op: entry.op,
            row: self.recorder.row(table, &entry.id),
            data: Vec::new(),
            old: Vec::new(),
            unknown: Vec::new(),
        };
        let columns = &self.app.schema.tables[table].columns;
        for (name, raw) in entry.data.iter().flat_map(|columns| &columns.0) {
            let json: serde_json::Value = serde_json::from_str(raw.get())?;
            match self.app.schema.tables[table].column_index(name) {
                Some(column) => match Value::from_json(columns[column].ty, &json) {
                    Ok(value) => op.data.push((column, value)),
                    Err(_) => op.unknown.push(name.to_string()),
                },
                None => op.unknown.push(name.to_string()),
            }
        }
        for (name, raw) in entry.old.iter().flat_map(|columns| &columns.0) {
            if let Some(column) = self.app.schema.tables[table].column_index(name)
                && self.sends_old(&entry, table, column)
                && let Ok(value) = Value::from_json(columns[column].ty, &serde_json::from_str(raw.get())?)
            {
                op.old.push((column, value));
            }
        }
        Ok((op, table, Arc::from(&*entry.id)))
    }

    /// Whether the upload carries the old value of this column: those that change, and for a group all of it; a
    /// DELETE carries the whole row.
    fn sends_old(&self, entry: &CrudEntry<'_>, table: usize, column: usize) -> bool {
        let changes = |column: usize| {
            let name = &self.app.schema.tables[table].columns[column].name;
            entry.data.as_ref().is_some_and(|columns| columns.0.iter().any(|(member, _)| **member == **name))
        };
        entry.op == Op::Delete
            || changes(column)
            || self.app.policy.group_of(table, column).is_some_and(|group| group.columns.iter().any(|one| changes(*one)))
    }

    fn write_wire_op(&self, out: &mut String, op_id: i64, data: &str) -> Result<(), DeviceError> {
        use std::fmt::Write as _;
        let entry: CrudEntry<'_> = serde_json::from_str(data)?;
        let table = self.app.schema.table_index(&entry.table);
        let op = match entry.op {
            Op::Put => "PUT",
            Op::Patch => "PATCH",
            Op::Delete => "DELETE",
        };
        let id = serde_json::to_string(&entry.id)?;
        let name = serde_json::to_string(&entry.table)?;
        let _ = write!(out, "{{\"op_id\":{op_id},\"op\":\"{op}\",\"table\":{name},\"id\":{id}");
        let mut members = |key: &str, members: &mut dyn Iterator<Item = &(Cow<'_, str>, &RawValue)>| {
            let _ = write!(out, ",\"{key}\":{{");
            for (index, (name, raw)) in members.enumerate() {
                let name = serde_json::to_string(name).expect("a string is JSON");
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(out, "{comma}{name}:{}", raw.get());
            }
            out.push('}');
        };
        if let Some(data) = &entry.data {
            members("data", &mut data.0.iter());
        }
        if let (Some(old), Some(table)) = (&entry.old, table) {
            let schema = &self.app.schema.tables[table];
            members(
                "old",
                &mut old.0.iter().filter(|(name, _)| {
                    schema.column_index(name).is_some_and(|column| self.sends_old(&entry, table, column))
                }),
            );
        }
        out.push('}');
        Ok(())
    }
}

fn stored(connection: &Connection, table: &str, id: &str) -> Result<Option<String>, DeviceError> {
    Ok(connection
        .prepare_cached(&format!("SELECT data FROM \"ps_data__{table}\" WHERE id = ?1"))?
        .query_row([id], |row| row.get(0))
        .optional()?)
}

fn control(connection: &Connection, op: &str, payload: Option<&str>) -> Result<String, DeviceError> {
    in_transaction(connection, || {
        Ok(connection
            .prepare_cached("SELECT powersync_control(?1, ?2)")?
            .query_row(params![op, payload], |row| row.get(0))?)
    })
}

fn in_transaction<T>(
    connection: &Connection,
    body: impl FnOnce() -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    match body() {
        Ok(value) => {
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(value)
        }
        Err(error) => {
            if !connection.is_autocommit() {
                connection.prepare_cached("ROLLBACK")?.execute([])?;
            }
            Err(error)
        }
    }
}

fn read_view(
    connection: &Connection,
    app: &App,
    table: usize,
    id: Option<&str>,
) -> Result<Vec<(Arc<str>, fixtures::Row)>, DeviceError> {
    let schema = &app.schema.tables[table];
    let mut sql = String::from("SELECT id");
    for column in &schema.columns {
        sql.push_str(", \"");
        sql.push_str(&column.name);
        sql.push('"');
    }
    sql.push_str(" FROM \"");
    sql.push_str(&schema.name);
    sql.push_str(if id.is_some() { "\" WHERE id = ?1" } else { "\" ORDER BY id" });
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = match id {
        Some(id) => statement.query([id])?,
        None => statement.query([])?,
    };
    let mut result = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let mut values = Vec::with_capacity(schema.columns.len());
        for (index, column) in schema.columns.iter().enumerate() {
            let json = match row.get_ref(index + 1)? {
                rusqlite::types::ValueRef::Null => serde_json::Value::Null,
                rusqlite::types::ValueRef::Integer(int) => int.into(),
                rusqlite::types::ValueRef::Real(real) => real.into(),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                rusqlite::types::ValueRef::Blob(_) => serde_json::Value::Null,
            };
            values.push(Value::from_json(column.ty, &json).unwrap_or_else(|_| Value::text(&json.to_string())));
        }
        result.push((Arc::from(id), fixtures::Row::from(values)));
    }
    Ok(result)
}
