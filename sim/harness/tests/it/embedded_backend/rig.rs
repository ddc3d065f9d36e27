//! A private PostgreSQL, an application with every kind of rule, and engines whose clock the test sets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backend::store::postgres::{PostgresConfig, PostgresStore};
use backend::wire::{UploadAnswer, UploadRequest, WireOp, WireTransaction};
use backend::{Engine, PolicyKind, RETENTION_US, Rules, Store, StoreError, Upload, UploadBody};
use fixtures::App;
use serde_json::{Map, Value as Json};
use sim_stack::postgres::{Postgres, Settings};

/// 2026-01-01T00:00:00Z.
pub(crate) const START_US: i64 = 1_767_225_600_000_000;
/// The database of the application.
pub(crate) const DATABASE: &str = "warehouse";

pub(crate) struct Rig {
    pub(crate) cluster: Postgres,
    pub(crate) app: App,
    pub(crate) rules: Arc<Rules>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/embedded_backend/warehouse");
        let app = App::load(&folder).expect("the test application is sound");
        let rules = Arc::new(Rules::new(&app.schema, &app.policy));
        let cluster = Postgres::start(settings).await.expect("a private PostgreSQL comes up");
        cluster.create_database(DATABASE).await.expect("it is empty");
        let rig = Self { cluster, app, rules };
        rig.sql(&rig.app.schema_sql).await;
        rig
    }

    /// Runs statements as the database's owner, past the backend.
    pub(crate) async fn sql(&self, statements: &str) {
        self.client().await.batch_execute(statements).await.expect("the statements are lawful");
    }

    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        self.cluster.connect(DATABASE).await.expect("the cluster answers")
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig { forget_every: Duration::ZERO, ..PostgresConfig::new(&self.cluster.url(DATABASE)) }
    }

    pub(crate) fn store(&self) -> PostgresStore {
        PostgresStore::new(self.rules.clone(), self.config()).expect("its own URL is sound")
    }

    /// Forgets everything, as [`backend::MemoryStore::reset`] does.
    pub(crate) async fn reset(&self, client: &tokio_postgres::Client) {
        let tables: Vec<String> = self.app.schema.tables.iter().map(|table| format!("\"{}\"", table.name)).collect();
        client
            .batch_execute(&format!(
                "TRUNCATE {}, sync_backend.clients, sync_backend.ledger, sync_backend.stamps,
                     sync_backend.tombstones, sync_backend.aliases, sync_backend.conflicts;
                 UPDATE sync_backend.counters SET last = 0;",
                tables.join(", ")
            ))
            .await
            .expect("the tables are there");
    }
}

/// A clock that stands still until it is set.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START_US)))
    }

    pub(crate) fn set(&self, at_us: i64) {
        self.0.store(at_us, Ordering::Relaxed);
    }

    pub(crate) fn clock(&self) -> backend::upload::Clock {
        let now = self.0.clone();
        Arc::new(move || now.load(Ordering::Relaxed))
    }
}

pub(crate) fn engine(rules: &Arc<Rules>, kind: PolicyKind, clock: &TestClock) -> Engine {
    Engine { rules: rules.clone(), policy: kind.policy(), clock: clock.clock(), retention_us: RETENTION_US }
}

/// One operation from its parts; `data` and `old` are JSON objects or null.
pub(crate) fn op(op_id: i64, op: &str, table: &str, id: &str, data: Json, old: Json) -> WireOp {
    let members = |json: Json| -> Option<Map<String, Json>> {
        match json {
            Json::Object(members) => Some(members),
            _ => None,
        }
    };
    WireOp {
        op_id,
        op: op.to_owned(),
        table: table.to_owned(),
        id: id.to_owned(),
        data: members(data),
        old: members(old),
    }
}

pub(crate) fn upload(subject: &str, client: &str, received_us: i64, transactions: Vec<(i64, Vec<WireOp>)>) -> Upload {
    let transactions = transactions.into_iter().map(|(tx_id, ops)| WireTransaction { tx_id, ops }).collect();
    Upload {
        subject: Arc::from(subject),
        received_us,
        body: UploadBody::Transactions(UploadRequest { client_id: client.to_owned(), transactions }),
    }
}

pub(crate) async fn apply(store: &dyn Store, engine: &Engine, upload: &Upload) -> Result<UploadAnswer, StoreError> {
    store.apply(engine, upload).await
}
