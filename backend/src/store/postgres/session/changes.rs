//! Row changes of the application's tables, and what a refused one means.

use fixtures::Row;

use crate::record::Cause;
use crate::store::error::StoreError;
use crate::store::postgres::note::{ChangeNote, cause_name};
use crate::store::postgres::pipeline::{Params, Step, param, pipeline};
use crate::store::postgres::session::connection::PostgresSession;
use crate::store::postgres::session::open::RowChange;
use crate::store::postgres::value::BoundValue;

impl PostgresSession<'_> {
    async fn change_step(&mut self, change: &RowChange) -> Result<Step, StoreError> {
        let sql = self.sql.clone();
        let statements = &sql.tables[change.table()];
        match change {
            RowChange::Insert((_, id), row) => self.step(&statements.insert, row_params(id, row)).await,
            RowChange::Update((_, id), row) => self.step(&statements.update, row_params(id, row)).await,
            RowChange::Delete((_, id)) => self.step(&statements.delete, vec![param(id.to_string())]).await,
        }
    }

    /// The steps of all unsent changes, with the table of each.
    pub(super) async fn change_steps(&mut self) -> Result<(Vec<Step>, Vec<usize>), StoreError> {
        let changes = std::mem::take(&mut self.open.unsent_changes);
        let mut steps = Vec::with_capacity(changes.len());
        let tables = changes.iter().map(RowChange::table).collect();
        for change in &changes {
            steps.push(self.change_step(change).await?);
        }
        Ok((steps, tables))
    }

    /// Sends the row changes so far.
    pub(super) async fn send_changes(&mut self) -> Result<(), StoreError> {
        if self.open.unsent_changes.is_empty() {
            return Ok(());
        }
        let mut steps = self.begin_steps().await?;
        if self.open.wants_savepoint && !self.open.has_savepoint {
            self.open.has_savepoint = true;
            steps.push(Step::Plain("SAVEPOINT operations"));
        }
        let before = steps.len();
        let (changes, tables) = self.change_steps().await?;
        steps.extend(changes);
        let answers = pipeline(self.client(), steps).await;
        match answers {
            Ok(_) => Ok(()),
            Err((position, error)) => {
                let table = position.checked_sub(before).and_then(|index| tables.get(index).copied());
                Err(self.change_failed(table, &error))
            }
        }
    }

    /// The error of a refused row change.
    pub(super) fn change_failed(&mut self, table: Option<usize>, error: &tokio_postgres::Error) -> StoreError {
        let refusal = match (self.failed(error), table) {
            (StoreError::Unique(constraint), Some(table)) if constraint == self.sql.tables[table].primary => {
                return StoreError::Contended(format!("another transaction inserted the row ({constraint})"));
            }
            (StoreError::Unique(constraint), _) => match self.sql.keys.get(&constraint) {
                Some((_, columns)) => StoreError::Unique(columns.join(", ")),
                None => StoreError::Unique(constraint),
            },
            (retryable @ (StoreError::Unavailable(_) | StoreError::Contended(_)), _) => return retryable,
            (refusal, _) => refusal,
        };
        if std::mem::replace(&mut self.is_eager, true) {
            return refusal;
        }
        StoreError::Contended(format!("run again to find the refused operation: {refusal}"))
    }

    pub(super) fn annotate_change(&mut self, table: usize, id: &str, by: i64, cause: Cause) {
        if self.database.config.annotates {
            let table = self.rules.tables[table].name.to_string();
            self.open.changes.push(ChangeNote { table, id: id.to_owned(), by, cause: cause_name(cause) });
        }
    }

    pub(super) fn annotate_tombstone(&mut self, table: usize, id: &str, at_us: i64) {
        if self.database.config.annotates {
            self.open.tombstones.push((self.rules.tables[table].name.to_string(), id.to_owned(), at_us));
        }
    }
}

fn row_params(id: &str, row: &Row) -> Params {
    let mut params = vec![param(id.to_owned())];
    params.extend(row.iter().map(|value| param(BoundValue(value.clone()))));
    params
}
