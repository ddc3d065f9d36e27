//! A kill of the backend in the middle of a transaction: after it has read and decided, before it commits.
//!
//! The backend knows nothing of it. The harness holds a lock that every upload needs at its end, sends the request,
//! waits until the database says that somebody waits for the lock, and kills the process. Its transaction is rolled
//! back with its sessions before the lock is released.

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode};
use sim_network::{KilledBeforeCommit, NetError};
use tokio_postgres::Client;

use super::context::RunContext;
use super::sql::error_text;

/// How often the database is asked whether somebody waits.
const POLL: Duration = Duration::from_millis(2);

const LOCK: &str = "BEGIN; LOCK TABLE sync_backend.ledger IN SHARE MODE";
const COUNT_WAITING: &str = "SELECT count(*)::int FROM pg_stat_activity \
     WHERE application_name = 'sync_backend' AND wait_event_type = 'Lock' AND wait_event = 'relation'";
const END_SESSIONS: &str =
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'sync_backend'";

/// Lets a request begin its transaction, and kills the backend. A request that needs no lock, such as a repeated one
/// that changes nothing, is answered.
pub(super) async fn kill_before_commit(
    context: &RunContext,
    request: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    // Without the database there is nothing to hold: the kill waits for another request.
    let Ok(client) = lock(context).await else { return request.await };
    let mut request = std::pin::pin!(request);
    let waiting = tokio::select! {
        biased;
        response = &mut request => return response,
        waiting = wait_until_somebody_waits(&client) => waiting,
    };
    let killed = match waiting {
        Ok(()) => kill(context, &client).await,
        Err(problem) => Err(problem),
    };
    if let Err(problem) = killed {
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

/// A session that holds the lock until it is dropped.
async fn lock(context: &RunContext) -> Result<Client, String> {
    let client = context.environment()?.connect().await?;
    client.batch_execute(LOCK).await.map_err(|error| error_text(&error))?;
    Ok(client)
}

async fn wait_until_somebody_waits(client: &Client) -> Result<(), String> {
    loop {
        let waiting: i32 = client.query_one(COUNT_WAITING, &[]).await.map_err(|error| error_text(&error))?.get(0);
        if waiting > 0 {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn kill(context: &RunContext, client: &Client) -> Result<(), String> {
    let kill = context.backend_killer().ok_or("another fault was faster")?;
    context.log.note_unanswered();
    kill().await?;
    match client.batch_execute(END_SESSIONS).await {
        Ok(()) => Ok(()),
        // The database itself is going.
        Err(_) if client.is_closed() => Ok(()),
        Err(error) => Err(error_text(&error)),
    }
}
