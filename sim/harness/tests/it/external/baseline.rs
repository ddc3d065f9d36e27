//! The first upload handler, as a small server: it answers exactly as the baseline is told to, on a real PostgreSQL.
//!
//! `POST /upload` with `{"batch":[{op, table or type, id, data or opData}]}`, one transaction a request, in order. PUT
//! inserts and overwrites on a conflicting id, PATCH updates where the id matches, DELETE deletes. Names come from the
//! request unchecked; any error of the database rolls back and is a 500; entries without a table or data, and unknown
//! kinds, are passed over; a body over 100 kB is a 413. There is one shared secret.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value as Json;

use super::sql::{Sessions, assignments, is_let_in, literal, upsert};

const BODY_MAX_BYTES: usize = 100 * 1024;

/// In what a handler differs from the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// In nothing.
    Plain,
    /// Whatever inserts or updates is answered 400. (What a run leaves behind can be deleted.)
    Refuses,
    /// Whatever inserts or updates is answered 413.
    FindsTooLarge,
    /// An operation that it has done is not done again, unless it inserts.
    RepeatsInserts,
    /// Each operation is a transaction of its own.
    WithoutTransaction,
    /// What counts is counted by the server, which does it twice in one transaction.
    CountsTwice,
    /// Whatever inserts or updates the first task that was updated fails, from the second time on.
    FailsOnOneRow,
    /// Texts are stored without their last word.
    CutsTexts,
}

struct Handler {
    manner: Manner,
    sessions: Sessions,
    /// The operations that were done, as they were sent.
    done: Mutex<BTreeSet<String>>,
    /// The first task that was updated.
    first_task: OnceLock<Json>,
}

/// Listens on loopback, on the runtime that it is called on.
pub(super) async fn start(url: &str, manner: Manner) -> SocketAddr {
    let handler =
        Arc::new(Handler { manner, sessions: Sessions::new(url), done: Mutex::default(), first_task: OnceLock::new() });
    let handle = move |request: Request<Body>| {
        let handler = handler.clone();
        async move { handler.upload(request).await }
    };
    let router = Router::new().route("/upload", post(handle));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

impl Handler {
    async fn upload(&self, request: Request<Body>) -> StatusCode {
        if !is_let_in(request.headers()) {
            return StatusCode::UNAUTHORIZED;
        }
        let Ok(body) = Limited::new(request.into_body(), BODY_MAX_BYTES).collect().await else {
            return StatusCode::PAYLOAD_TOO_LARGE;
        };
        let Ok(body) = serde_json::from_slice::<Json>(&body.to_bytes()) else { return StatusCode::BAD_REQUEST };
        let Some(batch) = body["batch"].as_array() else { return StatusCode::BAD_REQUEST };
        let writes = |entry: &&Json| entry["op"] != "DELETE";
        match self.manner {
            Manner::Refuses if batch.iter().any(|entry| writes(&entry)) => return StatusCode::BAD_REQUEST,
            Manner::FindsTooLarge if batch.iter().any(|entry| writes(&entry)) => return StatusCode::PAYLOAD_TOO_LARGE,
            _ => {}
        }
        let is_known = |entry: &Json| {
            let known = self.done.lock().expect("nothing panics with it").contains(&entry.to_string());
            self.manner == Manner::RepeatsInserts && entry["op"] != "PUT" && known
        };
        if self.manner == Manner::FailsOnOneRow && self.is_of_first_task(batch) {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        let entries = batch.iter().filter(|entry| !is_known(entry));
        let statements: Vec<String> = entries.flat_map(|entry| self.statements(entry)).collect();
        let done = if self.manner == Manner::WithoutTransaction {
            self.one_by_one(&statements).await
        } else {
            self.sessions.transaction(&statements).await
        };
        match done {
            Ok(()) => {
                self.done.lock().expect("nothing panics with it").extend(batch.iter().map(ToString::to_string));
                StatusCode::OK
            }
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Handler {
    async fn one_by_one(&self, statements: &[String]) -> Result<(), tokio_postgres::Error> {
        for statement in statements {
            self.sessions.transaction(std::slice::from_ref(statement)).await?;
        }
        Ok(())
    }

    /// Whether an entry updates the first task that was updated, not for the first time.
    fn is_of_first_task(&self, batch: &[Json]) -> bool {
        let updates = batch.iter().filter(|entry| entry["op"] == "PATCH" && entry["type"] == "tasks");
        let ids: Vec<&Json> = updates.map(|entry| &entry["id"]).collect();
        match (self.first_task.get(), ids.first()) {
            (Some(first), _) => ids.contains(&first),
            (None, Some(id)) => {
                let _ = self.first_task.set((*id).clone());
                false
            }
            (None, None) => false,
        }
    }

    /// What an entry becomes.
    fn statements(&self, entry: &Json) -> Vec<String> {
        let count = &entry["data"]["total_pomodoros"];
        if self.manner == Manner::CountsTwice && entry["op"] == "PATCH" && count.is_number() {
            let one =
                format!("UPDATE tasks SET total_pomodoros = total_pomodoros + 1 WHERE id = {}", literal(&entry["id"]));
            return vec![one.clone(), one];
        }
        if self.manner == Manner::CutsTexts && entry["op"] == "PATCH" {
            let mut entry = entry.clone();
            for value in entry["data"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
                if let Some((head, _)) = value.as_str().and_then(|text| text.rsplit_once(' ')) {
                    *value = Json::from(head);
                }
            }
            return statement(&entry).into_iter().collect();
        }
        statement(entry).into_iter().collect()
    }
}

/// What an entry becomes; none where it is passed over.
fn statement(entry: &Json) -> Option<String> {
    let either =
        |one: &str, other: &str| Some(&entry[one]).filter(|value| !value.is_null()).or_else(|| entry.get(other));
    let table = either("table", "type")?.as_str()?;
    let id = literal(&entry["id"]);
    let data = either("data", "opData").and_then(Json::as_object);
    match entry["op"].as_str()? {
        "PUT" => Some(upsert(table, &entry["id"], data?)),
        "PATCH" => Some(format!("UPDATE \"{table}\" SET {} WHERE id = {id}", assignments(data?))),
        "DELETE" => Some(format!("DELETE FROM \"{table}\" WHERE id = {id}")),
        _ => None,
    }
}
