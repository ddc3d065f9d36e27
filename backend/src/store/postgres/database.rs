//! One database: its connections, and what all sessions share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::sync::Mutex;

use crate::rules::Rules;
use crate::store::error::StoreError;
use crate::store::postgres::config::PostgresConfig;
use crate::store::postgres::error::{PrepareError, is_missing_object, with_source};
use crate::store::postgres::migrations;
use crate::store::postgres::sql::Sql;
use crate::store::postgres::tls::Address;

/// What sessions share.
pub(super) struct Database {
    pub(super) rules: Arc<Rules>,
    pub(super) config: PostgresConfig,
    pool: Pool,
    /// Built by the first request, and again when the tables turn out to be missing.
    sql: Mutex<Option<Arc<Sql>>>,
    last_retention_us: AtomicI64,
}

impl Database {
    /// Reads the URL. Connections are made when they are needed.
    pub(super) fn new(rules: Arc<Rules>, config: PostgresConfig) -> Result<Self, PrepareError> {
        let address = Address::parse(&config.url).map_err(PrepareError::Url)?;
        let (mut connection, tls) = address.connector().map_err(PrepareError::Url)?;
        connection.connect_timeout(config.connect_timeout);
        // A connection to a server that is unreachable or has a new address ends within seconds.
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
        Ok(Self { rules, config, pool, sql: Mutex::new(None), last_retention_us: AtomicI64::new(i64::MIN) })
    }

    /// The statements. The first call brings schema `sync_backend` up to date and looks the application's tables up.
    pub(super) async fn sql(&self) -> Result<Arc<Sql>, PrepareError> {
        let mut sql = self.sql.lock().await;
        if let Some(sql) = &*sql {
            return Ok(sql.clone());
        }
        let mut connection = self.pool.get().await.map_err(|error| PrepareError::Unavailable(with_source(&error)))?;
        migrations::migrate(&mut connection).await?;
        let built = Arc::new(Sql::build(&self.rules, &connection).await?);
        Ok(sql.insert(built).clone())
    }

    /// The statements, and a connection.
    pub(super) async fn connect(&self) -> Result<(Arc<Sql>, Object), StoreError> {
        let sql = self.sql().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let connection = self.pool.get().await;
        Ok((sql, connection.map_err(|error| StoreError::Unavailable(with_source(&error)))?))
    }

    /// Looks the tables up again before the next request if this one found some of them missing: the database may have
    /// been restored from a backup that is older than they are.
    pub(super) async fn after_failure(&self, error: &StoreError) {
        if is_missing_object(error) {
            *self.sql.lock().await = None;
        }
    }

    /// How many connections there are, and how many of them are idle.
    pub(super) fn connections(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size, status.available)
    }

    /// Whether this session removes what is past retention.
    pub(super) fn is_retention_due(&self, now_us: i64) -> bool {
        let every_us = u64::try_from(self.config.forget_every.as_micros()).unwrap_or(u64::MAX);
        let before = self.last_retention_us.load(Ordering::Relaxed);
        // A clock that was set back must not stop retention.
        let is_due = now_us.abs_diff(before) >= every_us;
        // One of several concurrent sessions does it.
        is_due && self.last_retention_us.compare_exchange(before, now_us, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
