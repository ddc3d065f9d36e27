//! What a server must have before replication can work.

use super::connection::Connection;
use super::error::ReplicationError;
use super::session::{ANSWER_LIMIT, PostgresError, Session, identifier, literal, text};

/// Checks that the server can be replicated from. Errors say how to mend it.
pub(super) async fn check_server(session: &mut Session, connection: &Connection) -> Result<(), ReplicationError> {
    let sql = format!(
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('wal_level'), \
         p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate \
         FROM (SELECT 1) AS one LEFT JOIN pg_publication p ON p.pubname = {}",
        literal(&connection.publication)
    );
    let answer = session.ask(&sql, ANSWER_LIMIT).await?;
    let row = answer.first().ok_or(PostgresError::Unexpected("the server's settings"))?;
    let version: u32 = text(row, 0).and_then(|text| text.parse().ok()).unwrap_or(0);
    let setup = |problem: String| Err(ReplicationError::Setup(problem));
    if version < 15 {
        return setup(format!("PostgreSQL {version} is too old: 15 or newer is needed"));
    }
    if text(row, 1) != Some("logical") {
        return setup("wal_level is not logical: set it in postgresql.conf and restart PostgreSQL".to_owned());
    }
    let name = &connection.publication;
    match text(row, 2) {
        None => {
            setup(format!("there is no publication {name}: CREATE PUBLICATION {} FOR ALL TABLES", identifier(name)))
        }
        Some("t") => Ok(()),
        Some(_) => setup(format!("publication {name} leaves out inserts, updates, deletes or truncates")),
    }
}
