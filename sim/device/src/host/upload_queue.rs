//! The upload queue (`ps_crud`) and the write checkpoint that must arrive before the next full apply (`ps_buckets`).

use rusqlite::{Connection, OptionalExtension, params};

use super::sql::in_transaction;
use crate::error::DeviceError;

/// Means "the write checkpoint is not known yet".
const MAX_OP_ID: i64 = i64::MAX;

/// One transaction of the upload queue.
#[derive(Clone, Debug)]
pub struct QueuedTx {
    /// Its id.
    pub tx_id: i64,
    /// The greatest op id in it.
    pub last_op_id: i64,
    /// The wire form of its operations: a JSON array.
    pub ops_json: String,
    /// The op ids, ascending.
    pub op_ids: Vec<i64>,
}

/// A row of outcomes as the device stores it.
#[derive(Clone, Debug)]
pub struct StoredOutcome {
    /// The operation; `None`: the whole transaction.
    pub op_id: Option<i64>,
    /// The outcome.
    pub outcome: String,
    /// The rule or the reason.
    pub reason: Option<String>,
}

/// The oldest transaction: its id, and each operation's id and JSON.
#[expect(clippy::type_complexity, reason = "rows as they are read")]
pub(super) fn oldest(connection: &Connection) -> Result<Option<(i64, Vec<(i64, String)>)>, DeviceError> {
    let tx_id: Option<i64> = connection
        .prepare_cached("SELECT tx_id FROM ps_crud ORDER BY id LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(tx_id) = tx_id else { return Ok(None) };
    let entries = connection
        .prepare_cached("SELECT id, data FROM ps_crud WHERE tx_id = ?1 ORDER BY id")?
        .query_map([tx_id], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(Some((tx_id, entries)))
}

/// The last op id that was given.
pub(super) fn last_op_id(connection: &Connection) -> Result<i64, DeviceError> {
    Ok(connection
        .prepare_cached("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'ps_crud'), 0)")?
        .query_row([], |row| row.get(0))?)
}

/// What was queued after this op id: op id, transaction and JSON.
pub(super) fn entries_after(connection: &Connection, op_id: i64) -> Result<Vec<(i64, i64, String)>, DeviceError> {
    Ok(connection
        .prepare_cached("SELECT id, tx_id, data FROM ps_crud WHERE id > ?1 ORDER BY id")?
        .query_map([op_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?)
}

/// How many operations are queued.
pub(super) fn length(connection: &Connection) -> Result<u32, DeviceError> {
    Ok(connection.prepare_cached("SELECT count(*) FROM ps_crud")?.query_row([], |row| row.get(0))?)
}

/// Removes an answered transaction and stores its outcomes. The write checkpoint is unknown from then on.
pub(super) fn complete(connection: &Connection, tx: &QueuedTx, outcomes: &[StoredOutcome]) -> Result<(), DeviceError> {
    in_transaction(connection, || {
        connection.prepare_cached("DELETE FROM ps_crud WHERE id <= ?1")?.execute([tx.last_op_id])?;
        connection
            .prepare_cached("UPDATE ps_buckets SET target_op = ?1 WHERE name = '$local'")?
            .execute([MAX_OP_ID])?;
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO \"{}\"(id, tx_id, op_id, outcome, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
            fixtures::client_schema::OUTCOMES_TABLE
        ))?;
        for StoredOutcome { op_id, outcome, reason } in outcomes {
            let id = match op_id {
                Some(op_id) => format!("{}/{op_id}", tx.tx_id),
                None => tx.tx_id.to_string(),
            };
            insert.execute(params![id, tx.tx_id, op_id, outcome, reason])?;
        }
        Ok(())
    })
}

/// The queue's sequence number, if the queue is empty and the write checkpoint unknown.
pub(super) fn write_checkpoint_needed(connection: &Connection) -> Result<Option<i64>, DeviceError> {
    let is_needed: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM ps_buckets WHERE name = '$local' AND target_op = ?1)
             AND NOT EXISTS (SELECT 1 FROM ps_crud)",
        )?
        .query_row([MAX_OP_ID], |row| row.get(0))?;
    if !is_needed {
        return Ok(None);
    }
    Ok(connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'ps_crud'")?
        .query_row([], |row| row.get(0))
        .optional()?)
}

/// Sets the write checkpoint, unless something was queued since the queue had this sequence number.
pub(super) fn set_write_checkpoint(connection: &Connection, sequence: i64, number: u64) -> Result<bool, DeviceError> {
    let number = i64::try_from(number).unwrap_or(MAX_OP_ID);
    in_transaction(connection, || {
        let is_unchanged: bool = connection
            .prepare_cached(
                "SELECT NOT EXISTS (SELECT 1 FROM ps_crud)
                 AND EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'ps_crud' AND seq = ?1)",
            )?
            .query_row([sequence], |row| row.get(0))?;
        if is_unchanged {
            connection
                .prepare_cached("UPDATE ps_buckets SET target_op = ?1 WHERE name = '$local'")?
                .execute([number])?;
        }
        Ok(is_unchanged)
    })
}

/// Whether the core applies a partial checkpoint now: nothing is queued, and the write checkpoint has arrived.
pub(super) fn is_apply_allowed(connection: &Connection) -> Result<bool, DeviceError> {
    Ok(connection
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM ps_crud)
             AND NOT EXISTS (SELECT 1 FROM ps_buckets WHERE name = '$local' AND target_op > last_op)",
        )?
        .query_row([], |row| row.get(0))?)
}

/// The write checkpoint that must arrive, and how many operations are queued.
pub(super) fn target_and_length(connection: &Connection) -> Result<(Option<i64>, u32), DeviceError> {
    Ok(connection
        .prepare_cached(
            "SELECT (SELECT target_op FROM ps_buckets WHERE name = '$local'), (SELECT count(*) FROM ps_crud)",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}
