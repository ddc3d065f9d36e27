//! The first upload handler, as a small server: it answers exactly as the baseline is told to, on a real PostgreSQL.
//!
//! `POST /upload` with `{"batch":[{op, table or type, id, data or opData}]}`, one transaction a request, in order. PUT
//! inserts and overwrites on a conflicting id, PATCH updates where the id matches, DELETE deletes. Names come from the
//! request unchecked; any error of the database rolls back and is a 500; entries without a table or data, and unknown
//! kinds, are passed over; a body over 100 kB is a 413. There is one shared secret.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

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
}

struct Handler {
    manner: Manner,
    sessions: Sessions,
    /// The operations that were done, as they were sent.
    done: Mutex<BTreeSet<String>>,
}

/// Listens on loopback, on the runtime that it is called on.
pub(super) async fn start(url: &str, manner: Manner) -> SocketAddr {
    let handler = Arc::new(Handler { manner, sessions: Sessions::new(url), done: Mutex::default() });
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
        let statements: Vec<String> = batch.iter().filter(|entry| !is_known(entry)).filter_map(statement).collect();
        match self.sessions.transaction(&statements).await {
            Ok(()) => {
                self.done.lock().expect("nothing panics with it").extend(batch.iter().map(ToString::to_string));
                StatusCode::OK
            }
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
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
