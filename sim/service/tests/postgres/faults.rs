//! Kills, restarts, cuts, lost slots, changed tables. After each of them a client that reconnects ends with exactly the
//! rows of the table, and never gets a wrong checksum: the client checks every checkpoint and every operation id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::boxes::{BOXES, RULES, rows};
use crate::cluster::Cluster;
use crate::rig::{Device, Rig, lines};

/// A random transaction of a few changes.
fn transaction(rng: &mut TestRng) -> String {
    let mut sql = "BEGIN;".to_owned();
    for _ in 0..1 + rng.next_u32() % 4 {
        let (id, other, size) = (rng.next_u32() % 12, rng.next_u32() % 12, rng.next_u32() % 100);
        sql += &match rng.next_u32() % 8 {
            0..=3 => format!(
                "INSERT INTO boxes VALUES ('b{id}', 'v{size}', {size}) ON CONFLICT (id) DO UPDATE SET size = {size};"
            ),
            4 => format!("DELETE FROM boxes WHERE id = 'b{id}';"),
            5 => format!("UPDATE boxes SET size = size + 1 WHERE id >= 'b{id}';"),
            6 => format!(
                "UPDATE boxes SET id = 'b{other}' WHERE id = 'b{id}' AND NOT EXISTS (SELECT FROM boxes WHERE id = 'b{other}');"
            ),
            _ => format!("UPDATE boxes SET label = repeat('long {size} ', 500) WHERE id = 'b{id}';"),
        };
    }
    sql + "COMMIT;"
}

/// Writes in a thread of its own until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(cluster: &Cluster, seed: u8) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let (stopped, count, port) = (stop.clone(), written.clone(), cluster.port);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                // The server may be down: such writes are not counted.
                let sql: String = (0..5).map(|_| transaction(&mut rng)).collect();
                count.fetch_add(u32::from(Cluster::try_sql(port, &sql)), Ordering::SeqCst);
            }
        });
        Self { stop, written, thread: Some(thread) }
    }

    /// Waits until it has written this many more.
    async fn more(&self, rig: &Rig, count: u32) {
        let target = self.written.load(Ordering::SeqCst) + count;
        rig.wait_for("writes", async || self.written.load(Ordering::SeqCst) >= target).await;
    }

    fn finish(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("writing does not panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Reads up to this many lines.
async fn read(device: &mut Device, rig: &Rig, steps: u32) {
    for _ in 0..steps {
        device.step(rig).await;
    }
}

#[tokio::test]
async fn kills_at_any_moment() {
    for (seed, identity) in [(1u8, "DEFAULT"), (2, "FULL")] {
        let cluster = Cluster::start();
        cluster.sql(&format!("{BOXES}; ALTER TABLE boxes REPLICA IDENTITY {identity}"));
        let mut rig = Rig::idle(cluster, "SELECT 1", RULES).with_arguments(&["--store-sync", "process"]);
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed + 100; 32]);
        let mut writer = Writer::start(&rig.cluster, seed);
        let (mut steady, mut late) = (Device::default(), Device::default());
        rig.spawn();
        for round in 0..12 {
            // Some kills come before the end of the first snapshot, some in the middle of writes.
            let pause = rng.next_u32() % 600;
            let begun = std::time::Instant::now();
            while begun.elapsed().as_millis() < u128::from(pause) {
                read(&mut steady, &rig, 1).await;
            }
            if round % 3 == 2 {
                // Clients must not notice a compaction in between either.
                rig.signal(rig.child.as_ref().expect("it runs"), "USR1");
            }
            rig.kill();
            rig.spawn();
        }
        rig.ready().await;
        writer.more(&rig, 2).await;
        writer.finish();
        rig.converge(&mut steady, || rows(&rig)).await;
        rig.converge(&mut late, || rows(&rig)).await;
        assert!(steady.connections > 1, "it was cut off at least once");
        assert!(!rows(&rig).is_empty(), "something was written");
        // After the first snapshot, kills alone need no new one.
        let log = rig.log();
        let after = log.split_once("replication is connected").expect("it was").1;
        assert!(!after.contains("TAKING A NEW SNAPSHOT"), "{log}");
    }
}

#[tokio::test]
async fn postgres_restarts_and_crashes() {
    let mut rig = Rig::start(BOXES, RULES).await;
    let mut device = Device::default();
    rig.cluster.sql("INSERT INTO boxes VALUES ('a', 'x', 1)");
    rig.converge(&mut device, || rows(&rig)).await;
    for mode in ["fast", "immediate"] {
        rig.cluster.sql("UPDATE boxes SET size = size + 1");
        // With fsync off an operating system keeps what a crashed server wrote.
        rig.cluster.down(mode);
        read(&mut device, &rig, 3).await;
        rig.cluster.up();
        rig.cluster.sql(&format!("INSERT INTO boxes VALUES ('{mode}', 'x', 1)"));
        rig.converge(&mut device, || rows(&rig)).await;
    }
    assert_eq!(device.connections, 1, "the stream stays open through it");
    assert_eq!(rig.metric("snapshots_total").await, 1, "nothing was missed");
}

#[tokio::test]
async fn connection_cut() {
    let rig = Rig::start(BOXES, RULES).await;
    let mut device = Device::default();
    let mut writer = Writer::start(&rig.cluster, 3);
    for _ in 0..5 {
        writer.more(&rig, 2).await;
        let sessions = rig.metric("replication_sessions_total").await;
        rig.cluster.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
        rig.wait_for("new session", async || rig.metric("replication_sessions_total").await > sessions).await;
        read(&mut device, &rig, 5).await;
    }
    writer.finish();
    rig.converge(&mut device, || rows(&rig)).await;
    assert_eq!(device.connections, 1, "the stream stays open through it");
    assert_eq!(rig.metric("snapshots_total").await, 1, "nothing was missed");
}

#[tokio::test]
async fn slot_dropped() {
    let rig = Rig::start(BOXES, RULES).await;
    let mut device = Device::default();
    rig.cluster.sql("INSERT INTO boxes VALUES ('a', 'stays', 1), ('b', 'goes', 2), ('c', 'changes', 3)");
    rig.converge(&mut device, || rows(&rig)).await;
    let operations = rig.metric("last_op_id").await;
    // No log has what happens between the loss of the slot and the new one. It must be found by comparing.
    let drop = "DO $$ BEGIN
        PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;
        FOR attempt IN 1..1000 LOOP
            BEGIN
                PERFORM pg_drop_replication_slot('powersync_replication_slot');
                RETURN;
            EXCEPTION WHEN object_in_use THEN
                PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;
                PERFORM pg_sleep(0.005);
            END;
        END LOOP;
        RAISE EXCEPTION 'the slot is always in use';
    END $$;";
    rig.cluster.sql(&format!(
        "{drop} BEGIN; DELETE FROM boxes WHERE id = 'b'; UPDATE boxes SET size = 9 WHERE id = 'c'; \
         INSERT INTO boxes VALUES ('d', 'comes', 4); COMMIT;"
    ));
    rig.converge(&mut device, || rows(&rig)).await;
    rig.wait_for("snapshot", async || rig.metric("snapshots_total").await == 2).await;
    assert!(rig.log().contains("TAKING A NEW SNAPSHOT"), "it is said loudly");
    assert_eq!(rig.metric("last_op_id").await, operations + 3, "only the difference is sent");
    assert_eq!(device.connections, 1, "the stream stays open through it");
    rig.cluster.sql("UPDATE boxes SET size = 10");
    rig.converge(&mut device, || rows(&rig)).await;
}

/// A store that is older than the slot lacks changes that the slot no longer keeps.
#[tokio::test]
async fn an_older_store_is_restored() {
    let mut rig = Rig::start(BOXES, RULES).await;
    rig.cluster.sql("INSERT INTO boxes VALUES ('a', 'x', 1), ('b', 'x', 2)");
    let mut device = Device::default();
    rig.converge(&mut device, || rows(&rig)).await;
    assert!(rig.terminate(), "it stops well");
    let (store, copy) = (rig.folder.path().join("store.sqlite"), rig.folder.path().join("copy"));
    std::fs::copy(&store, &copy).expect("a closed store is one file");
    rig.up().await;
    rig.cluster.sql("DELETE FROM boxes WHERE id = 'a'");
    let passed = format!(
        "SELECT confirmed_flush_lsn >= '{}' FROM pg_replication_slots",
        rig.cluster.sql("SELECT pg_current_wal_lsn()")
    );
    rig.wait_for("acknowledgement", async || rig.cluster.sql(&passed) == "t").await;
    assert!(rig.terminate(), "it stops well");
    std::fs::rename(&copy, &store).expect("a file can be renamed");
    rig.up().await;
    let mut fresh = Device::default();
    rig.converge(&mut fresh, || rows(&rig)).await;
    assert!(rig.log().contains("the replication slot has moved past what is stored"), "{}", rig.log());
}

#[tokio::test]
async fn tables_change() {
    let rig = Rig::start(BOXES, RULES).await;
    let mut device = Device::default();
    rig.cluster.sql("INSERT INTO boxes VALUES ('a', 'x', 1), ('b', 'x', 2)");
    rig.converge(&mut device, || rows(&rig)).await;
    let all = |columns: &str| {
        let sql =
            format!("SELECT 'boxes/' || id || ' ' || row_to_json(b) FROM (SELECT {columns} FROM boxes) b ORDER BY id");
        lines(&rig.cluster.sql(&sql))
    };
    // The log does not say that existing rows get the new column's default.
    rig.cluster.sql("ALTER TABLE boxes ADD colour text DEFAULT 'red'; INSERT INTO boxes VALUES ('c', 'x', 3)");
    rig.converge(&mut device, || all("id, label, size, colour")).await;
    rig.cluster.sql("ALTER TABLE boxes DROP label; ALTER TABLE boxes RENAME size TO width; UPDATE boxes SET width = 7 WHERE id = 'c'");
    rig.converge(&mut device, || all("id, width, colour")).await;
    rig.cluster.sql("ALTER TABLE boxes REPLICA IDENTITY FULL; UPDATE boxes SET width = 8");
    rig.converge(&mut device, || all("id, width, colour")).await;
    rig.cluster.sql(
        "DROP TABLE boxes; CREATE TABLE boxes (id text PRIMARY KEY, n integer); INSERT INTO boxes VALUES ('z', 1)",
    );
    rig.converge(&mut device, || all("id, n")).await;
}

#[tokio::test]
async fn sync_config_changes() {
    let mut rig = Rig::start(BOXES, RULES).await;
    let mut device = Device::default();
    rig.cluster.sql("INSERT INTO boxes VALUES ('a', 'x', 1), ('b', 'x', 2)");
    rig.converge(&mut device, || rows(&rig)).await;
    rig.kill();
    rig.configure("bucket_definitions: {some: {data: SELECT id FROM boxes WHERE size > 1}}");
    rig.up().await;
    rig.converge(&mut device, || vec![r#"boxes/b {"id":"b"}"#.to_owned()]).await;
    rig.kill();
    // Values are read in another format, so what is stored cannot be used.
    rig.configure("config: {edition: 2}\nbucket_definitions: {some: {data: SELECT id FROM boxes WHERE size > 0}}");
    rig.up().await;
    let both = || vec![r#"boxes/a {"id":"a"}"#.to_owned(), r#"boxes/b {"id":"b"}"#.to_owned()];
    rig.converge(&mut device, both).await;
    rig.kill();
    rig.up().await;
    rig.converge(&mut device, both).await;
}

/// Compaction replaces operations. Clients that sync already and new ones end with the same rows, before and after a
/// kill.
#[tokio::test]
async fn compaction() {
    let mut rig = Rig::start(BOXES, RULES).await;
    let mut device = Device::default();
    rig.cluster.sql("INSERT INTO boxes SELECT 'b' || n, 'x', n FROM generate_series(1, 50) n");
    rig.converge(&mut device, || rows(&rig)).await;
    for _ in 0..5 {
        rig.cluster.sql("UPDATE boxes SET size = size + 1; DELETE FROM boxes WHERE id = 'b1'; INSERT INTO boxes VALUES ('b1', 'y', 1)");
    }
    rig.converge(&mut device, || rows(&rig)).await;
    let before = rig.metric("operations").await;
    rig.signal(rig.child.as_ref().expect("it runs"), "USR1");
    rig.wait_for("compaction", async || rig.metric("operations").await < before).await;
    rig.wait_for("word of it", async || rig.log().contains("compacted")).await;
    let after = rig.metric("operations").await;
    rig.cluster.sql("UPDATE boxes SET size = 0 WHERE id = 'b2'");
    rig.converge(&mut device, || rows(&rig)).await;
    rig.converge(&mut Device::default(), || rows(&rig)).await;
    rig.kill();
    rig.up().await;
    rig.converge(&mut device, || rows(&rig)).await;
    rig.converge(&mut Device::default(), || rows(&rig)).await;
    assert_eq!(rig.metric("operations").await, after + 1, "it was written down");
}

/// A store can be open in one process only.
#[tokio::test]
async fn a_store_has_one_owner() {
    let mut rig = Rig::start(BOXES, RULES).await;
    let first = rig.child.take().expect("it runs");
    rig.port = crate::cluster::free_port();
    rig.spawn();
    let mut second = rig.child.take().expect("it was started");
    assert!(!second.wait().expect("it ends").success());
    assert!(rig.log().contains("in use by another process"), "{}", rig.log());
    rig.child = Some(first);
}
