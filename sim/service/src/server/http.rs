//! The routes of a server: probes and metrics, which answer before there is a service, and the routes of the service.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderValue, Request, Response, header};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::keyring::Keyring;
use crate::clock::Clock;
use crate::durable::{CurrentService, DurablePosition};
use crate::error::WireError;
use crate::replication::progress::Progress;
use crate::responses::probe_response;
use crate::routes;
use crate::service::Service;

/// A replication that has shown nothing for this long is not alive.
const SILENCE_MAX_US: i64 = 10_000_000;

/// What all routes share.
pub(super) struct ServerRoutes {
    current: CurrentService,
    durable: watch::Receiver<DurablePosition>,
    progress: Arc<Progress>,
    clock: Clock,
    keyring: Arc<Keyring>,
    stopping: AtomicBool,
    /// The service that answers now, with its routes.
    service: Mutex<Option<(Service, Router)>>,
}

impl ServerRoutes {
    pub(super) fn new(
        current: CurrentService,
        durable: watch::Receiver<DurablePosition>,
        progress: Arc<Progress>,
        clock: Clock,
        keyring: Arc<Keyring>,
    ) -> Self {
        let (stopping, service) = (AtomicBool::new(false), Mutex::new(None));
        Self { current, durable, progress, clock, keyring, stopping, service }
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

    /// Ends all streams, and refuses requests from now on.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(service) = self.current.get() {
            service.stop();
        }
    }

    fn ready(&self) -> bool {
        !self.stopping.load(Ordering::Acquire) && self.current.get().is_some()
    }

    fn service_router(&self) -> Option<Router> {
        let service = self.current.get()?;
        let mut known = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((known, router)) if Arc::ptr_eq(&known.0, &service.0) => Some(router.clone()),
            _ => {
                let router = routes::router(service.clone());
                *known = Some((service, router.clone()));
                Some(router)
            }
        }
    }

    fn probe(&self, succeeds: bool) -> Response<Body> {
        probe_response(succeeds, self.ready(), self.progress.touched_us.load(Ordering::Relaxed))
    }
}

async fn service(State(server): State<Arc<ServerRoutes>>, request: Request<Body>) -> Response<Body> {
    match server.service_router() {
        Some(router) => match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None if server.stopping.load(Ordering::Acquire) => WireError::shutting_down().into_response(),
        None => WireError::not_ready().into_response(),
    }
}

async fn readiness(State(server): State<Arc<ServerRoutes>>) -> Response<Body> {
    server.probe(server.ready())
}

async fn liveness(State(server): State<Arc<ServerRoutes>>) -> Response<Body> {
    let touched = server.progress.touched_us.load(Ordering::Relaxed);
    let alive = (server.clock)().saturating_sub(touched) < SILENCE_MAX_US;
    server.probe(alive && !server.stopping.load(Ordering::Acquire))
}

async fn metrics(State(server): State<Arc<ServerRoutes>>) -> Response<Body> {
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(
            out,
            "# HELP syncstorm_service_{name} {help}\n# TYPE syncstorm_service_{name} {kind}\nsyncstorm_service_{name} {value}"
        );
    };
    let progress = &server.progress;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let streaming = progress.streaming.load(Ordering::Relaxed);
    metric("ready", "gauge", "Whether streams are served.", u64::from(server.ready()));
    metric("replication_streaming", "gauge", "Whether changes stream in from PostgreSQL.", u64::from(streaming));
    metric("replication_sessions_total", "counter", "Sessions that began to stream.", count(&progress.sessions));
    metric("snapshots_total", "counter", "Snapshots taken over from PostgreSQL.", count(&progress.snapshots));
    metric("transactions_total", "counter", "Source transactions with changes.", count(&progress.transactions));
    metric("changes_total", "counter", "Row changes of the source.", count(&progress.changes));
    let durable = server.durable.borrow().lsn;
    metric("durable_lsn_bytes", "gauge", "The source's position up to which everything is stored.", durable);
    metric("token_keys", "gauge", "Keys by which tokens are judged.", server.keyring.len() as u64);
    if let Some(service) = server.current.get() {
        let (mut buckets, mut operations) = (0, 0);
        for (_, count, _) in service.storage().buckets() {
            buckets += 1;
            operations += count as u64;
        }
        metric("open_streams", "gauge", "Streams that are open.", service.open_streams() as u64);
        metric("buckets", "gauge", "Buckets.", buckets);
        metric("operations", "gauge", "Operations in all buckets.", operations);
        metric("last_op_id", "gauge", "The greatest operation id given out.", service.storage().last_op_id());
        metric(
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
