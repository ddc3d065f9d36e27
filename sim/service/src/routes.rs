//! The HTTP surface: routes, validation before authorization, error bodies, CORS, compression.

mod compression;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value as Json;

use crate::auth::{Token, key_id_of, token_of};
use crate::checkpoint::client_key;
use crate::error::{WireError, json_response};
use crate::protocol::StreamRequest;
use crate::service::Service;
use crate::stream::SyncStream;
use crate::stream::body::{Permit, StreamBody};
use crate::stream::expiry::Expiry;
use crate::sync_config::expression::RequestValues;

/// Greatest size of a request body.
const BODY_MAX_BYTES: usize = 1 << 20;

/// The routes of a service. Streams are NDJSON, whatever else the client would take: clients go by the answer's
/// content type.
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
    // What the official service answers: its first version cannot print its own result.
    let authorized = authorize(&service, request.headers()).await;
    answer(authorized.and(Err(WireError::internal("Do not know how to serialize a BigInt"))))
}

async fn checkpoint_request(State(service): State<Service>, request: Request<Body>) -> Response<Body> {
    answer(store_checkpoint_request(&service, request).await)
}

async fn probe(State(service): State<Service>) -> Response<Body> {
    let up = !service.0.stopped();
    let touched_at = fixtures::value::time_to_iso((service.0.config.clock)());
    // Milliseconds, as JavaScript prints them.
    let touched_at = format!("{}Z", &touched_at[..touched_at.len().saturating_sub(4)]);
    let mut response = json_response(format!("{{\"ready\":{up},\"started\":{up},\"touched_at\":\"{touched_at}\"}}"));
    if !up {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
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
    // The limit counts requests, before anything about them is known, as the official service's does.
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
    let expiry = Expiry::new((shared.config.clock)(), token.expires_s, shared.config.keepalive);
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
    let lines = StreamBody::new(service.0.clone(), machine, expiry, permit);
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
    // The head is asked for before the counter is given out: whatever the client uploaded is at or below it.
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

fn optional_text(parameters: &Json, key: &str) -> Result<Option<String>, WireError> {
    match parameters.get(key) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(WireError::validation(&[format!("/{key}: type must be string")])),
    }
}

/// Query and JSON body, merged; the body wins.
async fn parameters(headers: &HeaderMap, query: Option<&str>, body: Body) -> Result<Json, WireError> {
    let mut all = serde_json::Map::new();
    for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        all.insert(percent_decoded(key), Json::String(percent_decoded(value)));
    }
    let body = http_body_util::Limited::new(body, BODY_MAX_BYTES).collect().await;
    let body = body
        .map_err(|_| {
            let code = "FST_ERR_CTP_BODY_TOO_LARGE";
            WireError::framework(StatusCode::PAYLOAD_TOO_LARGE, code, "Request body is too large")
        })?
        .to_bytes();
    if body.is_empty() {
        return Ok(Json::Object(all));
    }
    let json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().starts_with("application/json"));
    if !json {
        let code = "FST_ERR_CTP_INVALID_MEDIA_TYPE";
        return Err(WireError::framework(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, "Unsupported Media Type"));
    }
    match serde_json::from_slice::<Json>(&body) {
        Ok(Json::Object(body)) => {
            all.extend(body);
            Ok(Json::Object(all))
        }
        Ok(_) => Err(WireError::validation(&["/: type must be object".to_owned()])),
        Err(_) => Err(WireError::framework(
            StatusCode::BAD_REQUEST,
            "FST_ERR_CTP_INVALID_JSON_BODY",
            "Body is not valid JSON but content-type is set to 'application/json'",
        )),
    }
}

pub(crate) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = text.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(if *byte == b'+' { b' ' } else { *byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn allow_origins(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Content-Type"));
    response
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = "Content-Type, Authorization, User-Agent, X-User-Agent";
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET,HEAD,POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
        (header::ACCESS_CONTROL_MAX_AGE, "3600"),
        (header::CONTENT_LENGTH, "0"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
