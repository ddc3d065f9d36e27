//! Makes the slot, and reads the rows that it begins with.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catalog::{Catalog, NAMESPACE};
use super::connection::Connection;
use super::session::{PostgresError, Session, identifier, lsn_of, text};
use super::table_reader::Tables;
use crate::durable::SourceSnapshot;
use crate::sync_config::ValueFormat;

/// How often the wait for a slot shows that it is alive.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How many rows are fetched at a time.
const FETCH_ROWS: usize = 2000;

/// Makes the slot, and reads the published rows as they are at its first position. `alive` is called often.
pub(super) async fn read_snapshot(
    mut session: Session,
    connection: &Connection,
    value_format: ValueFormat,
    source: String,
    alive: &(dyn Fn() + Sync),
) -> Result<SourceSnapshot, PostgresError> {
    let slot = identifier(&connection.slot);
    session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    // This waits for the transactions that are open now, however long they take.
    let create = format!("CREATE_REPLICATION_SLOT {slot} LOGICAL pgoutput USE_SNAPSHOT");
    let created = tokio::select! {
        biased;
        created = session.query(&create) => created?,
        () = log_waiting(alive) => unreachable!("it never ends"),
    };
    let lsn = created.first().and_then(|row| text(row, 1)).and_then(lsn_of);
    let lsn = lsn.ok_or(PostgresError::Unexpected("CREATE_REPLICATION_SLOT"))?;
    // Rows that this role may not see would look deleted: reading them must fail.
    session.query("SET LOCAL row_security = off").await?;
    let catalog = Catalog::read(&mut session, &connection.publication).await?;
    let tables = Tables::new(catalog, value_format);
    let mut rows = Vec::new();
    for (index, table) in tables.catalog.tables.iter().enumerate() {
        let columns: Vec<String> = table.columns.iter().map(|column| identifier(&column.name)).collect();
        let filter = table.filter.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        let (name, columns) = (identifier(&table.name), columns.join(", "));
        session
            .query(&format!(
                "DECLARE snapshot_rows NO SCROLL CURSOR FOR SELECT {columns} FROM {NAMESPACE}.{name}{filter}"
            ))
            .await?;
        let mut of_table = BTreeMap::new();
        loop {
            let fetched = session.query(&format!("FETCH {FETCH_ROWS} FROM snapshot_rows")).await?;
            let last = fetched.len() < FETCH_ROWS;
            of_table.extend(fetched.into_iter().map(|row| tables.row(index, row)));
            alive();
            if last {
                break;
            }
        }
        session.query("CLOSE snapshot_rows").await?;
        rows.push(of_table);
    }
    session.query("COMMIT").await?;
    Ok(SourceSnapshot { layout: tables.layout, source, lsn, rows })
}

/// Logs regularly that the slot is not there yet.
async fn log_waiting(alive: &(dyn Fn() + Sync)) {
    loop {
        tokio::time::sleep(ALIVE_INTERVAL).await;
        alive();
        tracing::info!("the slot waits for transactions that were open before it, or for PostgreSQL");
    }
}
