//! Changes from a source in memory, through the store, to the service: what is stored is what memory would hold.

use std::sync::Arc;

use fixtures::{Column, ColumnDefault, Row, Schema, Table, Type, Value};

use super::*;
use crate::auth::Keys;
use crate::changes::logged::{LoggedChange, LoggedTransaction};
use crate::changes::{ReplicaIdentity, RowChange, SourceTransaction};
use crate::durable::{Layout, SnapshotReport, SourceSnapshot, SyncMode, WriterSettings, start};
use crate::replication::memory::{MemorySource, MemorySourceEnded};
use crate::service::{Config, Service};
use crate::storage::Storage;
use crate::sync_config::SyncConfig;

const RULES: &str = "bucket_definitions:
  all: {data: SELECT * FROM boxes}
  owned:
    parameters: SELECT owner FROM boxes WHERE id = request.user_id()
    data: SELECT * FROM boxes WHERE owner = bucket.owner
";

fn layout() -> Layout {
    let column = Column { name: "owner".into(), ty: Type::Text, not_null: false, default: ColumnDefault::Null };
    let table = Table { name: "boxes".into(), columns: vec![column], unique: Vec::new() };
    let schema = Arc::new(Schema { tables: vec![table] });
    Layout { schema, identities: vec![ReplicaIdentity::Full], bytea: Vec::new(), text: "layout".into() }
}

fn config(schema: Arc<Schema>, rules: Arc<SyncConfig>, identities: Vec<ReplicaIdentity>) -> Config {
    let config = Config::new(schema, rules, Keys::default(), Vec::new(), Arc::new(|| 0), Arc::new(|| 0));
    Config { replica_identity: identities, ..config }
}

fn settings(rules: &str) -> WriterSettings {
    WriterSettings {
        sync_config: rules.to_owned(),
        configure: Box::new(config),
        read_layout: Box::new(|text| (text == "layout").then(layout)),
    }
}

fn row(owner: &str) -> Row {
    [Value::text(owner)].into_iter().collect()
}

fn snapshot(lsn: u64, rows: &[(&str, &str)]) -> SourceSnapshot {
    let rows = rows.iter().map(|(id, owner)| (Arc::from(*id), row(owner))).collect();
    SourceSnapshot { layout: layout(), source: "source".into(), lsn, rows: vec![rows] }
}

fn change(id: &str, before: Option<&str>, after: Option<&str>) -> RowChange {
    RowChange { table: 0, id: id.into(), before: before.map(row), after: after.map(row) }
}

fn transactions() -> Vec<SourceTransaction> {
    let all = [
        vec![change("a", None, Some("red")), change("b", None, Some("blue"))],
        vec![change("a", Some("red"), Some("blue")), change("c", None, Some("red"))],
        vec![change("b", Some("blue"), None)],
    ];
    let numbered = all.into_iter().enumerate();
    numbered.map(|(index, changes)| SourceTransaction { lsn: 10 * (index as u64 + 1), changes }).collect()
}

/// Buckets, parameter index and position, as far as clients can tell.
fn contents(service: &Service) -> String {
    let state = service.storage().lock();
    let active = state.active.as_ref().expect("a generation is active");
    let mut ops = String::new();
    for (name, bucket) in &active.buckets {
        for op in bucket.range(0, u64::MAX) {
            ops.push_str(name);
            op.write(&mut ops);
            ops.push('\n');
        }
    }
    let rows: Vec<_> = state.rows.iter().flatten().map(|(id, known)| (id, &known.row, known.subkey)).collect();
    let lookups = active.lookups.values().map(|lookup| &lookup.entries).collect::<Vec<_>>();
    format!("{ops}{lookups:?}{rows:?}{} {}", state.last_op_id, state.replicated_lsn)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

async fn apply_all(handle: &StoreHandle, attempt: u64, transactions: Vec<SourceTransaction>) {
    let last = transactions.last().map_or(0, |transaction| transaction.lsn);
    let (sender, source) = MemorySource::new();
    transactions.into_iter().for_each(|one| sender.send(one).expect("the source is there"));
    let mut durable = handle.durable();
    let (progress, clock): (Progress, Clock) = (Progress::default(), Arc::new(|| 0));
    let until = async move {
        durable.wait_for(|durable| durable.lsn >= last).await.expect("the writer runs");
        drop(sender);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        ended = apply(source, handle, attempt, &progress, &clock) => {
            assert!(matches!(ended, Err(ApplyError::Source(MemorySourceEnded))), "{ended:?}");
        }
        () = until => {}
    }
}

#[test]
fn what_is_stored_is_what_memory_would_hold() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store");
        let rules = Arc::new(layout().sync_config(RULES).expect("good rules"));
        let memory = Service::new(config(layout().schema, rules, layout().identities), Storage::new());
        transactions().iter().for_each(|one| memory.replicate(one));

        let (handle, thread) = start(&path, SyncMode::Process, settings(RULES)).expect("a new store");
        assert!(handle.current().get().is_none());
        handle.apply_snapshot(snapshot(1, &[])).await.expect("an empty snapshot");
        apply_all(&handle, 1, transactions()).await;
        assert_eq!(handle.write_checkpoint("u/c", None, 5).await.expect("stored"), 1);
        assert_eq!(handle.write_checkpoint("u/c", Some(9), 5).await.expect("stored"), 9);
        let stored = contents(&handle.current().get().expect("there was a snapshot"));
        assert_eq!(stored, contents(&memory));
        // What was delivered before is not taken twice.
        apply_all(&handle, 2, transactions()).await;
        assert_eq!(contents(&handle.current().get().expect("it is still there")), stored);
        handle.close().await.expect("it was open");
        thread.join().expect("the writer does not panic");

        let (handle, thread) = start(&path, SyncMode::Process, settings(RULES)).expect("its own store");
        let service = handle.current().get().expect("it needs no snapshot");
        assert_eq!(contents(&service), stored);
        assert_eq!(handle.write_checkpoint("u/c", None, 5).await.expect("stored"), 10);
        // A new snapshot costs the difference and no more.
        let report = handle.apply_snapshot(snapshot(50, &[("a", "blue"), ("c", "blue")])).await.expect("a snapshot");
        assert_eq!(report, SnapshotReport { rows: 2, ops: 4 });
        assert_eq!(handle.status().await.expect("it runs").lsn, Some(50));
        handle.close().await.expect("it was open");
        thread.join().expect("the writer does not panic");
    });
}

#[test]
fn what_does_not_fit_is_not_taken() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let (handle, _thread) =
            start(&folder.path().join("store"), SyncMode::Process, settings(RULES)).expect("a new store");
        handle.apply_snapshot(snapshot(1, &[("a", "red")])).await.expect("a snapshot");
        let before = contents(&handle.current().get().expect("there was a snapshot"));
        let put = |key: &str, cell| LoggedChange::Put {
            table: 0,
            key: key.into(),
            old_key: None,
            old: None,
            cells: vec![cell],
        };
        // An unchanged value of a row that is not there: nothing more of this attempt is taken.
        let gap = LoggedTransaction { lsn: 5, changes: vec![put("x", None)] };
        let next = LoggedTransaction { lsn: 6, changes: vec![put("y", Some(Value::text("red")))] };
        handle.transaction(3, gap).await.expect("it runs");
        handle.transaction(3, next.clone()).await.expect("it runs");
        handle.position(3, 7).await.expect("it runs");
        let mut durable = handle.durable();
        durable.wait_for(|durable| durable.rejected_attempt == 3).await.expect("it runs");
        assert!(handle.status().await.expect("it runs").snapshot_needed);
        assert_eq!(contents(&handle.current().get().expect("it is still there")), before);
        // Another attempt is taken again.
        handle.apply_snapshot(snapshot(5, &[("a", "red"), ("x", "red")])).await.expect("a snapshot");
        handle.transaction(4, next).await.expect("it runs");
        durable.wait_for(|durable| durable.lsn == 6).await.expect("it runs");
        assert!(!handle.status().await.expect("it runs").snapshot_needed);
    });
}
