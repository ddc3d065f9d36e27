//! The database while it is down or paused: the backend's store, and the service's question for the head of the log,
//! pass through here, and fail or wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::middleware::{Next, from_fn};
use backend::upload::BoxFuture;
use backend::wire::UploadAnswer;
use backend::{ConflictRecord, Engine, Store, StoreError, Upload};
use sim_service::signal::Signal;

/// The state of the database. Clones share it.
#[derive(Clone, Default)]
pub(super) struct DatabaseOutage(Arc<State>);

#[derive(Default)]
struct State {
    /// How many faults keep it down, and how many pause it.
    down: AtomicU32,
    paused: AtomicU32,
    changes: Signal,
}

/// The database is down.
struct Down;

impl DatabaseOutage {
    pub(super) fn take_down(&self) {
        self.0.down.fetch_add(1, Ordering::AcqRel);
        self.0.changes.raise();
    }

    pub(super) fn bring_up(&self) {
        self.0.down.fetch_sub(1, Ordering::AcqRel);
        self.0.changes.raise();
    }

    pub(super) fn pause(&self) {
        self.0.paused.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn resume(&self) {
        self.0.paused.fetch_sub(1, Ordering::AcqRel);
        self.0.changes.raise();
    }

    /// Waits until the database answers. A kill ends the connections of those who wait.
    async fn wait_until_it_answers(&self) -> Result<(), Down> {
        loop {
            let seen = self.0.changes.version();
            if self.0.down.load(Ordering::Acquire) > 0 {
                return Err(Down);
            }
            if self.0.paused.load(Ordering::Acquire) == 0 {
                return Ok(());
            }
            self.0.changes.changed_since(seen).await;
        }
    }

    /// The store as the backend reaches it.
    pub(super) fn in_front_of(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(GatedStore { store, outage: self.clone() })
    }

    /// The service's routes; those that ask the database fail with it.
    pub(super) fn in_front_of_routes(&self, router: Router) -> Router {
        let outage = self.clone();
        router.layer(from_fn(move |request: axum::extract::Request, next: Next| {
            let outage = outage.clone();
            async move {
                let asks = request.uri().path() == "/write-checkpoint2.json";
                if asks && outage.wait_until_it_answers().await.is_err() {
                    let mut refused = http::Response::new(Body::from(UNREACHABLE));
                    *refused.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                    return refused;
                }
                next.run(request).await
            }
        }))
    }
}

const UNREACHABLE: &str =
    r#"{"error":{"code":"PSYNC_S2001","status":500,"description":"the source cannot be asked","name":"ServiceError"}}"#;

struct GatedStore {
    store: Arc<dyn Store>,
    outage: DatabaseOutage,
}

impl GatedStore {
    async fn wait_until_it_answers(&self) -> Result<(), StoreError> {
        self.outage
            .wait_until_it_answers()
            .await
            .map_err(|Down| StoreError::Unavailable("the database went away".to_owned()))
    }
}

impl Store for GatedStore {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            self.wait_until_it_answers().await?;
            self.store.apply(engine, upload).await
        })
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(async move {
            self.wait_until_it_answers().await?;
            self.store.conflicts(subject, after, limit).await
        })
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.outage.0.down.load(Ordering::Acquire) == 0 && self.store.is_ready().await })
    }
}
