//! The HTTP surface: routes, validation before authorization, error bodies, CORS, compression.

mod compression;
mod cors;
mod parameters;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value as Json;

use crate::auth::{Token, key_id_of, token_of};
use crate::error::WireError;
use crate::protocol::request::StreamRequest;
use crate::responses::{json_response, probe_response};
use crate::service::Service;
use crate::stream::body::StreamBody;
use crate::stream::keepalive::KeepaliveSchedule;
use crate::stream::machine::SyncStream;
use crate::stream::permit::Permit;
use crate::sync_config::expression::RequestValues;
use crate::write_checkpoint::client_key;
use cors::{allow_origins, preflight};
use parameters::{optional_text, parameters};

/// The routes of a service. Streams are always NDJSON: clients read the content type of the answer.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/sync/stream", post(sync_stream).fallback(no_route))
        .route("/write-checkpoint2.json", get(write_checkpoint).fallback(no_route))
        .route("/write-checkpoint.json", get(write_checkpoint_1).fallback(no_route))
        .route("/sync/checkpoint-request", post(checkpoint_request).fallback(no_route))
        .route("/probes/startup", get(probe).fallback(no_route))
        .route("/probes/liveness", get(probe).fallback(no_route))
        .route("/probes/readiness", get(probe).fallback(no_route))
        .fallback(no_route)
        .layer(axum::middleware::map_response(allow_origins))
        .with_state(service)
}

async fn sync_stream(State(service): State<Service>, request: Request<Body>) -> Response<Body> {
    answer(open_stream(&service, request).await)
}

async fn write_checkpoint(State(service): State<Service>, request: Request<Body>) -> Response<Body> {
    answer(create_write_checkpoint(&service, request).await)
}

async fn write_checkpoint_1(State(service): State<Service>, request: Request<Body>) -> Response<Body> {
    // The official service answers this: the first version of its route cannot print its own result.
    let authorized = authorize(&service, request.headers()).await;
    answer(authorized.and(Err(WireError::internal("Do not know how to serialize a BigInt"))))
}

async fn checkpoint_request(State(service): State<Service>, request: Request<Body>) -> Response<Body> {
    answer(store_checkpoint_request(&service, request).await)
}

async fn probe(State(service): State<Service>) -> Response<Body> {
    let up = !service.0.stopped();
    probe_response(up, up, (service.0.config.clock)())
}

async fn no_route(request: Request<Body>) -> Response<Body> {
    if request.method() == Method::OPTIONS {
        return preflight();
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    WireError::no_route(request.method().as_str(), path).into_response()
}

async fn open_stream(service: &Service, request: Request<Body>) -> Result<Response<Body>, WireError> {
    let shared = &service.0;
    // As in the official service, the limit counts requests before they are validated or authorized.
    let Some(permit) = Permit::take(&shared.open_streams, shared.config.max_streams) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        return Ok(response);
    };
    let (parts, body) = request.into_parts();
    let parameters = parameters(&parts.headers, parts.uri.query(), body).await?;
    let wanted = StreamRequest::parse(&parameters).map_err(|problems| WireError::validation(&problems))?;
    let token = authorize(service, &parts.headers).await?;
    shared.activate_when_due();
    let client = client_key(&token.subject, wanted.client_id.as_deref());
    let keepalives = KeepaliveSchedule::new((shared.config.clock)(), token.expires_s, shared.config.keepalive);
    let values = RequestValues {
        user_id: token.user_id,
        jwt: token.payload,
        parameters: wanted.parameters.clone(),
        subscription: Json::Object(serde_json::Map::new()),
    };
    let machine = match &shared.storage.lock().active {
        Some(active) => SyncStream::new(active, wanted, &values, client),
        None => return Err(WireError::not_ready()),
    };
    let lines = StreamBody::new(service.0.clone(), machine, keepalives, permit);
    let gzip = compression::accepts_gzip(&parts.headers);
    let mut response = Response::new(compression::stream_body(lines, gzip));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

async fn create_write_checkpoint(service: &Service, request: Request<Body>) -> Result<Response<Body>, WireError> {
    let (parts, body) = request.into_parts();
    let parameters = parameters(&parts.headers, parts.uri.query(), body).await?;
    let client_id = optional_text(&parameters, "client_id")?;
    let token = authorize(service, &parts.headers).await?;
    // The head is read before the counter is given out, so everything that the client has uploaded is at or below it.
    let head = service.head().await?;
    let key = client_key(&token.subject, client_id.as_deref());
    let counter = service.write_checkpoint(&key, None, head).await?;
    Ok(json_response(format!("{{\"data\":{{\"write_checkpoint\":\"{counter}\"}}}}")))
}

async fn store_checkpoint_request(service: &Service, request: Request<Body>) -> Result<Response<Body>, WireError> {
    let (parts, body) = request.into_parts();
    let parameters = parameters(&parts.headers, parts.uri.query(), body).await?;
    let invalid = |problem: &str| WireError::validation(&[problem.to_owned()]);
    let client_id =
        optional_text(&parameters, "client_id")?.ok_or_else(|| invalid("/ must have required property 'client_id'"))?;
    let wanted = match parameters.get("checkpoint_request_id") {
        None => return Err(invalid("/ must have required property 'checkpoint_request_id'")),
        Some(Json::String(text)) => text.parse().ok(),
        Some(Json::Number(number)) => number.as_u64(),
        Some(_) => return Err(invalid("/checkpoint_request_id: type must be string or number")),
    };
    let wanted = wanted
        .filter(|id| (1..=i64::MAX.unsigned_abs()).contains(id))
        .ok_or_else(|| invalid("Expected checkpoint_request_id between 1 and 9223372036854775807"))?;
    let token = authorize(service, &parts.headers).await?;
    let head = service.head().await?;
    let key = client_key(&token.subject, Some(&client_id));
    let stored = service.write_checkpoint(&key, Some(wanted), head).await?;
    Ok(json_response(format!("{{\"data\":{{\"checkpoint_request_id\":\"{stored}\"}}}}")))
}

fn answer(result: Result<Response<Body>, WireError>) -> Response<Body> {
    result.unwrap_or_else(WireError::into_response)
}

async fn authorize(service: &Service, headers: &HeaderMap) -> Result<Token, WireError> {
    if service.0.stopped() {
        return Err(WireError::shutting_down());
    }
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token_of(header)?;
    service.keys(key_id_of(token).as_deref()).await.verify(
        token,
        &service.0.config.audience,
        (service.0.config.clock)(),
    )
}
