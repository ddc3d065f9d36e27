//! Redis as a cache of which uploads were applied.
//!
//! On a hit, a repeated upload is answered from the ledger without locks. A wrong hit, a wrong miss or a Redis that is
//! down costs time and nothing else. While it is down it is asked once a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::upload::{BoxFuture, UploadCache};

/// How long an upload waits for Redis.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);
/// How long Redis is not asked after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection that is made when it is needed, and made again after a failure.
pub(super) struct RedisCache {
    connection: ConnectionManager,
    keep_s: u64,
    paused_until: Arc<Mutex<Option<Instant>>>,
}

impl RedisCache {
    pub(super) fn new(url: &str, keep: Duration) -> Result<Self, String> {
        let wrong = |error: redis::RedisError| format!("the URL of Redis: {error}");
        let client = redis::Client::open(url).map_err(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(wrong)?;
        Ok(Self { connection, keep_s: keep.as_secs().max(1), paused_until: Arc::default() })
    }

    fn is_paused(&self) -> bool {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// The answer, if it comes in time; a failure pauses the cache.
async fn answer_in_time<T>(
    asked: impl Future<Output = redis::RedisResult<T>>,
    paused_until: &Mutex<Option<Instant>>,
) -> Option<T> {
    let error = match tokio::time::timeout(2 * ANSWER_TIMEOUT, asked).await {
        Ok(Ok(answer)) => return Some(answer),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    tracing::debug!(%error, "Redis is not asked for a while");
    *paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
    None
}

fn key(digest: &str) -> String {
    format!("sync_backend:upload:{digest}")
}

impl UploadCache for RedisCache {
    fn contains<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            if self.is_paused() {
                return false;
            }
            let mut connection = self.connection.clone();
            answer_in_time(connection.exists::<_, bool>(key(digest)), &self.paused_until).await.unwrap_or(false)
        })
    }

    fn insert(&self, digest: String) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.is_paused() {
                return;
            }
            let (mut connection, keep_s, paused_until) =
                (self.connection.clone(), self.keep_s, self.paused_until.clone());
            // The device does not wait for it.
            tokio::spawn(async move {
                answer_in_time(connection.set_ex::<_, _, ()>(key(&digest), 1, keep_s), &paused_until).await;
            });
        })
    }
}
