//! The parameters of a request: its query and its JSON body.

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value as Json;

use crate::error::WireError;
use crate::percent::percent_decoded;

/// The greatest size of a request body.
const BODY_MAX_BYTES: usize = 1 << 20;

/// The query and the JSON body, merged. The body overrides the query.
pub(super) async fn parameters(headers: &HeaderMap, query: Option<&str>, body: Body) -> Result<Json, WireError> {
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

/// A parameter that is a string, if it is there.
pub(super) fn optional_text(parameters: &Json, key: &str) -> Result<Option<String>, WireError> {
    match parameters.get(key) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(WireError::validation(&[format!("/{key}: type must be string")])),
    }
}
