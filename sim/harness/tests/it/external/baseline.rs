//! The first upload handler, as a small server: it answers exactly as the baseline is told to, on a real PostgreSQL.
//!
//! `POST /upload` with `{"batch":[{op, table or type, id, data or opData}]}`, one transaction a request, in order. PUT
//! inserts and overwrites on a conflicting id, PATCH updates where the id matches, DELETE deletes. Names come from the
//! request unchecked; any error of the database rolls back and is a 500; entries without a table or data, and unknown
//! kinds, are passed over; a body over 100 kB is a 413. There is one shared secret.

use std::net::SocketAddr;
use std::sync::Arc;

use ::backend::store::postgres::tls::Address;
use axum::Router;
use axum::body::Body;
use axum::routing::post;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value as Json};
use tokio_postgres::Client;

/// What signs all tokens. It stands in the source, as it did.
pub(super) const SECRET: &str = "the-one-shared-secret-of-the-first-handler";
const BODY_MAX_BYTES: usize = 100 * 1024;

struct Handler {
    address: Address,
    idle: std::sync::Mutex<Vec<Client>>,
}

/// Listens on loopback, on the runtime that it is called on.
pub(super) async fn start(url: &str) -> SocketAddr {
    let address = Address::parse(url).expect("the cluster's own URL");
    let handler = Arc::new(Handler { address, idle: std::sync::Mutex::default() });
    let router = Router::new().route(
        "/upload",
        post(move |request: Request<Body>| {
            let handler = handler.clone();
            async move { handler.upload(request).await }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

impl Handler {
    async fn upload(&self, request: Request<Body>) -> StatusCode {
        let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !token.is_some_and(is_good) {
            return StatusCode::UNAUTHORIZED;
        }
        let Ok(body) = Limited::new(request.into_body(), BODY_MAX_BYTES).collect().await else {
            return StatusCode::PAYLOAD_TOO_LARGE;
        };
        let Ok(body) = serde_json::from_slice::<Json>(&body.to_bytes()) else { return StatusCode::BAD_REQUEST };
        let Some(batch) = body["batch"].as_array() else { return StatusCode::BAD_REQUEST };
        match self.execute(batch).await {
            Ok(()) => StatusCode::OK,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    async fn execute(&self, batch: &[Json]) -> Result<(), tokio_postgres::Error> {
        let idle = self.idle.lock().expect("nothing panics with it").pop();
        let client = match idle {
            Some(client) => client,
            None => self.connect().await?,
        };
        client.batch_execute("BEGIN").await?;
        for statement in batch.iter().filter_map(statement) {
            if let Err(error) = client.batch_execute(&statement).await {
                client.batch_execute("ROLLBACK").await?;
                self.idle.lock().expect("nothing panics with it").push(client);
                return Err(error);
            }
        }
        client.batch_execute("COMMIT").await?;
        self.idle.lock().expect("nothing panics with it").push(client);
        Ok(())
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (config, tls) = self.address.connector().expect("the cluster's own URL");
        let (client, connection) = config.connect(tls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

fn is_good(token: &str) -> bool {
    let mut validation = Validation::new(Algorithm::HS256);
    // It looked at nothing but signature and end.
    validation.validate_aud = false;
    jsonwebtoken::decode::<Json>(token, &DecodingKey::from_secret(SECRET.as_bytes()), &validation).is_ok()
}

/// What an entry becomes; none where it is passed over.
fn statement(entry: &Json) -> Option<String> {
    let either = |one: &str, other: &str| Some(&entry[one]).filter(|value| !value.is_null()).or_else(|| entry.get(other));
    let table = either("table", "type")?.as_str()?;
    let id = literal(&entry["id"]);
    let data = either("data", "opData").and_then(Json::as_object);
    match entry["op"].as_str()? {
        "PUT" => {
            let data = data?;
            let names: Vec<String> = data.keys().map(|name| format!("\"{name}\"")).collect();
            let values: Vec<String> = data.values().map(literal).collect();
            let update: Vec<String> = names.iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
            Some(format!(
                "INSERT INTO \"{table}\" ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}",
                [vec!["id".to_owned()], names].concat().join(", "),
                [vec![id], values].concat().join(", "),
                update.join(", ")
            ))
        }
        "PATCH" => Some(format!("UPDATE \"{table}\" SET {} WHERE id = {id}", assignments(data?))),
        "DELETE" => Some(format!("DELETE FROM \"{table}\" WHERE id = {id}")),
        _ => None,
    }
}

fn assignments(data: &Map<String, Json>) -> String {
    let one = |(name, value): (&String, &Json)| format!("\"{name}\" = {}", literal(value));
    data.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A value as the driver passed it: text that takes the type of its column.
fn literal(value: &Json) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => format!("'{}'", other.to_string().replace('\'', "''")),
    }
}
