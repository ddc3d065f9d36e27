//! Deletes what plans have written, through the backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::wire::{UploadRequest, WireOp, WireTransaction};
use fixtures::{App, Row};
use sim_stack::existing_stack::token::Source;
use sim_stack::files;
use sim_stack::postgres::random_word;
use tokio_postgres::Client;

use super::config::ExternalConfig;
use super::row_list::RowList;
use crate::plan_rows::RowKey;
use crate::real::sql::table_rows;

/// How often rows that are still there are deleted, at most: a row that others refer to may only go after them.
const ROUNDS_MAX: usize = 6;

/// How long it may take to see what is left, when the time for deleting is over.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// Why rows may be left.
enum DeletionError {
    /// They are: by name.
    Left(String),
    /// It could not be seen.
    Unknown(String),
}

impl From<String> for DeletionError {
    fn from(said: String) -> Self {
        Self::Unknown(said)
    }
}

/// What deleting rows needs.
pub(super) struct Cleanup {
    pub(super) app: Arc<App>,
    pub(super) config: Arc<ExternalConfig>,
    pub(super) source: Source,
}

impl Cleanup {
    /// Deletes what is there of a list, and then the list.
    ///
    /// # Errors
    /// What is left, by table and id.
    pub(super) async fn delete_rows(&self, list: &RowList, patience: Duration) -> Result<(), String> {
        let listed = |said: &str| format!("{said}; what may still be there is listed in {}", list.path.display());
        match tokio::time::timeout(patience + LAST_LOOK, self.delete_within(list, patience)).await {
            Ok(Err(DeletionError::Left(said))) => Err(said),
            Ok(Err(DeletionError::Unknown(said))) => Err(listed(&said)),
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(listed("the backend or the database did not answer")),
        }
    }

    async fn delete_within(&self, list: &RowList, patience: Duration) -> Result<(), DeletionError> {
        let deadline = Instant::now() + patience;
        let mut last = String::from("the backend answers with success");
        let client = self.config.connect().await?;
        let mut left = self.remaining(&client, list).await?;
        let mut number = 0;
        for round in 0..ROUNDS_MAX {
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            // Rows may belong to one user.
            let user = list.users.get(round % list.users.len().max(1)).cloned().unwrap_or_default();
            let token = self.source.token(&user, &self.config.target.audience)?;
            let client_id = random_word().map_err(|error| DeletionError::Unknown(error.to_string()))?;
            for (row, seen) in &left {
                number += 1;
                let status = self.delete(row, seen, &client_id, number, &token.text).await;
                if !status.is_success() {
                    last = format!("the backend answers {status}");
                }
                if Instant::now() > deadline {
                    break;
                }
            }
            left = self.remaining(&client, list).await?;
        }
        if left.is_empty() {
            return match files::remove_file(&list.path) {
                // The program may delete the same rows twice at once, as it ends.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(DeletionError::Left(format!("{}: {error}", list.path.display())))
                }
                _ => Ok(()),
            };
        }
        let tables = &self.app.schema.tables;
        let names: Vec<String> = left.iter().map(|((table, id), _)| format!("{} {id}", tables[*table].name)).collect();
        Err(DeletionError::Left(format!("{} ({last}; listed in {})", names.join(", "), list.path.display())))
    }

    /// The rows of a list that are there, with what they hold. Those that others refer to come last.
    async fn remaining(&self, client: &Client, list: &RowList) -> Result<Vec<(RowKey, Row)>, String> {
        let mut found = Vec::new();
        let mut tables: Vec<usize> = (0..self.app.schema.tables.len()).collect();
        let references = &self.app.policy.references;
        let is_parent = |table: &usize| references.iter().any(|one| one.parent == *table && one.table != *table);
        tables.sort_by_key(is_parent);
        for table in tables {
            let ids: Vec<&str> = list.rows.iter().filter(|(of, _)| *of == table).map(|(_, id)| &**id).collect();
            let rows = table_rows(client, &self.app.schema.tables[table], Some(&ids)).await?;
            found.extend(rows.into_iter().map(|(id, row)| ((table, Arc::from(id)), row)));
        }
        Ok(found)
    }

    /// Deletes one row as a device does that has seen all of it, so that no edit of it is newer.
    async fn delete(&self, row: &RowKey, seen: &Row, client: &str, number: i64, token: &str) -> http::StatusCode {
        let declared = &self.app.schema.tables[row.0];
        let old =
            declared.columns.iter().zip(seen.iter()).map(|(column, value)| (column.name.clone(), value.to_json()));
        let op = WireOp {
            op_id: number,
            op: "DELETE".to_owned(),
            table: declared.name.clone(),
            id: row.1.to_string(),
            data: None,
            old: Some(old.collect()),
        };
        let transactions = vec![WireTransaction { tx_id: number, ops: vec![op] }];
        let upload = UploadRequest { client_id: client.to_owned(), transactions };
        let body = serde_json::to_vec(&upload).unwrap_or_default().into();
        let target = &self.config.target;
        let backend = target.backend.as_deref().unwrap_or_default();
        self.config.mapping.send(&target.http, backend, token, &body).await.status
    }
}
