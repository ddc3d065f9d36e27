//! As much of PostgREST as connectors use, after its documentation: `POST` that merges duplicates, `PATCH` and `DELETE`
//! where the id is so, each a transaction of its own; errors as JSON with PostgreSQL's code.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value as Json, json};

use super::sql::{Sessions, assignments, is_let_in, literal, upsert};

const BODY_MAX_BYTES: usize = 16 << 20;

/// Listens on loopback, on the runtime that it is called on.
pub(super) async fn start(url: &str) -> SocketAddr {
    let sessions = Arc::new(Sessions::new(url));
    let router = Router::new().fallback(move |request: Request<Body>| {
        let sessions = sessions.clone();
        async move {
            let (status, body) = answer(&sessions, request).await;
            let mut response = Response::new(Body::from(body.map_or_else(String::new, |body| body.to_string())));
            *response.status_mut() = status;
            response
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn answer(sessions: &Sessions, request: Request<Body>) -> (StatusCode, Option<Json>) {
    if !is_let_in(request.headers()) || !request.headers().contains_key("apikey") {
        return (StatusCode::UNAUTHORIZED, Some(json!({"code": "PGRST301", "message": "JWT"})));
    }
    let (parts, body) = request.into_parts();
    let Some(table) = parts.uri.path().strip_prefix("/rest/v1/") else { return (StatusCode::NOT_FOUND, None) };
    let id = parts.uri.query().and_then(|query| query.strip_prefix("id=eq.")).map(|id| json!(id));
    let body = Limited::new(body, BODY_MAX_BYTES).collect().await.map(http_body_util::Collected::to_bytes);
    let data = body.ok().and_then(|body| serde_json::from_slice::<Json>(&body).ok()).unwrap_or_default();
    let merges = parts
        .headers
        .get("prefer")
        .is_some_and(|prefer| prefer.to_str().is_ok_and(|text| text.contains("merge-duplicates")));
    let (statement, status) = match (parts.method, data.as_object(), &id) {
        (Method::POST, Some(row), None) if merges => {
            let mut data = row.clone();
            let id = data.remove("id").unwrap_or_default();
            (upsert(table, &id, &data), StatusCode::CREATED)
        }
        (Method::PATCH, Some(data), Some(_)) if data.is_empty() => return (StatusCode::NO_CONTENT, None),
        (Method::PATCH, Some(data), Some(id)) => {
            (format!("UPDATE \"{table}\" SET {} WHERE id = {}", assignments(data), literal(id)), StatusCode::NO_CONTENT)
        }
        (Method::DELETE, _, Some(id)) => {
            (format!("DELETE FROM \"{table}\" WHERE id = {}", literal(id)), StatusCode::NO_CONTENT)
        }
        _ => return (StatusCode::BAD_REQUEST, Some(json!({"code": "PGRST100", "message": "not understood"}))),
    };
    match sessions.transaction(&[statement]).await {
        Ok(()) => (status, None),
        Err(error) => {
            let code = error.code().map_or("XX000", |code| code.code()).to_owned();
            let status = match &code[..2] {
                "23" => StatusCode::CONFLICT,
                "22" | "42" => StatusCode::BAD_REQUEST,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, Some(json!({"code": code, "message": error.to_string()})))
        }
    }
}
