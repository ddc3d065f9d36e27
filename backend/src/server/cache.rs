//! Redis, when there is one: which uploads were applied.
//!
//! A hit spares a repeated upload the locks of a transaction, for the ledger is asked alone; a wrong hit, a wrong
//! miss and a Redis that is away cost time and nothing else. While it is away it is asked once a second.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::store::BoxFuture;
use crate::store::postgres::UploadCache;

/// How long an upload waits for Redis.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);
/// How long Redis is left alone after a failure.
const REST: Duration = Duration::from_secs(1);

/// A connection that is made when it is needed, and made again when it broke.
pub(super) struct Redis {
    connection: ConnectionManager,
    keep_s: u64,
    resting_until: std::sync::Arc<Mutex<Option<Instant>>>,
}

impl Redis {
    pub(super) fn new(url: &str, keep: Duration) -> Result<Self, String> {
        let wrong = |error: redis::RedisError| format!("the URL of Redis: {error}");
        let client = redis::Client::open(url).map_err(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(wrong)?;
        Ok(Self { connection, keep_s: keep.as_secs().max(1), resting_until: std::sync::Arc::default() })
    }

    fn rests(&self) -> bool {
        let until = *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// What came in time; a failure lets Redis rest.
async fn in_time<T>(
    asked: impl Future<Output = redis::RedisResult<T>>,
    resting_until: &Mutex<Option<Instant>>,
) -> Option<T> {
    let failed = match tokio::time::timeout(2 * ANSWER_TIMEOUT, asked).await {
        Ok(Ok(answer)) => return Some(answer),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    tracing::debug!(%failed, "Redis is left alone for a while");
    *resting_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
    None
}

fn key(digest: &str) -> String {
    format!("sync_backend:upload:{digest}")
}

impl UploadCache for Redis {
    fn contains<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            if self.rests() {
                return false;
            }
            let mut connection = self.connection.clone();
            in_time(connection.exists::<_, bool>(key(digest)), &self.resting_until).await.unwrap_or(false)
        })
    }

    fn insert(&self, digest: String) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.rests() {
                return;
            }
            let (mut connection, keep_s, resting_until) =
                (self.connection.clone(), self.keep_s, self.resting_until.clone());
            // The device does not wait for it.
            tokio::spawn(async move {
                in_time(connection.set_ex::<_, _, ()>(key(&digest), 1, keep_s), &resting_until).await;
            });
        })
    }
}
