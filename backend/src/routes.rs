//! HTTP: the routes, and the status of each failure.
//!
//! For a device 400 and 413 are final; it retries after 401, 408, 429 and 5xx. Every failure is JSON that says why:
//! `{"error":{"code":"…","reason":"…"}}`.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest, Query, Request, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::auth::AuthError;
use crate::policy::PolicyKind;
use crate::record::ConflictRecord;
use crate::state::State;
use crate::store::StoreError;
use crate::upload::{Upload, UploadBody};
use crate::wire::{BaselineRequest, NAME_BYTES_MAX, UploadRequest, is_storable};

/// The greatest number of conflict records in one answer.
const CONFLICTS_MAX: usize = 1_000;
/// The body limit of the first upload handler.
const BASELINE_BODY_BYTES_MAX: usize = 100 * 1024;
/// The longest lifetime of a token that development mode issues.
const TOKEN_LIFETIME_S_MAX: i64 = 86_400;

/// The backend's routes.
pub fn router(state: State) -> Router {
    let body_bytes_max = match state.engine.policy.kind() {
        PolicyKind::ArrivalOrder => BASELINE_BODY_BYTES_MAX.min(state.limits.body_bytes_max),
        _ => state.limits.body_bytes_max,
    };
    let mut router = Router::new()
        .route("/upload", post(upload))
        .route("/conflicts", get(conflicts))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/probes/liveness", get(liveness))
        .route("/probes/readiness", get(readiness));
    if state.is_development {
        router = router.route("/auth/token", post(token));
    }
    router.layer(DefaultBodyLimit::max(body_bytes_max)).with_state(state)
}

/// A request that is not answered as asked.
struct Failure {
    status: StatusCode,
    code: &'static str,
    reason: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": {"code": self.code, "reason": self.reason}}))).into_response()
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code: error.code(), reason: error.to_string() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (status, code) = match error {
            StoreError::Unavailable(_) | StoreError::Contended(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "database"),
        };
        Self { status, code, reason: error.to_string() }
    }
}

impl Failure {
    fn malformed(reason: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "malformed", reason }
    }

    fn too_large(reason: String) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, code: "too-large", reason }
    }
}

fn subject(state: &State, headers: &HeaderMap, now_us: i64) -> Result<Arc<str>, AuthError> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    state.auth().subject(authorization, now_us)
}

async fn upload(Extract(state): Extract<State>, request: Request) -> Result<Response, Failure> {
    let received_us = (state.engine.clock)();
    let subject = subject(&state, request.headers(), received_us)?;
    let bytes = Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::too_large(rejection.body_text()),
        _ => Failure::malformed(rejection.body_text()),
    })?;
    let body = parse(&state, &bytes)?;
    let upload = Upload { subject, received_us, body };
    let answer = state.store.apply(&state.engine, &upload).await?;
    Ok(match upload.body {
        UploadBody::Transactions(_) => Json(answer).into_response(),
        UploadBody::Batch(_) => Json(json!({"success": true})).into_response(),
    })
}

fn parse(state: &State, bytes: &Bytes) -> Result<UploadBody, Failure> {
    #[derive(Deserialize)]
    struct Batched {
        batch: Option<serde::de::IgnoredAny>,
    }
    let malformed = |error: serde_json::Error| Failure::malformed(error.to_string());
    if state.engine.policy.kind() == PolicyKind::ArrivalOrder
        && serde_json::from_slice::<Batched>(bytes).map_err(malformed)?.batch.is_some()
    {
        return serde_json::from_slice::<BaselineRequest>(bytes).map(UploadBody::Batch).map_err(malformed);
    }
    let request: UploadRequest = serde_json::from_slice(bytes).map_err(malformed)?;
    if request.client_id.is_empty() {
        return Err(Failure::malformed("client_id is empty".to_owned()));
    }
    if !is_storable(&request.client_id) {
        return Err(Failure::malformed(format!("client_id is longer than {NAME_BYTES_MAX} bytes, or holds NUL")));
    }
    let ops: usize = request.transactions.iter().map(|transaction| transaction.ops.len()).sum();
    if ops > state.limits.ops_max {
        let max = state.limits.ops_max;
        return Err(Failure::too_large(format!("{ops} operations in one request; at most {max} are taken")));
    }
    for transaction in &request.transactions {
        let mut ids: Vec<i64> = transaction.ops.iter().map(|op| op.op_id).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            let reason = format!("op_id {} occurs twice in transaction {}", pair[0], transaction.tx_id);
            return Err(Failure::malformed(reason));
        }
    }
    Ok(UploadBody::Transactions(request))
}

#[derive(Deserialize)]
struct ConflictsQuery {
    #[serde(default)]
    after: u64,
}

/// One conflict record in an answer. `loser` and `winner` are `client/op` or `server`.
#[derive(Serialize)]
struct ConflictJson<'a> {
    seq: u64,
    at: String,
    table: &'a str,
    id: &'a str,
    column: Option<&'a str>,
    rule: &'a str,
    loser: String,
    winner: String,
}

async fn conflicts(
    Extract(state): Extract<State>,
    headers: HeaderMap,
    query: Result<Query<ConflictsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let subject = subject(&state, &headers, (state.engine.clock)())?;
    let Query(ConflictsQuery { after }) = query.map_err(|rejection| Failure::malformed(rejection.body_text()))?;
    let records = state.store.conflicts(&subject, after, CONFLICTS_MAX).await?;
    let last = records.last().map_or(after, |record| record.seq);
    let conflicts: Vec<ConflictJson<'_>> = records.iter().map(|record| conflict_json(&state, record)).collect();
    Ok(Json(json!({"conflicts": conflicts, "last": last, "has_more": records.len() == CONFLICTS_MAX})).into_response())
}

fn conflict_json<'a>(state: &'a State, record: &'a ConflictRecord) -> ConflictJson<'a> {
    ConflictJson {
        seq: record.seq,
        at: fixtures::value::time_to_iso(record.at_us),
        table: &state.engine.rules.tables[record.table].name,
        id: &record.id,
        column: record.column.as_deref(),
        rule: &record.rule,
        loser: record.loser.to_string(),
        winner: record.winner.to_string(),
    }
}

async fn jwks(Extract(state): Extract<State>) -> Response {
    Json(state.auth().jwks(state.is_development)).into_response()
}

async fn liveness() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

async fn readiness(Extract(state): Extract<State>) -> Response {
    if state.store.is_ready().await {
        return Json(json!({"status": "ready"})).into_response();
    }
    let reason = "the database does not answer".to_owned();
    Failure { status: StatusCode::SERVICE_UNAVAILABLE, code: "not-ready", reason }.into_response()
}

#[derive(Deserialize)]
struct TokenRequest {
    sub: String,
    #[serde(default = "token_lifetime_s_max")]
    lifetime_s: i64,
}

fn token_lifetime_s_max() -> i64 {
    TOKEN_LIFETIME_S_MAX
}

async fn token(Extract(state): Extract<State>, bytes: Bytes) -> Result<Response, Failure> {
    let request: TokenRequest =
        serde_json::from_slice(&bytes).map_err(|error| Failure::malformed(error.to_string()))?;
    let lifetime_s = request.lifetime_s.clamp(1, TOKEN_LIFETIME_S_MAX);
    match state.auth().mint(&request.sub, (state.engine.clock)(), lifetime_s) {
        Some(token) => Ok(Json(json!({"token": token, "expires_in": lifetime_s})).into_response()),
        None => Err(Failure {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "no-key",
            reason: "there is no key to sign with".to_owned(),
        }),
    }
}
