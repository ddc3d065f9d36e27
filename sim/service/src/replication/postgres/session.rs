//! Sessions with PostgreSQL: queries, their answers, and SQL text.

use std::time::Duration;

use bytes::Bytes;
use pgwire_replication::{PgWireError, ReplicationClient};

/// How long a query about the catalog may take.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Why PostgreSQL did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// An error of the connection or the server.
    #[error("{0}")]
    Wire(#[from] PgWireError),
    /// It did not answer in time.
    #[error("PostgreSQL did not answer within {0:?}")]
    Slow(Duration),
    /// It answered something else.
    #[error("an unexpected answer to: {0}")]
    Unexpected(&'static str),
}

/// A session with a server.
pub(super) struct Session {
    pub(super) client: ReplicationClient,
}

/// A row of an answer; `None` is NULL.
pub(super) type Answer = Vec<Option<Bytes>>;

impl Session {
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Answer>, PostgresError> {
        Ok(self.client.simple_query(sql).await?)
    }

    /// A query that must be answered within the limit.
    pub(super) async fn ask(&mut self, sql: &str, limit: Duration) -> Result<Vec<Answer>, PostgresError> {
        within(limit, self.client.simple_query(sql)).await
    }
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, PgWireError>>,
) -> Result<T, PostgresError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(PostgresError::Slow(limit)),
    }
}

impl PostgresError {
    /// The SQLSTATE code of the error, if it comes from the server.
    pub(super) fn code(&self) -> Option<&str> {
        let Self::Wire(PgWireError::Server(text)) = self else {
            return None;
        };
        text.rsplit_once("(SQLSTATE ").map(|(_, code)| code.trim_end_matches(')'))
    }
}

/// A position as PostgreSQL writes it, `16/B374D848`.
pub(super) fn lsn_of(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let part = |hex: &str| u32::from_str_radix(hex, 16).ok().map(u64::from);
    Some(part(high)? << 32 | part(low)?)
}

/// A value of an answer as text.
pub(super) fn text(answer: &Answer, column: usize) -> Option<&str> {
    answer.get(column)?.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// A text as an SQL literal.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A name as an SQL identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_codes() {
        assert_eq!(lsn_of("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!(lsn_of("0/0"), Some(0));
        assert_eq!(lsn_of("x"), None);
        let error = PostgresError::Wire(PgWireError::Server("no such slot (SQLSTATE 42704)".to_owned()));
        assert_eq!(error.code(), Some("42704"));
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
