//! A database made ready for a plan: the history's publication, an empty schema, the seed rows.

use std::future::Future;

use fixtures::App;
use sim_core::plan::EPOCH_US;
use tokio_postgres::Client;

use super::commit_log::{CommitLog, EMIT_MARK, LogSource, OWN_PUBLICATION};
use super::environment::{Environment, EnvironmentBase, PREPARATION_US, PlanData};
use super::sql::{error_text, identifier, insert};
use crate::plan_rows::SeedRow;
use crate::token::TokenIssuer;

/// Makes the history's publication, once in a database of our own.
pub(crate) async fn create_publication(client: &Client, app: &App) -> Result<(), String> {
    let tables: Vec<String> = app.schema.tables.iter().map(|table| identifier(&table.name)).collect();
    let sql = format!("CREATE PUBLICATION {OWN_PUBLICATION} FOR TABLE {}", tables.join(", "));
    client.batch_execute(&sql).await.map_err(|error| error_text(&error))
}

/// Empties a database of our own, and writes the seed rows. `forget` removes what the servers of the plan before have
/// kept elsewhere.
pub(crate) async fn reset_database(
    environment: &dyn Environment,
    plan: &PlanData,
    forget: impl Future<Output = Result<(), String>> + Send,
) -> Result<(CommitLog, TokenIssuer), String> {
    let EnvironmentBase { app, rules, clock, keys, .. } = environment.base();
    clock.show(PREPARATION_US);
    environment.write_sync_config("")?;
    let issuer = keys.reset(PREPARATION_US)?;
    forget.await?;
    let client = environment.connect().await?;
    let tables: Vec<String> = app.schema.tables.iter().map(|table| identifier(&table.name)).collect();
    client
        .batch_execute(&format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL;
             SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid();
             SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
             DROP SCHEMA IF EXISTS sync_backend CASCADE;
             TRUNCATE {}",
            tables.join(", ")
        ))
        .await
        .map_err(|error| error_text(&error))?;
    let source = LogSource::own_database(plan.has_copies);
    let log = CommitLog::open(app.clone(), rules.clone(), client, source).await?;
    write_seed_rows(&log, app, &plan.seed_rows).await?;
    Ok((log, issuer))
}

/// Writes the seed rows in one transaction.
pub(crate) async fn write_seed_rows(log: &CommitLog, app: &App, rows: &[SeedRow]) -> Result<(), String> {
    let mut sql = format!("BEGIN;{EMIT_MARK};");
    for (table, id, values) in rows {
        sql.push_str(&insert(&app.schema.tables[*table], id, values, EPOCH_US));
        sql.push(';');
    }
    sql.push_str("COMMIT");
    log.execute(&sql).await?;
    log.read_new(EPOCH_US).await
}
