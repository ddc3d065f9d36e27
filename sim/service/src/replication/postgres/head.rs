//! The server's position now, for write checkpoints.
//!
//! The position is read first, then a message is committed to the log, so that replication passes the position even
//! when nothing else is written. Requests that wait at the same time share both.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::session::{PostgresError, Session, lsn_of, text};

/// How long the server may take to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// One round trip and one implicit transaction. Its commit flushes everything before it.
const QUERY: &str = "SELECT pg_current_wal_insert_lsn(); SELECT pg_logical_emit_message(true, 'powersync', 'ping')";

/// Reads the server's position.
#[derive(Clone, Debug)]
pub struct HeadReader(mpsc::Sender<oneshot::Sender<Result<u64, String>>>);

impl HeadReader {
    /// Starts to answer, over a connection of its own. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(connection: Connection) -> Self {
        let (requests, waiting) = mpsc::channel(1024);
        tokio::spawn(answer(connection, waiting));
        Self(requests)
    }

    /// A position at or above everything that the server committed before the call.
    ///
    /// # Errors
    /// When the server cannot be asked, in words.
    pub async fn get(&self) -> Result<u64, String> {
        let (reply, answer) = oneshot::channel();
        let ended = |_| "the service is being stopped".to_owned();
        self.0.send(reply).await.map_err(|_| ended(()))?;
        answer.await.map_err(|_| ended(()))?
    }
}

async fn answer(connection: Connection, mut waiting: mpsc::Receiver<oneshot::Sender<Result<u64, String>>>) {
    let mut session: Option<Session> = None;
    while let Some(first) = waiting.recv().await {
        let mut together = vec![first];
        while let Ok(next) = waiting.try_recv() {
            together.push(next);
        }
        // A session that was lost since its last use is noticed now, and replaced once.
        let fresh = session.is_none();
        let mut result = ask(&connection, &mut session).await;
        if result.is_err() && !fresh {
            result = ask(&connection, &mut session).await;
        }
        let result = result.map_err(|error| error.to_string());
        for reply in together {
            // The reply may have no receiver any more.
            drop(reply.send(result.clone()));
        }
    }
}

async fn ask(connection: &Connection, session: &mut Option<Session>) -> Result<u64, PostgresError> {
    let mut open = match session.take() {
        Some(open) => open,
        None => connection.open(0).await?,
    };
    let answer = open.ask(QUERY, LIMIT).await?;
    let lsn = answer.first().and_then(|row| text(row, 0)).and_then(lsn_of);
    let lsn = lsn.ok_or(PostgresError::Unexpected("the position"))?;
    *session = Some(open);
    Ok(lsn)
}
