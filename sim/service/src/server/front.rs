//! The HTTP surface around the service: probes and metrics that answer before there is a service, and the service.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::keyring::Keyring;
use crate::durable::engine::{Current, Durable};
use crate::error::{WireError, json_response};
use crate::replication::pump::Progress;
use crate::routes;
use crate::service::{Clock, Service};

/// A replication that has not shown itself for this long does not live.
const ALIVE_US: i64 = 10_000_000;

/// What the routes share.
pub(super) struct Front {
    current: Current,
    durable: watch::Receiver<Durable>,
    progress: Arc<Progress>,
    clock: Clock,
    keyring: Arc<Keyring>,
    stopping: AtomicBool,
    /// The routes of the service that they were made for.
    routes: Mutex<Option<(Service, Router)>>,
}

impl Front {
    pub(super) fn new(
        current: Current,
        durable: watch::Receiver<Durable>,
        progress: Arc<Progress>,
        clock: Clock,
        keyring: Arc<Keyring>,
    ) -> Self {
        let (stopping, routes) = (AtomicBool::new(false), Mutex::new(None));
        Self { current, durable, progress, clock, keyring, stopping, routes }
    }

    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/probes/startup", get(readiness))
            .route("/probes/readiness", get(readiness))
            .route("/probes/liveness", get(liveness))
            .fallback(service)
            .with_state(self)
    }

    /// Ends all streams; requests are refused from now on.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(service) = self.current.get() {
            service.stop();
        }
    }

    fn ready(&self) -> bool {
        !self.stopping.load(Ordering::Acquire) && self.current.get().is_some()
    }

    fn routes(&self) -> Option<Router> {
        let service = self.current.get()?;
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        match &*routes {
            Some((of, routes)) if Arc::ptr_eq(&of.0, &service.0) => Some(routes.clone()),
            _ => {
                let made = routes::router(service.clone());
                *routes = Some((service, made.clone()));
                Some(made)
            }
        }
    }

    fn probe(&self, good: bool) -> Response<Body> {
        let ready = self.ready();
        let touched = self.progress.touched_us.load(Ordering::Relaxed);
        let touched = fixtures::value::time_to_iso(touched);
        // Milliseconds, as JavaScript prints them.
        let touched = format!("{}Z", &touched[..touched.len().saturating_sub(4)]);
        let body = format!("{{\"ready\":{ready},\"started\":{ready},\"touched_at\":\"{touched}\"}}");
        let mut response = json_response(body);
        if !good {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        response
    }
}

async fn service(State(front): State<Arc<Front>>, request: Request<Body>) -> Response<Body> {
    match front.routes() {
        Some(routes) => match routes.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None if front.stopping.load(Ordering::Acquire) => WireError::shutting_down().into_response(),
        None => WireError::not_ready().into_response(),
    }
}

async fn readiness(State(front): State<Arc<Front>>) -> Response<Body> {
    front.probe(front.ready())
}

async fn liveness(State(front): State<Arc<Front>>) -> Response<Body> {
    let touched = front.progress.touched_us.load(Ordering::Relaxed);
    let alive = (front.clock)().saturating_sub(touched) < ALIVE_US;
    front.probe(alive && !front.stopping.load(Ordering::Acquire))
}

async fn metrics(State(front): State<Arc<Front>>) -> Response<Body> {
    let mut out = String::new();
    let mut say = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(
            out,
            "# HELP syncstorm_service_{name} {help}\n# TYPE syncstorm_service_{name} {kind}\nsyncstorm_service_{name} {value}"
        );
    };
    let progress = &front.progress;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let streaming = progress.streaming.load(Ordering::Relaxed);
    say("ready", "gauge", "Whether streams are served.", u64::from(front.ready()));
    say("replication_streaming", "gauge", "Whether changes stream in from PostgreSQL.", u64::from(streaming));
    say("replication_sessions_total", "counter", "Sessions that began to stream.", count(&progress.sessions));
    say("snapshots_total", "counter", "Snapshots taken over from PostgreSQL.", count(&progress.snapshots));
    say("transactions_total", "counter", "Source transactions with changes.", count(&progress.transactions));
    say("changes_total", "counter", "Row changes of the source.", count(&progress.changes));
    let durable = front.durable.borrow().lsn;
    say("durable_lsn_bytes", "gauge", "The source's position up to which everything is stored.", durable);
    say("token_keys", "gauge", "Keys by which tokens are judged.", front.keyring.len() as u64);
    if let Some(service) = front.current.get() {
        let (mut buckets, mut operations) = (0, 0);
        for (_, count, _) in service.storage().buckets() {
            buckets += 1;
            operations += count as u64;
        }
        say("open_streams", "gauge", "Streams that are open.", service.open_streams() as u64);
        say("buckets", "gauge", "Buckets.", buckets);
        say("operations", "gauge", "Operations in all buckets.", operations);
        say("last_op_id", "gauge", "The greatest operation id given out.", service.storage().last_op_id());
        say(
            "replicated_lsn_bytes",
            "gauge",
            "The source's position that clients see.",
            service.storage().replicated_lsn(),
        );
    }
    let mut response = Response::new(Body::from(out));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
