//! The replication slot.

use super::session::{ANSWER_LIMIT, PostgresError, Session, literal, lsn_of, text};

/// The slot as the server has it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) plugin: String,
    pub(super) database: String,
    /// Whether the server no longer has the log that the slot needs.
    pub(super) lost: bool,
    /// The position up to which everything was confirmed.
    pub(super) confirmed_lsn: u64,
}

impl Slot {
    /// The slot of this name, if there is one.
    pub(super) async fn find(session: &mut Session, name: &str) -> Result<Option<Self>, PostgresError> {
        let sql = format!(
            "SELECT plugin, database, coalesce(wal_status, '') = 'lost', coalesce(confirmed_flush_lsn, '0/0') \
             FROM pg_replication_slots WHERE slot_name = {}",
            literal(name)
        );
        let answer = session.ask(&sql, ANSWER_LIMIT).await?;
        let Some(row) = answer.first() else {
            return Ok(None);
        };
        let slot = Self {
            plugin: text(row, 0).unwrap_or_default().to_owned(),
            database: text(row, 1).unwrap_or_default().to_owned(),
            lost: text(row, 2) == Some("t"),
            confirmed_lsn: text(row, 3).and_then(lsn_of).ok_or(PostgresError::Unexpected("a slot"))?,
        };
        Ok(Some(slot))
    }
}
