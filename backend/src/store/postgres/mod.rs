//! A store on PostgreSQL.
//!
//! An upload is one connection; each of its transactions is one database transaction under READ COMMITTED that
//! locks all that it decides on before it reads it (see `session`), so several instances may serve one database.
//! What the backend remembers lies in schema `sync_backend`, written in the same transaction, outside the
//! application's tables and their publication.
//!
//! In reading order: `migrations` the schema, `sql` the statements, `value` and `meta` how values are kept,
//! `locks` the order of locking, `pipeline` many statements in one round trip, `session` the transaction,
//! [`note`] what the write-ahead log tells about commits, [`tls`] `sslmode`, `error`.
//!
//! While the database is away uploads fail as unavailable, and pass again when it is back. A commit whose answer
//! was lost may have happened; the device sends its transaction again, and the ledger knows.

mod error;
mod locks;
mod meta;
mod migrations;
pub mod note;
mod pipeline;
mod session;
mod sql;
pub mod tls;
mod value;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use fixtures::Row;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::record::ConflictRecord;
use crate::rules::Rules;
use crate::store::postgres::error::{told, with_source};
use crate::store::postgres::session::{PostgresSession, decode_row};
use crate::store::postgres::sql::Sql;
use crate::store::postgres::tls::Address;
use crate::store::{BoxFuture, Store, StoreError};
use crate::upload::{self, Engine, Upload, UploadBody};
use crate::wire::{TransactionOutcome, UploadAnswer};

/// How the database is reached and used.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…`. `sslmode` is `disable`, `prefer` (the
    /// default), `require`, `verify-ca` or `verify-full`, as libpq means them.
    pub url: String,
    /// Connections at most.
    pub connections_max: usize,
    /// How long a request waits for a connection, and a connection for the server.
    pub connect_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long a statement waits for a lock.
    pub lock_timeout: Duration,
    /// How often ledger, tombstones and aliases that are past retention are looked for; by the receive times of
    /// uploads.
    pub forget_every: Duration,
    /// Whether each commit leaves a [`note::CommitNote`] in the write-ahead log.
    pub annotates: bool,
}

impl PostgresConfig {
    /// The defaults, for a URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            connections_max: 16,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            forget_every: Duration::from_secs(60),
            annotates: false,
        }
    }
}

/// The URL may hold a password, and is left out.
impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig").field("connections_max", &self.connections_max).finish_non_exhaustive()
    }
}

/// How errors end that say that a table, a schema or a column is not there.
const MISSING: [&str; 3] = ["(42P01)", "(3F000)", "(42703)"];

/// Why a database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The URL, or a file that it names, is wrong.
    #[error("the database's URL: {0}")]
    Url(String),
    /// It may work later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database is not what the application's schema says.
    #[error("{0}")]
    Mismatch(String),
}

impl From<tokio_postgres::Error> for PrepareError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Unavailable(with_source(&error))
    }
}

/// Remembers which uploads were applied, outside the database: a hint that the ledger has to confirm.
pub trait UploadCache: Send + Sync {
    /// Whether the upload with this digest was applied, as far as is known.
    fn contains<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, bool>;
    /// Notes an upload that was applied.
    fn insert(&self, digest: String) -> BoxFuture<'_, ()>;
}

/// A handle to a database; clones share its connections.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

/// What sessions share.
struct Shared {
    rules: Arc<Rules>,
    config: PostgresConfig,
    pool: Pool,
    /// Built by whoever comes first, and again when the database turns out to be another than it was.
    sql: Mutex<Option<Arc<Sql>>>,
    forgot_us: AtomicI64,
    cache: Option<Arc<dyn UploadCache>>,
}

impl Shared {
    fn is_time_to_forget(&self, now_us: i64) -> bool {
        let every_us = u64::try_from(self.config.forget_every.as_micros()).unwrap_or(u64::MAX);
        let before = self.forgot_us.load(Ordering::Relaxed);
        // A clock that was set back must not keep the ledger for ever.
        let is_time = now_us.abs_diff(before) >= every_us;
        // One of several that come at once is enough.
        is_time && self.forgot_us.compare_exchange(before, now_us, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// A store that connects when it is needed. `cache` may hold hints about applied uploads.
    ///
    /// # Errors
    /// When the URL cannot be read, or the certificate authority that it names.
    pub fn new(
        rules: Arc<Rules>,
        config: PostgresConfig,
        cache: Option<Arc<dyn UploadCache>>,
    ) -> Result<Self, PrepareError> {
        let address = Address::parse(&config.url).map_err(PrepareError::Url)?;
        let (mut connection, tls) = address.connector().map_err(PrepareError::Url)?;
        connection.connect_timeout(config.connect_timeout);
        // A connection whose other end is unreachable, or has another address now, ends by itself within seconds.
        connection.tcp_user_timeout(2 * config.connect_timeout).keepalives_retries(2);
        connection.keepalives_idle(2 * config.connect_timeout).keepalives_interval(config.connect_timeout);
        if connection.get_application_name().is_none() {
            connection.application_name("sync_backend");
        }
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let settings = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = '60s'; \
             SET default_transaction_isolation = 'read committed'",
            config.statement_timeout.as_millis(),
            config.lock_timeout.as_millis(),
        );
        let pool = Pool::builder(Manager::from_config(connection, tls, recycling))
            .max_size(config.connections_max)
            .wait_timeout(Some(config.connect_timeout))
            .create_timeout(Some(config.connect_timeout))
            .recycle_timeout(Some(config.connect_timeout))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |client, _| {
                let settings = settings.clone();
                Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|error| PrepareError::Url(error.to_string()))?;
        let (sql, forgot_us) = (Mutex::new(None), AtomicI64::new(i64::MIN));
        Ok(Self { shared: Arc::new(Shared { rules, config, pool, sql, forgot_us, cache }) })
    }

    /// Brings schema `sync_backend` up to date and looks the application's tables up. Done once; whatever asks the
    /// store first does it otherwise.
    ///
    /// # Errors
    /// When the database does not answer, or is not what the application's schema says.
    pub async fn prepare(&self) -> Result<(), PrepareError> {
        self.sql().await.map(|_| ())
    }

    /// All live rows, of all tables in schema order, each by id.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn snapshot(&self) -> Result<Vec<Vec<(Arc<str>, Row)>>, StoreError> {
        let (sql, mut connection) = self.ready().await?;
        let transaction = connection
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(|error| told(&error))?;
        let mut tables = Vec::with_capacity(sql.tables.len());
        for table in &sql.tables {
            let rows = transaction.query(&table.all, &[]).await.map_err(|error| told(&error))?;
            tables.push(rows.iter().map(decode_row).collect::<Result<_, _>>()?);
        }
        transaction.commit().await.map_err(|error| told(&error))?;
        Ok(tables)
    }

    /// How many connections there are, and how many of them are idle.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let status = self.shared.pool.status();
        (status.size, status.available)
    }

    async fn sql(&self) -> Result<Arc<Sql>, PrepareError> {
        let shared = &self.shared;
        let mut sql = shared.sql.lock().await;
        if let Some(sql) = &*sql {
            return Ok(sql.clone());
        }
        let mut connection = shared.pool.get().await.map_err(|error| PrepareError::Unavailable(with_source(&error)))?;
        migrations::migrate(&mut connection).await?;
        let built = Arc::new(Sql::build(&shared.rules, &connection).await?);
        Ok(sql.insert(built).clone())
    }

    /// Looks the tables up again before the next upload, when this one missed some: the database may have been
    /// restored from a time before they were made.
    async fn doubt(&self, error: StoreError) -> StoreError {
        if matches!(&error, StoreError::Unavailable(said) if MISSING.iter().any(|code| said.ends_with(code))) {
            *self.shared.sql.lock().await = None;
        }
        error
    }

    /// The statements, and a connection.
    async fn ready(&self) -> Result<(Arc<Sql>, Object), StoreError> {
        let sql = self.sql().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let connection = self.shared.pool.get().await;
        Ok((sql, connection.map_err(|error| StoreError::Unavailable(with_source(&error)))?))
    }

    async fn apply_now(&self, engine: &Engine, upload: &Upload) -> Result<UploadAnswer, StoreError> {
        let (sql, connection) = self.ready().await?;
        let mut session = PostgresSession::new(&self.shared, sql, connection);
        let Some(cache) = &self.shared.cache else { return upload::apply(engine, &mut session, upload).await };
        let digest = digest(upload);
        if let Some(digest) = &digest
            && cache.contains(digest).await
            && let Some(answer) = upload::recall(engine, &mut session, upload).await?
        {
            return Ok(answer);
        }
        let answer = upload::apply(engine, &mut session, upload).await?;
        drop(session);
        let is_whole = answer.transactions.iter().all(|t| t.outcome != TransactionOutcome::NotAttempted);
        if let (Some(digest), true) = (digest, is_whole) {
            cache.insert(digest).await;
        }
        Ok(answer)
    }

    async fn conflicts_now(&self, subject: &str, after: u64, limit: usize) -> Result<Vec<ConflictRecord>, StoreError> {
        let (_, connection) = self.ready().await?;
        let tables: Vec<&str> = self.shared.rules.tables.iter().map(|table| &*table.name).collect();
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement = connection
            .prepare_cached(
                "SELECT seq, at_us, subject, tbl, id, col, rule, loser::text, winner::text FROM sync_backend.conflicts
                 WHERE subject = $1 AND seq > $2 AND tbl = ANY($3) ORDER BY seq LIMIT $4",
            )
            .await
            .map_err(|error| told(&error))?;
        let rows =
            connection.query(&statement, &[&subject, &after, &tables, &limit]).await.map_err(|error| told(&error))?;
        rows.iter().map(|row| self.record(row)).collect()
    }

    fn record(&self, row: &tokio_postgres::Row) -> Result<ConflictRecord, StoreError> {
        let unreadable = |error: &dyn std::error::Error| {
            StoreError::Unavailable(format!("sync_backend.conflicts is unreadable: {}", with_source(error)))
        };
        let text = |index: usize| row.try_get::<_, &str>(index).map_err(|error| unreadable(&error));
        let maybe = |index: usize| row.try_get::<_, Option<&str>>(index).map_err(|error| unreadable(&error));
        let number = |index: usize| row.try_get::<_, i64>(index).map_err(|error| unreadable(&error));
        let author = |index: usize| meta::author(maybe(index)?).map_err(|error| unreadable(&error));
        Ok(ConflictRecord {
            seq: u64::try_from(number(0)?).unwrap_or(0),
            at_us: number(1)?,
            subject: Arc::from(text(2)?),
            table: self.shared.rules.table(text(3)?).map_or(0, |table| table.index),
            id: Arc::from(text(4)?),
            column: maybe(5)?.map(Arc::from),
            rule: text(6)?.to_owned().into(),
            loser: author(7)?,
            winner: author(8)?,
        })
    }
}

/// Hex SHA-256 over everything that tells an upload from another; `None` for the baseline's wire.
fn digest(upload: &Upload) -> Option<String> {
    let UploadBody::Transactions(request) = &upload.body else { return None };
    let mut hash = Sha256::new();
    for name in [&*upload.subject, request.client_id.as_str()] {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
    }
    for transaction in &request.transactions {
        hash.update(transaction.tx_id.to_le_bytes());
        hash.update((transaction.ops.len() as u64).to_le_bytes());
        for op in &transaction.ops {
            hash.update(op.op_id.to_le_bytes());
            hash.update(op.digest());
        }
    }
    Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Store for PostgresStore {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            match self.apply_now(engine, upload).await {
                Err(error) => Err(self.doubt(error).await),
                answered => answered,
            }
        })
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(self.conflicts_now(subject, after, limit))
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let asked = tokio::time::timeout(self.shared.config.connect_timeout, async {
                let (_, connection) = self.ready().await?;
                connection.batch_execute("").await.map_err(|error| told(&error))
            });
            matches!(asked.await, Ok(Ok(())))
        })
    }
}
