//! What every request passes through: a log line without secrets, counters, CORS, and a timeout.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, Method, StatusCode, header};
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;

use crate::server::config::Config;
use crate::server::error::ServerError;
use crate::server::metrics::{CONTENT_TYPE, Metrics};
use crate::store::postgres::PostgresStore;

/// How long a browser may cache a CORS answer.
const CORS_MAX_AGE: Duration = Duration::from_secs(3_600);

/// Adds `/metrics`, the timeout, CORS, logging and counters to the backend's routes.
pub(super) fn wrap(
    router: Router,
    config: &Config,
    store: PostgresStore,
    metrics: Arc<Metrics>,
) -> Result<Router, ServerError> {
    let rendered = metrics.clone();
    let page = move || {
        let page = rendered.render(store.connections());
        async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response() }
    };
    let timeout = Duration::from_millis(config.request_timeout_ms);
    let mut router =
        router.route("/metrics", get(page)).layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, timeout));
    if !config.cors_origins.is_empty() {
        let origins = config.cors_origins.iter().map(|origin| origin_value(origin)).collect::<Result<Vec<_>, _>>()?;
        let cors = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
            .max_age(CORS_MAX_AGE);
        router = router.layer(cors);
    }
    Ok(router.layer(from_fn_with_state(metrics, log_and_count)))
}

/// An origin as browsers send it: scheme, host, port unless it is the default, and nothing else.
fn origin_value(origin: &str) -> Result<HeaderValue, ServerError> {
    let invalid = || {
        ServerError::Setting(format!(
            "{origin:?} is no origin: write scheme and host, such as https://app.example or http://localhost:5173"
        ))
    };
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))
        .or_else(|| origin.strip_prefix("tauri://"))
        .or_else(|| origin.strip_prefix("capacitor://"))
        .ok_or_else(invalid)?;
    if host.is_empty() || host.contains(['/', '*', '?', '#', '@', ' ']) {
        return Err(invalid());
    }
    HeaderValue::from_str(&origin.to_ascii_lowercase()).map_err(|_| invalid())
}

/// Logs and counts a request. Headers and queries are not logged, because they may hold a token.
async fn log_and_count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = route_name(request.uri().path());
    let began = Instant::now();
    let response = next.run(request).await;
    let (status, duration) = (response.status().as_u16(), began.elapsed());
    metrics.count_request(route, status, duration);
    let took_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    tracing::info!(%method, route, status, took_us, "request");
    response
}

/// The route that a path names; no route has parameters.
fn route_name(path: &str) -> &'static str {
    const ROUTES: [&str; 7] = [
        "/upload",
        "/conflicts",
        "/.well-known/jwks.json",
        "/probes/liveness",
        "/probes/readiness",
        "/auth/token",
        "/metrics",
    ];
    ROUTES.iter().find(|route| **route == path).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let check = |origin: &str, expect: Option<&str>| {
            let found = origin_value(origin).ok();
            assert_eq!(found.as_ref().map(|value| value.to_str().expect("ASCII")), expect, "{origin}");
        };
        check("https://app.example", Some("https://app.example"));
        check("http://LOCALHOST:5173", Some("http://localhost:5173"));
        check("tauri://localhost", Some("tauri://localhost"));
        check("*", None);
        check("https://*.example", None);
        check("https://app.example/", None);
        check("https://", None);
        check("app.example", None);
        check("null", None);
    }
}
