//! Counters, and the page that shows them.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::record::ConflictRecord;
use crate::store::StoreError;
use crate::upload::{BoxFuture, Engine, Store, Upload};
use crate::wire::{Outcome, TransactionOutcome, UploadAnswer};

/// The content type of [`Metrics::render`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// One of the known routes, so that callers cannot create labels.
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: LabelValue,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LabelValue(&'static str);

impl EncodeLabelValue for LabelValue {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

/// All counters.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
    transactions: Family<OutcomeLabels, Counter>,
    operations: Family<OutcomeLabels, Counter>,
    failures: Counter,
    connections: Gauge,
    idle: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("sync_backend"),
            requests: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            transactions: Family::default(),
            operations: Family::default(),
            failures: Counter::default(),
            connections: Gauge::default(),
            idle: Gauge::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("requests", "Requests answered, by route and status", self.requests.clone());
        registry.register("request_seconds", "Time to answer a request", self.seconds.clone());
        registry.register("transactions", "Client transactions answered, by outcome", self.transactions.clone());
        registry.register("operations", "Client operations answered, by outcome", self.operations.clone());
        registry.register("store_failures", "Uploads that the database failed", self.failures.clone());
        registry.register("connections", "Connections to the database", self.connections.clone());
        registry.register("connections_idle", "Of them, those that wait for work", self.idle.clone());
        self
    }

    pub(super) fn count_request(&self, route: &'static str, status: u16, duration: Duration) {
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
        self.seconds.observe(duration.as_secs_f64());
    }

    /// The page, with the present numbers of connections.
    pub(super) fn render(&self, (connections, idle): (usize, usize)) -> String {
        self.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
        self.idle.set(i64::try_from(idle).unwrap_or(i64::MAX));
        let mut page = String::new();
        encode(&mut page, &self.registry).expect("memory takes text");
        page
    }

    fn count_answer(&self, answer: &UploadAnswer) {
        let count = |family: &Family<OutcomeLabels, Counter>, name| {
            family.get_or_create(&OutcomeLabels { outcome: LabelValue(name) }).inc()
        };
        for transaction in &answer.transactions {
            let name = match transaction.outcome {
                TransactionOutcome::Committed => "committed",
                TransactionOutcome::Refused => "refused",
                TransactionOutcome::NotAttempted => "not_attempted",
            };
            count(&self.transactions, name);
            for op in &transaction.ops {
                let name = match op.outcome {
                    Outcome::Applied => "applied",
                    Outcome::Merged => "merged",
                    Outcome::Superseded => "superseded",
                    Outcome::Rejected => "rejected",
                    Outcome::RolledBack => "rolled_back",
                };
                count(&self.operations, name);
            }
        }
    }
}

/// A store whose answers are counted.
pub(super) struct CountedStore<S> {
    store: S,
    metrics: Arc<Metrics>,
}

impl<S> CountedStore<S> {
    pub(super) fn new(store: S, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }
}

impl<S: Store> Store for CountedStore<S> {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            let answer = self.store.apply(engine, upload).await;
            match &answer {
                Ok(answer) => self.metrics.count_answer(answer),
                Err(error) => {
                    self.metrics.failures.inc();
                    tracing::warn!(%error, "an upload failed");
                }
            }
            answer
        })
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        self.store.conflicts(subject, after, limit)
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        self.store.is_ready()
    }
}
