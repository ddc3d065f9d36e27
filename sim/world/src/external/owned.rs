//! What plans may have written: listed on disk before anything is, and deleted through the backend.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use backend::wire::{UploadRequest, WireOp, WireTransaction};
use fixtures::Row;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::stack::Stack;
use sim_stack::files;
use sim_stack::postgres::random_word;
use crate::real::feed;
use crate::real::ground::Cast;
use crate::real::share::OwnRow;

/// How often rows are deleted that are still there, at most: what names others may go after them alone.
const ROUNDS_MAX: usize = 6;
/// The folder of lists of rows, in that of the report.
const LISTS: &str = "owned-rows";

/// A list of rows on disk, while they may be there.
pub(super) struct List {
    pub(super) path: PathBuf,
    rows: Vec<OwnRow>,
    users: Vec<String>,
}

/// The same, as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    version: u32,
    app: String,
    /// Where they are: backend and database, without passwords.
    stack: BTreeMap<String, String>,
    users: Vec<String>,
    /// Table and id.
    rows: Vec<(String, String)>,
}

impl Stack {
    /// Writes the list of what may be written, before anything is.
    pub(super) fn own(&self, cast: &Cast) -> Result<(), String> {
        let word = random_word().map_err(|error| error.to_string())?;
        let path = self.lists().join(format!("{word}.json"));
        let tables = &self.common.app.schema.tables;
        let named = cast.rows.iter().map(|(table, id)| (tables[*table].name.clone(), id.to_string()));
        let file = ListFile {
            version: 1,
            app: self.common.app.name.clone(),
            stack: self.place(),
            users: cast.users.clone(),
            rows: named.collect(),
        };
        let text = serde_json::to_string_pretty(&file).map_err(|error| error.to_string())?;
        files::write_durably(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
        let list = List { path, rows: cast.rows.clone(), users: cast.users.clone() };
        self.gateway.guard(&list.rows);
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(list);
        Ok(())
    }

    /// The lists of this stack that earlier runs have left; those of others stay as they are.
    pub(super) fn left_behind(&self) -> Result<Vec<List>, String> {
        let lists = files::files_in(&self.lists()).into_iter().map(|path| self.read_list(path));
        Ok(lists.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// `None` where it is of another stack.
    fn read_list(&self, path: PathBuf) -> Result<Option<List>, String> {
        let wrong = |said: String| format!("{}: {said}; it lists rows that a run has left; delete it when they are gone", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let file: ListFile = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if file.stack != self.place() {
            return Ok(None);
        }
        let app = &self.common.app;
        if file.app != app.name {
            return Err(wrong(format!("app: is {}, and this run is of {}", file.app, app.name)));
        }
        let row = |(table, id): &(String, String)| {
            let index = app.schema.table_index(table).ok_or_else(|| wrong(format!("rows: there is no table {table}")))?;
            Ok::<_, String>((index, Arc::from(id.as_str())))
        };
        let rows = file.rows.iter().map(row).collect::<Result<_, _>>()?;
        Ok(Some(List { rows, users: file.users, path }))
    }

    fn lists(&self) -> PathBuf {
        self.choice.folder.join(LISTS)
    }

    fn place(&self) -> BTreeMap<String, String> {
        let places = self.choice.target.places().into_iter();
        places.filter(|(part, _)| ["backend", "database"].contains(part)).map(|(part, url)| (part.to_owned(), url)).collect()
    }

    /// The rows of a list that are there, with what they hold; those that others name come last.
    async fn there(&self, client: &Client, list: &List) -> Result<Vec<(OwnRow, Row)>, String> {
        let app = &self.common.app;
        let mut found = Vec::new();
        let mut tables: Vec<usize> = (0..app.schema.tables.len()).collect();
        let is_named = |table: &usize| app.policy.references.iter().any(|one| one.parent == *table && one.table != *table);
        tables.sort_by_key(is_named);
        for table in tables {
            let ids: Vec<&str> = list.rows.iter().filter(|(of, _)| *of == table).map(|(_, id)| &**id).collect();
            let rows = feed::table_rows(client, &app.schema.tables[table], Some(&ids)).await?;
            found.extend(rows.into_iter().map(|(id, row)| ((table, Arc::from(id)), row)));
        }
        Ok(found)
    }

    /// Deletes what is there of a list, through the backend, and the list when nothing is.
    ///
    /// # Errors
    /// What is left, by table and id.
    pub(super) async fn take_away(&self, list: &List, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        let mut last = String::from("the backend answers with success");
        let client = self.client().await?;
        let mut left = self.there(&client, list).await?;
        let mut number = 0;
        for round in 0..ROUNDS_MAX {
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            // Rows may be one user's own.
            let user = list.users.get(round % list.users.len().max(1)).cloned().unwrap_or_default();
            let token = self.source.token(&user, &self.choice.target.audience)?;
            let client_id = random_word().map_err(|error| error.to_string())?;
            for (row, seen) in &left {
                number += 1;
                let told = self.delete(row, seen, &client_id, number, &token.text).await;
                if !told.is_success() {
                    last = format!("the backend answers {told}");
                }
                if Instant::now() > deadline {
                    break;
                }
            }
            left = self.there(&client, list).await?;
        }
        if left.is_empty() {
            return files::remove_file(&list.path).map_err(|error| format!("{}: {error}", list.path.display()));
        }
        let tables = &self.common.app.schema.tables;
        let names: Vec<String> = left.iter().map(|((table, id), _)| format!("{} {id}", tables[*table].name)).collect();
        Err(format!("{} ({last}; listed in {})", names.join(", "), list.path.display()))
    }

    /// Deletes one row as a device does that has seen all of it, so that no edit of it is younger.
    async fn delete(&self, row: &OwnRow, seen: &Row, client: &str, number: i64, token: &str) -> http::StatusCode {
        let declared = &self.common.app.schema.tables[row.0];
        let old = declared.columns.iter().zip(seen.iter()).map(|(column, value)| (column.name.clone(), value.to_json()));
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
        self.choice.mapping.send(&self.choice.target.http, &self.gateway.backend, token, &body).await.status
    }
}
