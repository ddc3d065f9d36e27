//! A source, a service and clients in one process, for the tests of this crate.
//!
//! The clock is tokio's, paused, so waiting takes no time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use fixtures::{Column, Row, Schema, Table, Type, Value};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};
use sim_service::{Config, Keys, ReplicaIdentity, RowChange, Service, SourceTransaction, Storage, SyncConfig, router};
use tower::ServiceExt as _;

pub(crate) const SECRET: &[u8] = b"a secret of the tests";
pub(crate) const AUDIENCE: &str = "powersync-dev";
/// 2026-03-01T00:00:00Z.
pub(crate) const START_S: i64 = 1_772_323_200;

/// A source with its service.
pub(crate) struct Rig {
    pub(crate) config: Config,
    pub(crate) storage: Storage,
    pub(crate) service: Service,
    head: Arc<AtomicU64>,
    rows: Vec<BTreeMap<Arc<str>, Row>>,
    open: Vec<RowChange>,
    committed: VecDeque<SourceTransaction>,
}

/// `name a:text b:integer`.
pub(crate) fn table(text: &str) -> Table {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a table has a name").to_owned();
    let columns = words.map(|word| {
        let (name, ty) = word.split_once(':').expect("a column has a type");
        let ty = match ty {
            "text" => Type::Text,
            "integer" => Type::Integer,
            "bigint" => Type::BigInt,
            "double" => Type::Double,
            "real" => Type::Real,
            "boolean" => Type::Boolean,
            "timestamptz" => Type::Timestamptz,
            other => panic!("no type {other}"),
        };
        Column { name: name.to_owned(), ty, not_null: false, default: fixtures::ColumnDefault::Null }
    });
    Table { name, columns: columns.collect(), unique: Vec::new() }
}

pub(crate) fn schema(tables: &[&str]) -> Schema {
    Schema { tables: tables.iter().map(|text| table(text)).collect() }
}

/// Two tables whose rows have owners, and one of teams and their members.
pub(crate) fn shared_schema() -> Schema {
    schema(&["boxes owner:text label:text size:integer", "notes owner:text body:text", "members person:text team:text"])
}

impl Rig {
    pub(crate) fn new(schema: Schema, sync_config: &str) -> Self {
        Self::with(schema, sync_config, |_| {})
    }

    pub(crate) fn with(schema: Schema, sync_config: &str, change: impl FnOnce(&mut Config)) -> Self {
        let schema = Arc::new(schema);
        let parsed = SyncConfig::parse(sync_config, &schema).unwrap_or_else(|error| panic!("{error}"));
        let head = Arc::new(AtomicU64::new(0));
        let seen = head.clone();
        let started = tokio::time::Instant::now();
        let micros = move || i64::try_from(started.elapsed().as_micros()).expect("tests are short");
        let mut config = Config::new(
            schema.clone(),
            Arc::new(parsed),
            Keys::hs256("dev-1", SECRET),
            vec![AUDIENCE.to_owned()],
            Arc::new(move || START_S * 1_000_000 + micros()),
            Arc::new(move || seen.load(Ordering::SeqCst)),
        );
        change(&mut config);
        let storage = Storage::new();
        let service = Service::new(config.clone(), storage.clone());
        let rows = vec![BTreeMap::new(); schema.tables.len()];
        Self { config, storage, service, head, rows, open: Vec::new(), committed: VecDeque::new() }
    }

    /// Kills the service and starts another on the same storage.
    pub(crate) fn restart(&mut self, sync_config: Option<&str>) {
        if let Some(text) = sync_config {
            let parsed = SyncConfig::parse(text, &self.config.schema).unwrap_or_else(|error| panic!("{error}"));
            self.config.sync_config = Arc::new(parsed);
        }
        self.service = Service::new(self.config.clone(), self.storage.clone());
    }

    pub(crate) fn table(&self, name: &str) -> usize {
        self.config.schema.table_index(name).unwrap_or_else(|| panic!("no table {name}"))
    }

    /// Writes a row as part of the transaction that is open: an insert, or an update of the columns named.
    pub(crate) fn put(&mut self, table: &str, id: &str, columns: &Json) -> &mut Self {
        let table = self.table(table);
        let schema = &self.config.schema.tables[table];
        let before = self.rows[table].get(id).cloned();
        let mut row: Vec<Value> = match &before {
            Some(row) => row.to_vec(),
            None => schema.columns.iter().map(default_of).collect(),
        };
        for (name, value) in columns.as_object().expect("columns are an object") {
            if name != "id" {
                let column = schema.column_index(name).unwrap_or_else(|| panic!("no column {name}"));
                row[column] = Value::from_json(schema.columns[column].ty, value).expect("a good value");
            }
        }
        let row: Row = row.into();
        let id: Arc<str> = Arc::from(id);
        self.rows[table].insert(id.clone(), row.clone());
        self.open.push(RowChange { table, id, before, after: Some(row) });
        self
    }

    pub(crate) fn delete(&mut self, table: &str, id: &str) -> &mut Self {
        let table = self.table(table);
        let before = self.rows[table].remove(id);
        assert!(before.is_some(), "{id} is there to be deleted");
        self.open.push(RowChange { table, id: Arc::from(id), before, after: None });
        self
    }

    /// Commits at the source; nothing is replicated yet.
    pub(crate) fn commit(&mut self) -> &mut Self {
        let lsn = self.head.fetch_add(1, Ordering::SeqCst) + 1;
        self.committed.push_back(SourceTransaction { lsn, changes: std::mem::take(&mut self.open) });
        self
    }

    /// Delivers what is committed.
    pub(crate) fn replicate(&mut self) -> &mut Self {
        while self.replicate_one() {}
        self
    }

    /// Delivers the oldest transaction that is committed, if one is.
    pub(crate) fn replicate_one(&mut self) -> bool {
        let oldest = self.committed.pop_front();
        oldest.inspect(|transaction| self.service.replicate(transaction)).is_some()
    }

    /// Loses what is committed and not delivered, and gives the service a snapshot of what the source holds.
    pub(crate) fn lose_slot(&mut self) {
        assert!(self.open.is_empty(), "a snapshot shows what is committed");
        self.committed.clear();
        self.service.apply_snapshot(self.head.load(Ordering::SeqCst), self.rows.clone());
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        router(self.service.clone()).oneshot(request).await.expect("a router does not fail")
    }

    /// Opens a stream as the user `u1`.
    pub(crate) async fn open(&self, body: Json) -> Lines {
        self.open_as("u1", body).await
    }

    pub(crate) async fn open_as(&self, user: &str, body: Json) -> Lines {
        let token = token("dev-1", SECRET, &claims(user, 0, 3600));
        let response =
            self.send(request("POST", "/sync/stream", Some(&format!("Token {token}")), &body.to_string())).await;
        Lines::of(response)
    }

    /// Asks for a write checkpoint as the user `u1`.
    pub(crate) async fn write_checkpoint(&self, client_id: &str) -> String {
        let path = format!("/write-checkpoint2.json?client_id={client_id}");
        let token = token("dev-1", SECRET, &claims("u1", 0, 3600));
        let response = self.send(request("GET", &path, Some(&format!("Token {token}")), "")).await;
        let body: Json = serde_json::from_str(&text_of(response).await).expect("the answer is JSON");
        body["data"]["write_checkpoint"].as_str().expect("a text").to_owned()
    }
}

fn default_of(column: &Column) -> Value {
    match &column.default {
        fixtures::ColumnDefault::Literal(value) => value.clone(),
        // These tests declare none that only PostgreSQL can evaluate.
        _ => Value::Null,
    }
}

/// The lines of an open stream.
pub(crate) struct Lines {
    body: Body,
    ended: bool,
}

impl Lines {
    pub(crate) fn of(response: Response<Body>) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body(), ended: false }
    }

    /// The next line, if one comes within the time.
    pub(crate) async fn next_within(&mut self, time: Duration) -> Option<String> {
        match tokio::time::timeout(time, self.body.frame()).await {
            Err(_) => None,
            Ok(None) => {
                self.ended = true;
                None
            }
            Ok(Some(frame)) => {
                let data = frame.expect("a stream does not fail").into_data().expect("a stream has no trailers");
                let line = String::from_utf8(data.to_vec()).expect("lines are text");
                Some(line.strip_suffix('\n').expect("a chunk is one line").to_owned())
            }
        }
    }

    /// All lines until none comes for 100 ms.
    pub(crate) async fn settle(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.next_within(Duration::from_millis(100)).await {
            lines.push(line);
        }
        lines
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended
    }
}

pub(crate) fn claims(user: &str, issued: i64, expires: i64) -> Json {
    json!({"sub": user, "aud": AUDIENCE, "iat": START_S + issued, "exp": START_S + expires})
}

pub(crate) fn token(key_id: &str, secret: &[u8], claims: &Json) -> String {
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(key_id.to_owned());
    jsonwebtoken::encode(&header, claims, &jsonwebtoken::EncodingKey::from_secret(secret)).expect("claims encode")
}

pub(crate) fn request(method: &str, path: &str, authorization: Option<&str>, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    request.body(Body::from(body.to_owned())).expect("a good request")
}

pub(crate) async fn text_of(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

pub(crate) fn identities(schema: &Schema, identity: ReplicaIdentity) -> Vec<ReplicaIdentity> {
    vec![identity; schema.tables.len()]
}
