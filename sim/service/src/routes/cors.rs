//! Cross-origin requests: every origin is allowed, as in the official service.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

pub(super) async fn allow_origins(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Content-Type"));
    response
}

pub(super) fn preflight() -> Response<Body> {
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
