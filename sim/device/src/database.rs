//! The storage of one device: a named in-memory SQLite database that outlives its connections.
//!
//! An anchor connection holds the database while the app is dead, as a disk would; a crash drops the app's own
//! connection, so that an open transaction rolls back and commits stay. Databases are recycled between plans,
//! because opening one costs more than anything else in a plan.

use std::sync::{
    Once,
    atomic::{AtomicU64, Ordering},
};

use fixtures::App;
use rusqlite::{Connection, OpenFlags, backup::Backup};

use crate::error::DeviceError;

/// A column that every client table has and the server does not: such a client is ahead of its server's schema.
pub const CLIENT_ONLY_COLUMN: &str = "client_only";

static LOAD_CORE: Once = Once::new();
static NEXT_NAME: AtomicU64 = AtomicU64::new(0);

/// Databases with one application's schema, kept for the next plan. Each worker thread has one pool.
pub struct DatabasePool {
    template: Connection,
    idle: Vec<Database>,
}

/// The storage of one device, with the connection of its app while that runs.
pub struct Database {
    uri: String,
    anchor: Connection,
    connection: Option<Connection>,
}

impl DatabasePool {
    /// Prepares the schema once.
    ///
    /// # Errors
    /// SQLite's or the core's, if they refuse the schema.
    pub fn new(app: &App) -> Result<Self, DeviceError> {
        LOAD_CORE.call_once(|| {
            let code = powersync_core::powersync_init_static();
            assert_eq!(code, 0, "SQLite takes the sync core as an automatic extension");
        });
        let template = Connection::open_in_memory()?;
        let schema = with_client_only_column(&app.client_schema());
        template.query_row("SELECT powersync_replace_schema(?1)", [schema], |_| Ok(()))?;
        template.query_row("SELECT powersync_init()", [], |_| Ok(()))?;
        Ok(Self { template, idle: Vec::new() })
    }

    /// A database as a fresh installation has it, with this client id.
    ///
    /// # Errors
    /// SQLite's.
    pub fn take(&mut self, client_id: &str) -> Result<Database, DeviceError> {
        let mut database = match self.idle.pop() {
            Some(database) => database,
            None => Database::create(&self.template)?,
        };
        database.set_client_id(client_id)?;
        Ok(database)
    }

    /// Empties a database and keeps it for the next plan.
    ///
    /// # Errors
    /// SQLite's; the database is then dropped.
    pub fn give_back(&mut self, mut database: Database) -> Result<(), DeviceError> {
        database.empty()?;
        self.idle.push(database);
        Ok(())
    }
}

impl Database {
    fn create(template: &Connection) -> Result<Self, DeviceError> {
        let number = NEXT_NAME.fetch_add(1, Ordering::Relaxed);
        let uri = format!("file:/device-{number}?vfs=memdb");
        let mut anchor = open(&uri)?;
        Backup::new(template, &mut anchor)?.step(-1)?;
        let connection = open(&uri)?;
        Ok(Self { uri, anchor, connection: Some(connection) })
    }

    /// The app's connection; opened anew after [`Database::kill`].
    ///
    /// # Errors
    /// SQLite's.
    pub fn connection(&mut self) -> Result<&Connection, DeviceError> {
        if self.connection.is_none() {
            self.connection = Some(open(&self.uri)?);
        }
        Ok(self.connection.as_ref().expect("it was opened above"))
    }

    /// Ends the app's process: its connection goes with whatever it held in memory.
    pub fn kill(&mut self) {
        self.connection = None;
    }

    /// A copy of everything that is stored, as a backup takes it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn copy(&self) -> Result<Connection, DeviceError> {
        let mut copy = Connection::open_in_memory()?;
        Backup::new(&self.anchor, &mut copy)?.step(-1)?;
        Ok(copy)
    }

    /// Replaces what is stored by a copy. The app does not run.
    ///
    /// # Errors
    /// SQLite's.
    pub fn restore(&mut self, copy: &Connection) -> Result<(), DeviceError> {
        self.kill();
        Backup::new(copy, &mut self.anchor)?.step(-1)?;
        Ok(())
    }

    /// Deletes what was stored, and leaves a fresh installation with this client id.
    ///
    /// # Errors
    /// SQLite's.
    pub fn wipe(&mut self, client_id: &str) -> Result<(), DeviceError> {
        self.empty()?;
        self.set_client_id(client_id)?;
        self.kill();
        Ok(())
    }

    fn set_client_id(&mut self, client_id: &str) -> Result<(), DeviceError> {
        let connection = self.connection()?;
        connection
            .prepare_cached("INSERT OR REPLACE INTO ps_kv(key, value) VALUES ('client_id', ?1)")?
            .execute([client_id])?;
        Ok(())
    }

    fn empty(&mut self) -> Result<(), DeviceError> {
        let connection = self.connection()?;
        connection.execute_batch("BEGIN")?;
        connection.prepare_cached("SELECT powersync_control('stop', NULL)")?.query_row([], |_| Ok(()))?;
        let tables: Vec<String> = connection
            .prepare_cached(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'ps_*' AND name NOT IN ('ps_migration', 'ps_tx')",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for table in tables {
            connection.prepare_cached(&format!("DELETE FROM \"{table}\""))?.execute([])?;
        }
        connection.prepare_cached("DELETE FROM sqlite_sequence")?.execute([])?;
        connection.prepare_cached("UPDATE ps_tx SET current_tx = NULL, next_tx = 1")?.execute([])?;
        connection.execute_batch("COMMIT")?;
        Ok(())
    }
}

fn open(uri: &str) -> Result<Connection, DeviceError> {
    let connection = Connection::open_with_flags(
        uri,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.set_prepared_statement_cache_capacity(512);
    connection.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY")?;
    #[cfg(target_os = "linux")]
    crate::statements::keep_statements(&connection);
    Ok(connection)
}

fn with_client_only_column(schema: &str) -> String {
    let mut schema: serde_json::Value = serde_json::from_str(schema).expect("the client schema is our own JSON");
    if let Some(tables) = schema["tables"].as_array_mut() {
        for table in tables {
            if table["local_only"] != serde_json::Value::Bool(true)
                && let Some(columns) = table["columns"].as_array_mut()
            {
                columns.push(serde_json::json!({ "name": CLIENT_ONLY_COLUMN, "type": "text" }));
            }
        }
    }
    schema.to_string()
}
