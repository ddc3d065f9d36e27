//! The connection of a session: prepared statements, round trips, and what a failure means for the connection.

use std::sync::Arc;

use deadpool_postgres::Object;
use tokio_postgres::{Client, Statement};

use crate::rules::Rules;
use crate::store::error::StoreError;
use crate::store::postgres::database::Database;
use crate::store::postgres::error::store_error;
use crate::store::postgres::pipeline::{Params, Step, pipeline};
use crate::store::postgres::session::open::OpenTransaction;
use crate::store::postgres::sql::Sql;

/// A connection and its transaction.
pub(crate) struct PostgresSession<'a> {
    pub(super) database: &'a Database,
    pub(super) rules: &'a Rules,
    pub(super) sql: Arc<Sql>,
    /// `None` only while the session is dropped.
    connection: Option<Object>,
    /// Whether every change is awaited, because the database refused one in an earlier attempt.
    pub(super) is_eager: bool,
    /// Whether the connection is not to be used again.
    pub(super) is_broken: bool,
    pub(super) open: OpenTransaction,
}

impl<'a> PostgresSession<'a> {
    pub(in crate::store::postgres) fn new(database: &'a Database, sql: Arc<Sql>, connection: Object) -> Self {
        let rules = &database.rules;
        let (is_eager, is_broken, open) = (false, false, OpenTransaction::default());
        Self { database, rules, sql, connection: Some(connection), is_eager, is_broken, open }
    }

    fn connection(&self) -> &Object {
        self.connection.as_ref().expect("only dropping takes the connection")
    }

    pub(super) fn client(&self) -> &Client {
        self.connection()
    }

    /// The error of a failed statement. Remembers whether the connection can be used again.
    pub(super) fn failed(&mut self, error: &tokio_postgres::Error) -> StoreError {
        if let Some(code) = error.code().map(|code| code.code().to_owned()) {
            // A prepared statement is gone, or the schema has changed under it.
            self.is_broken |= code == "26000" || code == "0A000";
        } else {
            self.is_broken = true;
        }
        store_error(error)
    }

    async fn statement(&mut self, sql: &str) -> Result<Statement, StoreError> {
        let prepared = self.connection().prepare_cached(sql).await;
        prepared.map_err(|error| self.failed(&error))
    }

    pub(super) async fn step(&mut self, sql: &str, params: Params) -> Result<Step, StoreError> {
        Ok(Step::Prepared(self.statement(sql).await?, params))
    }

    pub(super) async fn send(&mut self, steps: Vec<Step>) -> Result<Vec<Vec<tokio_postgres::Row>>, StoreError> {
        let answers = pipeline(self.client(), steps).await;
        answers.map_err(|(_, error)| self.failed(&error))
    }
}

/// A request that times out leaves its transaction open: closing the connection ends it.
impl Drop for PostgresSession<'_> {
    fn drop(&mut self) {
        if (self.open.has_begun || self.is_broken)
            && let Some(connection) = self.connection.take()
        {
            drop(Object::take(connection));
        }
    }
}
