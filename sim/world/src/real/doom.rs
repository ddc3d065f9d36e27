//! A kill of the backend in the middle of a transaction: after it has read and decided, before it commits.
//!
//! The backend knows nothing of it. The harness holds a lock that every upload needs at its end, sends the request,
//! waits until the database says that somebody waits for the lock, and kills the process; what it had begun is rolled
//! back with its connections before the lock goes.

use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode};
use tokio_postgres::Client;

use super::feed::said;
use super::link::Way;
use sim_network::{KilledBeforeCommit, NetError};

/// How often it is asked whether the request has come so far.
const ASK_EVERY: Duration = Duration::from_millis(2);

const LOCK: &str = "BEGIN; LOCK TABLE sync_backend.ledger IN SHARE MODE";
const WAITS: &str = "SELECT count(*)::int FROM pg_stat_activity \
     WHERE application_name = 'sync_backend' AND wait_event_type = 'Lock' AND wait_event = 'relation'";
const END_SESSIONS: &str =
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'sync_backend'";

/// Lets a request begin its transaction, and kills the backend. One that needs no lock, as a repeated one that changes
/// nothing, is answered.
pub(super) async fn meet(way: &Way, request: impl Future<Output = Response<Body>>) -> Response<Body> {
    // A database that is away is no place for it: the kill waits for another request.
    let Ok(client) = held(way).await else { return request.await };
    let mut request = std::pin::pin!(request);
    let waits = tokio::select! {
        biased;
        response = &mut request => return response,
        waits = wait(&client) => waits,
    };
    let struck = match waits {
        Ok(()) => strike(way, &client).await,
        Err(problem) => Err(problem),
    };
    if let Err(problem) = struck {
        tracing::warn!(problem, "no kill in the middle of a transaction");
        drop(client);
        return request.await;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.extensions_mut().insert(NetError::Reset);
    response.extensions_mut().insert(KilledBeforeCommit);
    response
}

/// A connection that holds the lock as long as it is there.
async fn held(way: &Way) -> Result<Client, String> {
    let client = way.ground.upgrade().ok_or("the site is gone")?.connect().await?;
    client.batch_execute(LOCK).await.map_err(|error| said(&error))?;
    Ok(client)
}

async fn wait(client: &Client) -> Result<(), String> {
    loop {
        let waiting: i32 = client.query_one(WAITS, &[]).await.map_err(|error| said(&error))?.get(0);
        if waiting > 0 {
            return Ok(());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn strike(way: &Way, client: &Client) -> Result<(), String> {
    let killer = way.backend.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let killer = killer.ok_or("another fault was faster")?;
    way.feed.is_unsure();
    killer().await?;
    // Should this fail, the database itself is going.
    client.batch_execute(END_SESSIONS).await.or_else(|error| if client.is_closed() { Ok(()) } else { Err(said(&error)) })
}
