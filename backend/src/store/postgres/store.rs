//! The store: a handle to one database.

use std::fmt;
use std::sync::Arc;

use fixtures::Row;

use crate::record::ConflictRecord;
use crate::rules::Rules;
use crate::store::error::StoreError;
use crate::store::postgres::config::PostgresConfig;
use crate::store::postgres::database::Database;
use crate::store::postgres::decode::decode_row;
use crate::store::postgres::error::{PrepareError, store_error, with_source};
use crate::store::postgres::meta;
use crate::store::postgres::session::PostgresSession;

/// A handle to a database; clones share its connections.
#[derive(Clone)]
pub struct PostgresStore {
    database: Arc<Database>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("config", &self.database.config).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// A store that connects when it is needed.
    ///
    /// # Errors
    /// When the URL cannot be read, or the certificate authority that it names.
    pub fn new(rules: Arc<Rules>, config: PostgresConfig) -> Result<Self, PrepareError> {
        Ok(Self { database: Arc::new(Database::new(rules, config)?) })
    }

    /// Brings schema `sync_backend` up to date and looks the application's tables up. Without this call, the first
    /// request does it.
    ///
    /// # Errors
    /// When the database does not answer, or is not what the application's schema says.
    pub async fn prepare(&self) -> Result<(), PrepareError> {
        self.database.sql().await.map(|_| ())
    }

    /// All live rows, of all tables in schema order, each by id.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn snapshot(&self) -> Result<Vec<Vec<(Arc<str>, Row)>>, StoreError> {
        let (sql, mut connection) = self.database.connect().await?;
        let transaction = connection
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(|error| store_error(&error))?;
        let mut tables = Vec::with_capacity(sql.tables.len());
        for table in &sql.tables {
            let rows = transaction.query(&table.all, &[]).await.map_err(|error| store_error(&error))?;
            tables.push(rows.iter().map(decode_row).collect::<Result<_, _>>()?);
        }
        transaction.commit().await.map_err(|error| store_error(&error))?;
        Ok(tables)
    }

    /// How many connections there are, and how many of them are idle.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        self.database.connections()
    }

    /// A session on a connection of its own.
    pub(crate) async fn session(&self) -> Result<PostgresSession<'_>, StoreError> {
        let (sql, connection) = self.database.connect().await?;
        Ok(PostgresSession::new(&self.database, sql, connection))
    }

    /// To be called with each request's result; see [`Database::after_failure`].
    pub(crate) async fn finish<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.database.after_failure(error).await;
        }
        result
    }

    /// Whether the database answers in time.
    pub(crate) async fn answers(&self) -> bool {
        let asked = tokio::time::timeout(self.database.config.connect_timeout, async {
            let (_, connection) = self.database.connect().await?;
            connection.batch_execute("").await.map_err(|error| store_error(&error))
        });
        matches!(asked.await, Ok(Ok(())))
    }

    /// The subject's conflict records with a number above `after`, in order, at most `limit`.
    pub(crate) async fn conflicts_after(
        &self,
        subject: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ConflictRecord>, StoreError> {
        let (_, connection) = self.database.connect().await?;
        let tables: Vec<&str> = self.database.rules.tables.iter().map(|table| &*table.name).collect();
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement = connection
            .prepare_cached(
                "SELECT seq, at_us, subject, tbl, id, col, rule, loser::text, winner::text FROM sync_backend.conflicts
                 WHERE subject = $1 AND seq > $2 AND tbl = ANY($3) ORDER BY seq LIMIT $4",
            )
            .await
            .map_err(|error| store_error(&error))?;
        let rows = connection
            .query(&statement, &[&subject, &after, &tables, &limit])
            .await
            .map_err(|error| store_error(&error))?;
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
            table: self.database.rules.table(text(3)?).map_or(0, |table| table.index),
            id: Arc::from(text(4)?),
            column: maybe(5)?.map(Arc::from),
            rule: text(6)?.to_owned().into(),
            loser: author(7)?,
            winner: author(8)?,
        })
    }
}
