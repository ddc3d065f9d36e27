//! Replication from PostgreSQL: a snapshot that the slot begins with, then its write-ahead log.
//!
//! [`connection`] reaches the server, [`catalog`] and [`types`] know its tables, [`pgoutput`] its messages, [`head`]
//! its position. Here it is put together: [`follow`] keeps a store up with a server through restarts, cut connections
//! and lost slots. A position is confirmed to the server only once it is durable here.

mod catalog;
pub mod connection;
pub mod head;
mod pgoutput;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgwire_replication::{Lsn, PgWireError, ReplicationEvent};

use super::logged::{LoggedChange, LoggedTransaction};
use super::pump::{Progress, PumpError, pump};
use super::{Arrival, Source};
use crate::durable::engine::{EngineError, Handle, Layout, Snapshot};
use crate::service::Clock;
use crate::sync_config::{ConfigError, Reading, SyncConfig};
use catalog::{Catalog, CatalogColumn, CatalogTable, NAMESPACE, Tables};
use connection::{Connection, PostgresError, Session, identifier, literal, lsn_of, text};
use head::Heads;
use pgoutput::{Malformed, Message};

/// The slot that FlowState's guide names.
pub const SLOT: &str = "powersync_replication_slot";
/// The publication that FlowState's guide names.
pub const PUBLICATION: &str = "powersync";

/// Between attempts to go on; doubles from one to the other.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often a slot that is long in the making shows that it is.
const TICK: Duration = Duration::from_secs(2);
/// How many rows are fetched at a time.
const FETCH_ROWS: usize = 2000;
/// How long an answer about the catalog may take.
const ANSWER: Duration = Duration::from_secs(30);

/// What follows a server.
#[derive(Clone)]
pub struct Follower {
    /// The server.
    pub connection: Connection,
    /// Asks it for its position.
    pub heads: Heads,
    /// The sync configuration's text.
    pub sync_config: Arc<str>,
    /// How it wants values to be read.
    pub reading: Reading,
    /// Where changes go.
    pub engine: Handle,
    /// What it has to show.
    pub progress: Arc<Progress>,
    /// For [`Progress::touched_us`].
    pub clock: Clock,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Tables(String),
    /// Not something that a new attempt mends by itself.
    #[error("{0}")]
    Setup(String),
    #[error("the server ended the stream")]
    Ended,
    #[error("{0}")]
    Silent(String),
    #[error("{0}")]
    Pump(String),
}

impl From<PumpError<SessionError>> for SessionError {
    fn from(error: PumpError<SessionError>) -> Self {
        match error {
            PumpError::Source(error) => error,
            PumpError::Engine(error) => error.into(),
            PumpError::Broken | PumpError::Silent => Self::Pump(error.to_string()),
        }
    }
}

impl From<PgWireError> for SessionError {
    fn from(error: PgWireError) -> Self {
        Self::Postgres(error.into())
    }
}

/// The slot as the server has it.
#[derive(Debug)]
struct Slot {
    plugin: String,
    database: String,
    lost: bool,
    confirmed: u64,
}

/// Reads what [`Layout::text`] says, for an engine's settings.
#[must_use]
pub fn layout_of(text: &str, reading: Reading) -> Option<Layout> {
    Tables::restore(text, reading).map(|tables| tables.layout)
}

/// Keeps the store up with the server, for ever.
pub async fn follow(follower: Follower) {
    let mut epoch = 0;
    let mut pause = PAUSE.0;
    let mut said = String::new();
    loop {
        epoch += 1;
        follower.touch();
        let sessions = follower.progress.sessions.load(Ordering::Relaxed);
        let result = follower.session(epoch).await;
        follower.progress.streaming.store(false, Ordering::Relaxed);
        match result {
            // A snapshot was taken over; the log comes next.
            Ok(()) => pause = PAUSE.0,
            Err(SessionError::Tables(reason)) => {
                tracing::warn!(%reason, "the tables changed");
                if let Err(error) = follower.engine.begin_resync().await {
                    tracing::error!(%error, "cannot note that a new snapshot is needed");
                }
            }
            Err(error) => {
                let text = error.to_string();
                // The same refusal again and again is said once.
                if text == said {
                    tracing::debug!(error = %text, "replication: trying again");
                } else {
                    tracing::warn!(error = %text, "replication stopped; trying again until it goes on");
                }
                said = text;
            }
        }
        if follower.progress.sessions.load(Ordering::Relaxed) > sessions {
            pause = PAUSE.0;
            said.clear();
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

impl Follower {
    fn touch(&self) {
        self.progress.touch(&self.clock);
    }

    /// One session: a snapshot if one is needed, else the log until it ends.
    async fn session(&self, epoch: u64) -> Result<(), SessionError> {
        let standing = self.engine.standing().await?;
        let start = standing.lsn.unwrap_or(0);
        let mut session = self.connection.open(start).await?;
        let system = session.client.identify_system().await?;
        let source = format!("{}/{}", system.system_id, system.dbname.unwrap_or_default());
        self.check_server(&mut session).await?;
        let slot = self.slot(&mut session).await?;
        if let Some(slot) = &slot
            && (slot.plugin != "pgoutput" || source.split_once('/').is_none_or(|(_, name)| name != slot.database))
        {
            let name = &self.connection.slot;
            let problem =
                format!("slot {name} is of plugin {} in database {}: name another", slot.plugin, slot.database);
            return Err(SessionError::Setup(problem));
        }
        let tables = self.tables(&mut session).await?;
        let layout = &tables.layout;
        SyncConfig::parse(&self.sync_config, &layout.schema)?.leave_out(&layout.blobs, &layout.schema)?;
        let reason = match (&standing.lsn, &slot) {
            (None, _) => Some("there was none yet"),
            _ if standing.source != source => Some("this is another cluster or database than before"),
            (_, None) => Some("the replication slot is gone"),
            (_, Some(slot)) if slot.lost => Some("the server no longer has the log that the slot needs"),
            (Some(lsn), Some(slot)) if slot.confirmed > *lsn => {
                Some("the replication slot has moved past what is stored")
            }
            _ if system.xlogpos.as_u64() < start => Some("the server is behind what is stored: it was restored"),
            _ if standing.resync => Some("the last one was not finished, or what is stored does not fit"),
            _ if standing.layout != layout.text => Some("the tables or the way they are read changed"),
            _ if self.engine.current().get().is_none() => Some("the stored buckets are of no use any more"),
            _ => None,
        };
        if let Some(reason) = reason {
            if standing.lsn.is_some() {
                tracing::warn!(
                    reason,
                    slot = self.connection.slot,
                    "TAKING A NEW SNAPSHOT: changes may have been missed; clients will get the difference"
                );
            } else {
                tracing::info!(slot = self.connection.slot, "taking the first snapshot");
            }
            return self.snapshot(session, source, slot.is_some()).await;
        }
        session.client.start().await?;
        if let Err(error) = session.client.wait_started().await {
            let error = PostgresError::from(error);
            if error.code() == Some("55000") {
                // The log was removed between the look at the slot and now.
                self.engine.begin_resync().await?;
            }
            return Err(error.into());
        }
        tracing::info!(slot = self.connection.slot, from = %Lsn::from_u64(start), "replication is connected");
        self.progress.sessions.fetch_add(1, Ordering::Relaxed);
        self.progress.streaming.store(true, Ordering::Relaxed);
        let heads = self.heads.clone();
        let stream = Stream { session, tables, heads, relations: BTreeMap::new(), open: None };
        match pump(stream, &self.engine, epoch, &self.progress, &self.clock).await? {}
    }

    /// What must be so before anything can work, in words that say how to mend it.
    async fn check_server(&self, session: &mut Session) -> Result<(), SessionError> {
        let sql = format!(
            "SELECT current_setting('server_version_num')::int / 10000, current_setting('wal_level'), \
             p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate \
             FROM (SELECT 1) AS one LEFT JOIN pg_publication p ON p.pubname = {}",
            literal(&self.connection.publication)
        );
        let answer = session.ask(&sql, ANSWER).await?;
        let row = answer.first().ok_or(PostgresError::Unexpected("the server's settings"))?;
        let version: u32 = text(row, 0).and_then(|text| text.parse().ok()).unwrap_or(0);
        let setup = |problem: String| Err(SessionError::Setup(problem));
        if version < 15 {
            return setup(format!("PostgreSQL {version} is too old: 15 or newer is needed"));
        }
        if text(row, 1) != Some("logical") {
            return setup("wal_level is not logical: set it in postgresql.conf and restart PostgreSQL".to_owned());
        }
        let name = &self.connection.publication;
        match text(row, 2) {
            None => {
                setup(format!("there is no publication {name}: CREATE PUBLICATION {} FOR ALL TABLES", identifier(name)))
            }
            Some("t") => Ok(()),
            Some(_) => setup(format!("publication {name} leaves out inserts, updates, deletes or truncates")),
        }
    }

    async fn slot(&self, session: &mut Session) -> Result<Option<Slot>, SessionError> {
        let sql = format!(
            "SELECT plugin, database, coalesce(wal_status, '') = 'lost', coalesce(confirmed_flush_lsn, '0/0') \
             FROM pg_replication_slots WHERE slot_name = {}",
            literal(&self.connection.slot)
        );
        let answer = session.ask(&sql, ANSWER).await?;
        let Some(row) = answer.first() else {
            return Ok(None);
        };
        let slot = Slot {
            plugin: text(row, 0).unwrap_or_default().to_owned(),
            database: text(row, 1).unwrap_or_default().to_owned(),
            lost: text(row, 2) == Some("t"),
            confirmed: text(row, 3).and_then(lsn_of).ok_or(PostgresError::Unexpected("a slot"))?,
        };
        Ok(Some(slot))
    }

    async fn tables(&self, session: &mut Session) -> Result<Tables, SessionError> {
        let sql = format!(
            "SELECT c.oid, n.nspname, c.relname, c.relreplident, p.rowfilter, a.attname, a.atttypid, \
             coalesce((SELECT true FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary \
                AND a.attnum = ANY (i.indkey)), false), \
             coalesce((SELECT true FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident \
                AND a.attnum = ANY (i.indkey)), false) \
             FROM pg_publication_tables p \
             JOIN pg_namespace n ON n.nspname = p.schemaname \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                AND a.attgenerated = '' AND a.attname = ANY (p.attnames) \
             WHERE p.pubname = {} ORDER BY c.oid, a.attnum",
            literal(&self.connection.publication)
        );
        let unexpected = || PostgresError::Unexpected("the published tables");
        let mut catalog = Catalog::default();
        for row in session.ask(&sql, ANSWER).await? {
            let field = |column: usize| text(&row, column).ok_or_else(unexpected);
            let number = |column: usize| field(column)?.parse::<u32>().map_err(|_| unexpected());
            let id = number(0)?;
            if field(1)? != NAMESPACE {
                tracing::debug!(schema = field(1)?, table = field(2)?, "published, but sync queries cannot name it");
                continue;
            }
            if catalog.tables.last().is_none_or(|last| last.id != id) {
                catalog.tables.push(CatalogTable {
                    id,
                    name: field(2)?.to_owned(),
                    identity: field(3)?.chars().next().ok_or_else(unexpected)?,
                    filter: text(&row, 4).map(str::to_owned),
                    columns: Vec::new(),
                });
            }
            let column = CatalogColumn {
                name: field(5)?.to_owned(),
                oid: number(6)?,
                primary: field(7)? == "t",
                identity: field(8)? == "t",
            };
            catalog.tables.last_mut().ok_or_else(unexpected)?.columns.push(column);
        }
        let mut all = BTreeMap::new();
        let sql = "SELECT oid, typtype, typbasetype, typelem, typcategory, typdelim FROM pg_type";
        for row in session.ask(sql, ANSWER).await? {
            let number = |column: usize| text(&row, column).and_then(|text| text.parse::<u32>().ok());
            let letter = |column: usize| text(&row, column).and_then(|text| text.chars().next());
            if let (Some(oid), Some(kind), Some(base), Some(element), Some(category), Some(delimiter)) =
                (number(0), letter(1), number(2), number(3), letter(4), letter(5))
            {
                all.insert(oid, (oid, kind, base, element, category, delimiter));
            }
        }
        // Only what the columns are made of, so that a type elsewhere does not count as a change.
        let mut wanted: Vec<u32> =
            catalog.tables.iter().flat_map(|table| table.columns.iter().map(|column| column.oid)).collect();
        let mut kept = BTreeMap::new();
        while let Some(oid) = wanted.pop() {
            if let Some(found) = all.get(&oid)
                && kept.insert(oid, *found).is_none()
            {
                wanted.extend([found.2, found.3]);
            }
        }
        catalog.types = kept.into_values().collect();
        Ok(Tables::new(catalog, self.reading))
    }

    /// Makes the slot anew and takes over the rows that it begins with.
    async fn snapshot(&self, mut session: Session, source: String, slot_exists: bool) -> Result<(), SessionError> {
        self.engine.begin_resync().await?;
        let slot = identifier(&self.connection.slot);
        if slot_exists {
            session.ask(&format!("DROP_REPLICATION_SLOT {slot}"), ANSWER).await?;
        }
        session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // This waits for the transactions that are open now, however long they take.
        let create = format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput USE_SNAPSHOT");
        let created = tokio::select! {
            biased;
            created = session.query(&create) => created?,
            () = self.say_waiting() => unreachable!("it says so for ever"),
        };
        let lsn = created.first().and_then(|row| text(row, 1)).and_then(lsn_of);
        let lsn = lsn.ok_or(PostgresError::Unexpected("CREATE_REPLICATION_SLOT"))?;
        // Rows that this role may not see must not pass for deleted.
        session.query("SET LOCAL row_security = off").await?;
        let tables = self.tables(&mut session).await?;
        let mut rows = Vec::new();
        for (index, table) in tables.catalog.tables.iter().enumerate() {
            let columns: Vec<String> = table.columns.iter().map(|column| identifier(&column.name)).collect();
            let filter = table.filter.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
            let (name, columns) = (identifier(&table.name), columns.join(", "));
            session
                .query(&format!(
                    "DECLARE snapshot_rows NO SCROLL CURSOR FOR SELECT {columns} FROM {NAMESPACE}.{name}{filter}"
                ))
                .await?;
            let mut of_table = BTreeMap::new();
            loop {
                let fetched = session.query(&format!("FETCH {FETCH_ROWS} FROM snapshot_rows")).await?;
                let last = fetched.len() < FETCH_ROWS;
                of_table.extend(fetched.into_iter().map(|row| tables.row(index, row)));
                self.touch();
                if last {
                    break;
                }
            }
            session.query("CLOSE snapshot_rows").await?;
            rows.push(of_table);
        }
        session.query("COMMIT").await?;
        let report = self.engine.resync(Snapshot { layout: tables.layout, source, lsn, rows }).await?;
        self.progress.snapshots.fetch_add(1, Ordering::Relaxed);
        tracing::info!(rows = report.rows, operations = report.ops, at = %Lsn::from_u64(lsn), "took over a snapshot");
        Ok(())
    }

    async fn say_waiting(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            self.touch();
            tracing::info!("the slot waits for transactions that were open before it, or for PostgreSQL");
        }
    }
}

/// The log as it streams in.
struct Stream {
    session: Session,
    tables: Tables,
    heads: Heads,
    /// Tables by the server's id; `None` for those that no sync query can name.
    relations: BTreeMap<u32, Option<usize>>,
    /// The changes of the transaction that is coming in.
    open: Option<Vec<LoggedChange>>,
}

impl Source for Stream {
    type Error = SessionError;

    async fn next(&mut self) -> Result<Arrival, SessionError> {
        loop {
            match self.session.client.recv().await?.ok_or(SessionError::Ended)? {
                ReplicationEvent::Begin { .. } => self.open = Some(Vec::new()),
                ReplicationEvent::XLogData { data, .. } => self.take(Message::parse(&data)?)?,
                ReplicationEvent::Commit { end_lsn, .. } => {
                    let changes = self.open.take().unwrap_or_default();
                    return Ok(Arrival::Transaction(LoggedTransaction { lsn: end_lsn.as_u64(), changes }));
                }
                ReplicationEvent::KeepAlive { wal_end, reply_requested, .. } if self.open.is_none() => {
                    return Ok(Arrival::Position { lsn: wal_end.as_u64(), urgent: reply_requested });
                }
                ReplicationEvent::KeepAlive { .. } | ReplicationEvent::Message { .. } => {}
                ReplicationEvent::StoppedAt { .. } => return Err(SessionError::Ended),
            }
        }
    }

    fn confirm(&mut self, lsn: u64) {
        self.session.client.update_applied_lsn(Lsn::from_u64(lsn));
    }

    async fn prod(&mut self) -> Result<(), SessionError> {
        self.heads.get().await.map(drop).map_err(SessionError::Silent)
    }
}

impl Stream {
    fn take(&mut self, message: Message) -> Result<(), SessionError> {
        let mut changes = Vec::new();
        match message {
            Message::Other => return Ok(()),
            Message::Relation(relation) => {
                let known = if relation.namespace == NAMESPACE {
                    if let Some(reason) = self.tables.catalog.differs(&relation) {
                        return Err(SessionError::Tables(reason));
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
