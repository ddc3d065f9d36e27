//! What logical replication needs in the database: a publication that covers the tables, and a slot that is read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::Lines;
use sim_stack::existing_stack::ExistingStack;
use sim_stack::existing_stack::database::published;

/// What slots of the sync service are called, or begin with.
const SLOT_BEGINS: &str = "powersync";
/// How long a service may be away from its slot.
const COMES_BACK: Duration = Duration::from_secs(4);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The publication: of every kind of change, of every table that is there.
pub(super) async fn publication(
    target: &ExistingStack,
    client: &Client,
    found: &BTreeSet<String>,
    lines: &mut Lines,
) -> Result<(), tokio_postgres::Error> {
    let name = &target.publication;
    let quoted: Vec<String> = target.app.schema.tables.iter().map(|table| format!("\"{}\"", table.name)).collect();
    let row = client
        .query_opt(
            "SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = $1",
            &[name],
        )
        .await?;
    let Some(row) = row else {
        lines.failed(
            "publication",
            format!("no publication is called {name}: nothing reaches the sync service"),
            format!("execute CREATE PUBLICATION \"{name}\" FOR TABLE {};", quoted.join(", ")),
        );
        lines.skipped("publication covers the tables", "there is no publication");
        return Ok(());
    };
    let kinds = ["insert", "update", "delete", "truncate"];
    let left_out: Vec<&str> = (0..4).filter(|index| !row.get::<_, bool>(*index)).map(|index| kinds[index]).collect();
    if left_out.is_empty() {
        lines.ok("publication", format!("{name}, of every kind of change"));
    } else {
        lines.failed(
            "publication",
            format!("{name} leaves out {}: devices never learn of those changes", left_out.join(", ")),
            format!("execute ALTER PUBLICATION \"{name}\" SET (publish = 'insert, update, delete, truncate');"),
        );
    }
    let covered = published(client, name).await?;
    // What is not there at all is another line's.
    let missing: Vec<&str> = found.iter().filter(|table| !covered.contains(*table)).map(String::as_str).collect();
    if missing.is_empty() {
        lines.ok("publication covers the tables", format!("{} of them", found.len()));
    } else {
        let quoted: Vec<String> = missing.iter().map(|table| format!("\"{table}\"")).collect();
        lines.failed(
            "publication covers the tables",
            format!("{name} lacks {}: their changes never reach a device", missing.join(", ")),
            format!("execute ALTER PUBLICATION \"{name}\" ADD TABLE {};", quoted.join(", ")),
        );
    }
    Ok(())
}

/// The slot, and whether somebody reads it.
pub(super) async fn slot(
    target: &ExistingStack,
    client: &Client,
    lines: &mut Lines,
) -> Result<(), tokio_postgres::Error> {
    let asked = "SELECT slot_name::text, active, coalesce(wal_status, ''),
             coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint
         FROM pg_replication_slots
         WHERE slot_type = 'logical' AND database = current_database()
             AND ($1::text IS NULL AND starts_with(slot_name, $2) OR slot_name = $1)
         ORDER BY active DESC, slot_name";
    // A service that has just begun, or lost its connection a moment ago, comes back by itself.
    let deadline = Instant::now() + target.patience().min(COMES_BACK);
    let rows = loop {
        let rows = client.query(asked, &[&target.slot, &SLOT_BEGINS]).await?;
        let is_read = rows.first().is_none_or(|row| row.get(1));
        if is_read || Instant::now() > deadline {
            break rows;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let Some(row) = rows.first() else {
        let name = target.slot.clone().unwrap_or_else(|| format!("{SLOT_BEGINS}…"));
        lines.failed(
            "replication slot",
            format!("there is no logical replication slot {name}: the sync service does not replicate from this database"),
            "start the sync service with this database as its source: it makes its slot. If it runs, its log says why it \
             could not (the role needs REPLICATION, max_replication_slots must leave room)",
        );
        lines.skipped("replication slot is active", "there is no slot");
        return Ok(());
    };
    let (name, active, status): (&str, bool, &str) = (row.get(0), row.get(1), row.get(2));
    if status == "lost" {
        lines.failed(
            "replication slot",
            format!("slot {name} is lost: the log that it needs was removed"),
            "drop it and restart the sync service, which replicates anew; raise max_slot_wal_keep_size",
        );
    } else {
        let further = if rows.len() > 1 { format!(", and {} more", rows.len() - 1) } else { String::new() };
        lines.ok("replication slot", format!("{name}{further}"));
    }
    if active {
        lines.ok("replication slot is active", format!("{} bytes behind", row.get::<_, i64>(3)));
    } else {
        lines.failed(
            "replication slot is active",
            format!("nobody reads slot {name}: replication stands still, and PostgreSQL keeps its log for it"),
            "start the sync service, or see in its log why it cannot connect; drop the slot if it is to serve nobody",
        );
    }
    Ok(())
}
