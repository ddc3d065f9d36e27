//! Stands on loopback for the two servers of a stack that somebody else runs. It forwards requests to where they are,
//! uploads in the form that the endpoint takes.
//!
//! It lets nothing be written but the plan's rows: an upload that names another row is not sent.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use backend::wire::{UploadRequest, WireOp};
use bytes::Bytes;
use fixtures::Schema;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use sim_stack::existing_stack::http::{Http, NoReply};
use tokio::net::TcpListener;

use super::mapping::Mapping;
use crate::plan_rows::RowKey;

/// Greatest size of what a device sends, or of an answer in one piece.
const BODY_MAX_BYTES: usize = 64 << 20;

/// Set when nothing more is to be written.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// The gateway to both servers.
pub(super) struct Gateway {
    pub(super) http: Http,
    pub(super) service: String,
    pub(super) backend: String,
    pub(super) mapping: Arc<Mapping>,
    pub(super) schema: Arc<Schema>,
    pub(super) writable: Mutex<WritableRows>,
}

/// The rows that may be written, and how many uploads named others.
#[derive(Default)]
pub(super) struct WritableRows {
    rows: BTreeSet<RowKey>,
    refused_uploads: usize,
}

/// No device of this process writes from now on.
pub(super) fn close_all() {
    IS_CLOSED.store(true, Ordering::SeqCst);
}

impl Gateway {
    /// Listens for requests to the service; gives the address.
    pub(super) async fn for_service(self: &Arc<Self>) -> Result<SocketAddr, String> {
        let gateway = self.clone();
        listen(Router::new().fallback(move |request: Request<Body>| {
            let gateway = gateway.clone();
            async move { gateway.forward(&gateway.service, request).await }
        }))
        .await
    }

    /// Listens for requests to the backend; gives the address.
    pub(super) async fn for_backend(self: &Arc<Self>) -> Result<SocketAddr, String> {
        let gateway = self.clone();
        listen(Router::new().fallback(move |request: Request<Body>| {
            let gateway = gateway.clone();
            async move {
                match request.uri().path() {
                    "/upload" => gateway.upload(request).await,
                    "/conflicts" => match gateway.mapping.conflicts() {
                        Some(path) => {
                            let query = request.uri().query().unwrap_or_default();
                            let url = format!("{}{path}?{query}", gateway.backend);
                            gateway.ask(&url, token(&request), None).await
                        }
                        None => plain(StatusCode::NOT_FOUND),
                    },
                    _ => plain(StatusCode::NOT_FOUND),
                }
            }
        }))
        .await
    }

    async fn upload(&self, request: Request<Body>) -> Response<Body> {
        let token = token(&request).unwrap_or_default();
        let Ok(body) = Limited::new(request.into_body(), BODY_MAX_BYTES).collect().await else {
            return plain(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let body = body.to_bytes();
        if IS_CLOSED.load(Ordering::SeqCst) || !self.may_write(&body) {
            return plain(StatusCode::SERVICE_UNAVAILABLE);
        }
        let answer = self.mapping.send(&self.http, &self.backend, &token, &body).await;
        let mut response = Response::new(Body::from(answer.body));
        *response.status_mut() = answer.status;
        response
    }

    /// Lets these rows be written, and no others; gives how many uploads named others before.
    pub(super) fn set_writable(&self, rows: &[RowKey]) -> usize {
        let rows = rows.iter().cloned().collect();
        let mut writable = self.writable.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *writable, WritableRows { rows, refused_uploads: 0 }).refused_uploads
    }

    /// Whether an upload writes the plan's rows alone.
    fn may_write(&self, body: &[u8]) -> bool {
        let mut writable = self.writable.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = |op: &WireOp| {
            let table = self.schema.table_index(&op.table);
            table.is_some_and(|table| writable.rows.contains(&(table, Arc::from(op.id.as_str()))))
        };
        let upload = serde_json::from_slice::<UploadRequest>(body);
        let may = upload.is_ok_and(|upload| upload.transactions.iter().flat_map(|one| &one.ops).all(is_own));
        writable.refused_uploads += usize::from(!may);
        may
    }

    /// Sends a request on as it is; the answer comes back part by part.
    async fn forward(&self, base: &str, asked: Request<Body>) -> Response<Body> {
        let path = asked.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let url = format!("{base}{path}");
        let token = token(&asked);
        let body = Limited::new(asked.into_body(), BODY_MAX_BYTES).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        self.ask(&url, token, (!body.is_empty()).then_some(body)).await
    }

    async fn ask(&self, url: &str, token: Option<String>, body: Option<Bytes>) -> Response<Body> {
        let body = body.map(|body| String::from_utf8_lossy(&body).into_owned());
        let method = if body.is_some() { http::Method::POST } else { http::Method::GET };
        let asked = self.http.request(method, url, token.as_deref(), body.as_deref());
        match self.http.open(asked).await {
            Ok(answer) => {
                let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
                let mut response = Response::new(Body::new(reqwest::Body::from(answer)));
                *response.status_mut() = status;
                if let Some(kind) = kind {
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                }
                response
            }
            Err(NoReply::Refused | NoReply::Name(_)) => plain(StatusCode::SERVICE_UNAVAILABLE),
            Err(_) => plain(StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

async fn listen(router: Router) -> Result<SocketAddr, String> {
    let words = |error: std::io::Error| format!("a port on loopback: {error}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(words)?;
    let address = listener.local_addr().map_err(words)?;
    // It ends with the runtime that it runs on.
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "a gateway ended");
        }
    });
    Ok(address)
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn token<T>(request: &Request<T>) -> Option<String> {
    request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_the_plans_rows_are_written() {
        let app = fixtures::App::builtin("todolists").expect("it is built in");
        let table = app.schema.tables[0].name.clone();
        let gateway = Arc::new(Gateway {
            http: Http::new(Duration::from_secs(60)).expect("a client"),
            service: "http://127.0.0.1:1".to_owned(),
            backend: "http://127.0.0.1:1".to_owned(),
            mapping: Arc::new(Mapping::read("syncstorm").expect("presets are sound")),
            schema: Arc::new(app.schema),
            writable: Mutex::default(),
        });
        let body = |ids: &[&str]| {
            let ops: Vec<serde_json::Value> = ids
                .iter()
                .map(|id| serde_json::json!({"op_id": 1, "op": "DELETE", "table": table, "id": id}))
                .collect();
            serde_json::json!({"client_id": "c", "transactions": [{"tx_id": 1, "ops": ops}]}).to_string()
        };
        assert!(!gateway.may_write(body(&["a"]).as_bytes()), "there is no plan");
        assert_eq!(gateway.set_writable(&[(0, Arc::from("a")), (0, Arc::from("b"))]), 1);
        assert!(gateway.may_write(body(&["a", "b"]).as_bytes()));
        assert!(!gateway.may_write(body(&["a", "other"]).as_bytes()));
        assert!(!gateway.may_write(body(&["a"]).replace(&table, "pg_authid").as_bytes()));
        assert!(!gateway.may_write(b"{}"));
        assert_eq!(gateway.set_writable(&[]), 3);
        // And nothing of it leaves this machine: the answer is the gateway's own.
        let address = gateway.for_backend().await.expect("it listens");
        let url = format!("http://{address}/upload");
        let reply = gateway.http.post(&url, Some("t"), &body(&["a"])).await.expect("it answers");
        assert_eq!(reply.status, 503);
        assert_eq!(
            gateway.http.get(&format!("http://{address}/elsewhere"), None).await.expect("it answers").status,
            404
        );
    }
}
