//! Responses that several routes give.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

/// A 200 answer with a JSON body.
pub(crate) fn json_response(body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The answer of a probe: 200 when it `succeeds`, else 400, which is what the official service answers.
pub(crate) fn probe_response(succeeds: bool, ready: bool, touched_us: i64) -> Response<Body> {
    let touched_at = fixtures::value::time_to_iso(touched_us);
    // Milliseconds, as JavaScript prints them.
    let touched_at = format!("{}Z", &touched_at[..touched_at.len().saturating_sub(4)]);
    let body = format!("{{\"ready\":{ready},\"started\":{ready},\"touched_at\":\"{touched_at}\"}}");
    let mut response = json_response(body);
    if !succeeds {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
}
