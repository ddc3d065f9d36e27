//! Follows a server for ever: through restarts, cut connections and lost slots.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgwire_replication::Lsn;

use super::catalog::Catalog;
use super::connection::Connection;
use super::error::ReplicationError;
use super::head::HeadReader;
use super::requirements::check_server;
use super::session::{ANSWER_LIMIT, PostgresError, Session, identifier};
use super::slot::Slot;
use super::snapshot::read_snapshot;
use super::table_reader::Tables;
use super::wal_stream::WalStream;
use crate::clock::Clock;
use crate::durable::{StoreHandle, StoreStatus};
use crate::replication::apply::apply;
use crate::replication::progress::Progress;
use crate::sync_config::ValueFormat;

/// The pause between two attempts doubles from the first to the second of these.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Follows a server.
#[derive(Clone)]
pub struct Follower {
    /// The server.
    pub connection: Connection,
    /// Reads its position.
    pub heads: HeadReader,
    /// The sync configuration's text.
    pub sync_config: Arc<str>,
    /// How it wants values to be read.
    pub value_format: ValueFormat,
    /// Where changes go.
    pub store: StoreHandle,
    /// What it shows to probes and metrics.
    pub progress: Arc<Progress>,
    /// For [`Progress::touched_us`].
    pub clock: Clock,
}

/// Follows the server into the store, for ever.
pub async fn follow(follower: Follower) {
    let mut attempt = 0;
    let mut pause = PAUSE.0;
    let mut reported = String::new();
    loop {
        attempt += 1;
        follower.show_alive();
        let sessions = follower.progress.sessions.load(Ordering::Relaxed);
        let result = follower.attempt(attempt).await;
        follower.progress.streaming.store(false, Ordering::Relaxed);
        match result {
            // A snapshot was applied; the log comes next.
            Ok(()) => pause = PAUSE.0,
            Err(ReplicationError::Tables(reason)) => {
                tracing::warn!(%reason, "the tables changed");
                if let Err(error) = follower.store.require_snapshot().await {
                    tracing::error!(%error, "cannot note that a new snapshot is needed");
                }
            }
            Err(error) => {
                let text = error.to_string();
                // The same error is reported once.
                if text == reported {
                    tracing::debug!(error = %text, "replication: trying again");
                } else {
                    tracing::warn!(error = %text, "replication stopped; trying again until it goes on");
                }
                reported = text;
            }
        }
        if follower.progress.sessions.load(Ordering::Relaxed) > sessions {
            pause = PAUSE.0;
            reported.clear();
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

impl Follower {
    fn show_alive(&self) {
        self.progress.touch(&self.clock);
    }

    /// One connection: a snapshot if one is needed, else the log until it ends.
    async fn attempt(&self, attempt: u64) -> Result<(), ReplicationError> {
        let status = self.store.status().await?;
        let start = status.lsn.unwrap_or(0);
        let mut session = self.connection.open(start).await?;
        let system = session.client.identify_system().await?;
        let source = format!("{}/{}", system.system_id, system.dbname.unwrap_or_default());
        check_server(&mut session, &self.connection).await?;
        let slot = Slot::find(&mut session, &self.connection.slot).await?;
        if let Some(slot) = &slot
            && (slot.plugin != "pgoutput" || source.split_once('/').is_none_or(|(_, name)| name != slot.database))
        {
            let name = &self.connection.slot;
            let problem =
                format!("slot {name} is of plugin {} in database {}: name another", slot.plugin, slot.database);
            return Err(ReplicationError::Setup(problem));
        }
        let catalog = Catalog::read(&mut session, &self.connection.publication).await?;
        let tables = Tables::new(catalog, self.value_format);
        tables.layout.sync_config(&self.sync_config)?;
        let server = Server { source: &source, slot: slot.as_ref(), lsn: system.xlogpos.as_u64() };
        let servable = self.store.current().get().is_some();
        let reason = snapshot_reason(&status, &server, &tables.layout.text, servable);
        if let Some(reason) = reason {
            if status.lsn.is_some() {
                tracing::warn!(
                    reason,
                    slot = self.connection.slot,
                    "TAKING A NEW SNAPSHOT: changes may have been missed; clients will get the difference"
                );
            } else {
                tracing::info!(slot = self.connection.slot, "taking the first snapshot");
            }
            return self.snapshot(session, source, slot.is_some()).await;
        }
        session.client.start().await?;
        if let Err(error) = session.client.wait_started().await {
            let error = PostgresError::from(error);
            if error.code() == Some("55000") {
                // The log was removed after the slot was read.
                self.store.require_snapshot().await?;
            }
            return Err(error.into());
        }
        tracing::info!(slot = self.connection.slot, from = %Lsn::from_u64(start), "replication is connected");
        self.progress.sessions.fetch_add(1, Ordering::Relaxed);
        self.progress.streaming.store(true, Ordering::Relaxed);
        let stream = WalStream::new(session, tables, self.heads.clone());
        match apply(stream, &self.store, attempt, &self.progress, &self.clock).await? {}
    }

    /// Replaces what the store holds by a new snapshot, with which the slot begins.
    async fn snapshot(&self, mut session: Session, source: String, slot_exists: bool) -> Result<(), ReplicationError> {
        self.store.require_snapshot().await?;
        if slot_exists {
            let drop = format!("DROP_REPLICATION_SLOT {}", identifier(&self.connection.slot));
            session.ask(&drop, ANSWER_LIMIT).await?;
        }
        let alive = || self.show_alive();
        let snapshot = read_snapshot(session, &self.connection, self.value_format, source, &alive).await?;
        let lsn = Lsn::from_u64(snapshot.lsn);
        let report = self.store.apply_snapshot(snapshot).await?;
        self.progress.snapshots.fetch_add(1, Ordering::Relaxed);
        tracing::info!(rows = report.rows, operations = report.ops, at = %lsn, "applied a snapshot");
        Ok(())
    }
}

/// The state of a server that decides about a snapshot.
struct Server<'a> {
    /// Names the cluster and the database.
    source: &'a str,
    slot: Option<&'a Slot>,
    /// Its position now.
    lsn: u64,
}

/// Why the store cannot go on from the log and needs a new snapshot, if it does.
fn snapshot_reason(status: &StoreStatus, server: &Server<'_>, layout: &str, servable: bool) -> Option<&'static str> {
    match (status.lsn, server.slot) {
        (None, _) => Some("there was none yet"),
        _ if status.source != server.source => Some("this is another cluster or database than before"),
        (_, None) => Some("the replication slot is gone"),
        (_, Some(slot)) if slot.lost => Some("the server no longer has the log that the slot needs"),
        (Some(lsn), Some(slot)) if slot.confirmed_lsn > lsn => {
            Some("the replication slot has moved past what is stored")
        }
        (Some(lsn), _) if server.lsn < lsn => Some("the server is behind what is stored: it was restored"),
        _ if status.snapshot_needed => Some("the last one was not finished, or what is stored does not fit"),
        _ if status.layout != layout => Some("the tables or the way they are read changed"),
        _ if !servable => Some("the stored buckets can no longer be used"),
        _ => None,
    }
}
