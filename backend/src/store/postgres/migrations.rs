//! Schema `sync_backend`: what the backend remembers, outside the application's tables and their publication.
//!
//! Each migration runs once, under a lock that all instances share. Running the migrations again, or on two instances at
//! a time, does no harm.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Error;

use crate::store::postgres::locks;

/// In order. A released migration is never edited.
const MIGRATIONS: [&str; 1] = [
    // Instants are microseconds since 1970-01-01 UTC, as in uploads. Tables are stored by name, so that an application
    // may reorder its schema.
    "CREATE TABLE sync_backend.clients (
         subject text NOT NULL,
         client text NOT NULL,
         epoch integer NOT NULL,
         forgotten_through bigint,
         PRIMARY KEY (subject, client)
     );
     COMMENT ON TABLE sync_backend.clients IS
         'One installation of the application: its epoch, and the last operation that retention removed.';
     CREATE TABLE sync_backend.ledger (
         subject text NOT NULL,
         client text NOT NULL,
         op_id bigint NOT NULL,
         epoch integer NOT NULL,
         tx_id bigint NOT NULL,
         digest bytea NOT NULL,
         received_us bigint NOT NULL,
         answer json NOT NULL,
         PRIMARY KEY (subject, client, op_id, epoch)
     );
     CREATE INDEX ledger_received ON sync_backend.ledger (received_us);
     COMMENT ON TABLE sync_backend.ledger IS
         'Every operation that was answered: what it was (a digest), and what the device was told.';
     CREATE TABLE sync_backend.stamps (
         tbl text NOT NULL,
         id text NOT NULL,
         meta json NOT NULL,
         PRIMARY KEY (tbl, id)
     );
     COMMENT ON TABLE sync_backend.stamps IS 'When and by whom each column of a live row was written.';
     CREATE TABLE sync_backend.tombstones (
         tbl text NOT NULL,
         id text NOT NULL,
         received_us bigint NOT NULL,
         tombstone json NOT NULL,
         PRIMARY KEY (tbl, id)
     );
     CREATE INDEX tombstones_received ON sync_backend.tombstones (received_us);
     COMMENT ON TABLE sync_backend.tombstones IS 'What is left of rows that were deleted through the backend.';
     CREATE TABLE sync_backend.aliases (
         tbl text NOT NULL,
         losing text NOT NULL,
         survivor text NOT NULL,
         received_us bigint NOT NULL,
         PRIMARY KEY (tbl, losing)
     );
     CREATE INDEX aliases_received ON sync_backend.aliases (received_us);
     COMMENT ON TABLE sync_backend.aliases IS 'Ids that stand for another row since two inserts merged.';
     CREATE TABLE sync_backend.conflicts (
         seq bigint PRIMARY KEY,
         at_us bigint NOT NULL,
         subject text NOT NULL,
         tbl text NOT NULL,
         id text NOT NULL,
         col text,
         rule text NOT NULL,
         loser json,
         winner json
     );
     CREATE INDEX conflicts_subject ON sync_backend.conflicts (subject, seq);
     COMMENT ON TABLE sync_backend.conflicts IS
         'Writes that were overridden, in commit order. An author that is NULL is the server.';
     CREATE TABLE sync_backend.counters (name text PRIMARY KEY, last bigint NOT NULL);
     INSERT INTO sync_backend.counters VALUES ('conflicts', 0);
     COMMENT ON TABLE sync_backend.counters IS
         'Numbers without gaps, given in commit order: the row stays locked until the commit.';",
];

/// Brings the schema up to date.
pub(super) async fn migrate(client: &mut ClientWrapper) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&locks::migrations()]).await?;
    transaction
        .batch_execute(
            "CREATE SCHEMA IF NOT EXISTS sync_backend;
             CREATE TABLE IF NOT EXISTS sync_backend.migrations (
                 version integer PRIMARY KEY,
                 applied_at timestamptz NOT NULL DEFAULT now()
             );",
        )
        .await?;
    let row = transaction.query_one("SELECT coalesce(max(version), 0) FROM sync_backend.migrations", &[]).await?;
    let applied: i32 = row.get(0);
    for (version, sql) in (1..).zip(MIGRATIONS) {
        if version > applied {
            transaction.batch_execute(sql).await?;
            transaction.execute("INSERT INTO sync_backend.migrations (version) VALUES ($1)", &[&version]).await?;
        }
    }
    transaction.commit().await
}
