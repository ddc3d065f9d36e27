//! Several instances, killed databases, lost connections: nothing is lost, and nothing happens twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::store::postgres::{PostgresConfig, PostgresStore};
use backend::wire::{Outcome, TransactionOutcome, UploadAnswer, WireOp};
use backend::{Engine, PolicyKind, Store, StoreError, Upload};
use fixtures::Value;
use serde_json::{Value as Json, json};
use sim_stack::postgres::Settings;

use crate::embedded_backend::rig::{Rig, START_US, TestClock, apply, engine, op, upload};

/// How long a condition is waited for before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

fn outcomes(answer: &UploadAnswer) -> Vec<Outcome> {
    answer.transactions.iter().flat_map(|transaction| transaction.ops.iter().map(|op| op.outcome)).collect()
}

fn put_box(op_id: i64, id: &str, data: Json) -> WireOp {
    op(op_id, "PUT", "boxes", id, data, Json::Null)
}

/// Adds one to a counter that the device believes to stand at zero.
fn add_one(client: &str, op_id: i64, id: &str) -> Upload {
    let ops = vec![op(op_id, "PATCH", "boxes", id, json!({"weight": 1}), json!({"weight": 0}))];
    upload("someone", client, START_US + op_id, vec![(op_id, ops)])
}

async fn weight(store: &PostgresStore, id: &str) -> Value {
    let snapshot = store.snapshot().await.expect("the database answers");
    let (_, row) = snapshot[0].iter().find(|(found, _)| **found == *id).expect("the box is there");
    row[1].clone()
}

/// Sends an upload again until it is answered, as a device does.
async fn persist(store: &dyn Store, engine: &Engine, sent: &Upload) -> UploadAnswer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match apply(store, engine, sent).await {
            Ok(answer) if answer.transactions.iter().all(|t| t.outcome != TransactionOutcome::NotAttempted) => {
                return answer;
            }
            Ok(_) | Err(StoreError::Unavailable(_) | StoreError::Contended(_)) => {}
            Err(other) => panic!("no device could pass this: {other}"),
        }
        assert!(Instant::now() < deadline, "the upload was never answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two instances, eight clients, one counter, a set, and rows locked in opposite orders: every addition counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_lose_no_update() {
    const CLIENTS: i64 = 8;
    const ROUNDS: i64 = 12;
    let rig = Rig::new().await;
    let stores = [rig.store(), rig.store()];
    let engine = engine(&rig.rules, PolicyKind::FieldMerge, &TestClock::new());
    let seed = vec![put_box(1, "b1", json!({"label": "x"})), put_box(2, "b2", json!({"label": "x"}))];
    apply(&stores[0], &engine, &upload("someone", "seed", START_US, vec![(1, seed)])).await.expect("answered");
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let (store, engine) = (stores[usize::try_from(client % 2).expect("0 or 1")].clone(), engine.clone());
        tasks.push(tokio::spawn(async move {
            for round in 1..=ROUNDS {
                let name = format!("c{client}");
                let tag = format!("{client}-{round}");
                let add = |op_id: i64, id: &str| {
                    let data = json!({"weight": 1, "tags": json!([tag]).to_string()});
                    op(op_id, "PATCH", "boxes", id, data, json!({"weight": 0, "tags": "[]"}))
                };
                let first = (round + client) % 2 + 1;
                let ops = vec![add(2 * round, &format!("b{first}")), add(2 * round + 1, &format!("b{}", 3 - first))];
                let sent = upload("someone", &name, START_US + round, vec![(round, ops)]);
                let answer = persist(&store, &engine, &sent).await;
                assert_eq!(answer.transactions[0].outcome, TransactionOutcome::Committed);
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    let snapshot = stores[0].snapshot().await.expect("the database answers");
    for (id, row) in &snapshot[0] {
        assert_eq!(row[1], Value::Int(CLIENTS * ROUNDS), "{id} counts every addition");
        let tags: Vec<String> = serde_json::from_str(row[2].as_text().expect("a set")).expect("a set");
        assert_eq!(tags.len(), usize::try_from(CLIENTS * ROUNDS).expect("small"), "{id} has every tag");
    }
}

/// Inserts of one unique key, starts of one exclusive invariant, moves that would close a cycle, children that meet
/// the deletion of their parent: on two instances at once the rules hold as they do on one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_keep_the_rules() {
    let rig = Rig::new().await;
    let stores = [rig.store(), rig.store()];
    let engine = engine(&rig.rules, PolicyKind::FieldMerge, &TestClock::new());
    for round in 0..24i64 {
        let id = |name: &str| format!("{name}{round}");
        let seed = vec![
            put_box(10 * round + 1, &id("b"), json!({"label": "x"})),
            put_box(10 * round + 2, &id("d"), json!({"label": "x"})),
            op(10 * round + 3, "PUT", "shelves", &id("s"), json!({"name": "s"}), Json::Null),
        ];
        let seed = upload("someone", "seed", START_US + round, vec![(round, seed)]);
        apply(&stores[0], &engine, &seed).await.expect("answered");
        let sides = [0usize, 1].map(|side| {
            let (store, engine) = (stores[side].clone(), engine.clone());
            let (mine, other) = if side == 0 { (id("b"), id("d")) } else { (id("d"), id("b")) };
            let shelf_op = match side {
                0 => op(6, "DELETE", "shelves", &id("s"), Json::Null, Json::Null),
                _ => put_box(6, &id("on"), json!({"label": "on a shelf", "shelf": id("s")})),
            };
            let transactions = vec![
                vec![op(1, "PUT", "knobs", &format!("k{side}-{round}"), json!({"key": id("key")}), Json::Null)],
                vec![op(2, "PUT", "belts", &format!("r{side}-{round}"), json!({"running": 1}), Json::Null)],
                vec![op(3, "PATCH", "boxes", &mine, json!({"inside": other}), json!({"inside": null}))],
                vec![op(
                    4,
                    "PUT",
                    "stickers",
                    &format!("t{side}-{round}"),
                    json!({"box": mine, "words": "w"}),
                    Json::Null,
                )],
                vec![op(5, "DELETE", "boxes", &other, Json::Null, Json::Null)],
                vec![shelf_op],
            ];
            tokio::spawn(async move {
                for (tx_id, mut ops) in (1..).zip(transactions) {
                    for op in &mut ops {
                        op.op_id += 10 * round;
                    }
                    let sent =
                        upload("someone", &format!("c{side}"), START_US + round, vec![(10 * round + tx_id, ops)]);
                    persist(&store, &engine, &sent).await;
                }
            })
        });
        for side in sides {
            side.await.expect("no task panics");
        }
    }
    let client = rig.client().await;
    let broken = client
        .query_one(
            "SELECT (SELECT count(*) FROM (SELECT key FROM knobs GROUP BY key HAVING count(*) > 1) AS twice),
                 (SELECT greatest(count(*) - 1, 0) FROM belts WHERE running = 1),
                 (SELECT count(*) FROM stickers t WHERE NOT EXISTS (SELECT FROM boxes b WHERE b.id = t.box)),
                 (SELECT count(*) FROM boxes c WHERE inside IS NOT NULL
                     AND NOT EXISTS (SELECT FROM boxes b WHERE b.id = c.inside)),
                 (SELECT count(*) FROM boxes a JOIN boxes b ON a.inside = b.id AND b.inside = a.id),
                 (SELECT count(*) FROM boxes b WHERE shelf IS NOT NULL
                     AND NOT EXISTS (SELECT FROM shelves s WHERE s.id = b.shelf)),
                 (SELECT count(*) FROM sync_backend.aliases), (SELECT count(*) FROM knobs),
                 (SELECT count(*) = count(DISTINCT seq) AND max(seq) = count(*) FROM sync_backend.conflicts)",
            &[],
        )
        .await
        .expect("the tables are there");
    let counts: Vec<i64> = (0..6).map(|index| broken.get(index)).collect();
    assert_eq!(counts, [0; 6], "twice a key, belts too many, orphaned stickers, boxes in nothing, cycles, no shelf");
    assert_eq!((broken.get::<_, i64>(6), broken.get::<_, i64>(7)), (24, 24), "each key merged once");
    assert!(broken.get::<_, bool>(8), "conflict records are numbered without gaps");
}

/// A killed database, again and again, while clients upload: what was sent until it was answered happened once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_database_costs_nothing() {
    const CLIENTS: i64 = 4;
    const KILLS: usize = 4;
    let mut rig = Rig::with(Settings { is_durable: true, ..Settings::default() }).await;
    let config = PostgresConfig { connect_timeout: Duration::from_secs(2), ..rig.config() };
    let store = PostgresStore::new(rig.rules.clone(), config).expect("its own URL is sound");
    let engine = engine(&rig.rules, PolicyKind::FieldMerge, &TestClock::new());
    let seed = vec![put_box(1, "b1", json!({"label": "x", "big": 0}))];
    apply(&store, &engine, &upload("someone", "seed", START_US, vec![(1, seed)])).await.expect("answered");
    assert!(store.is_ready().await);
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let (store, engine, is_over) = (store.clone(), engine.clone(), is_over.clone());
        tasks.push(tokio::spawn(async move {
            let (mut sent, mut failures) = (0i64, 0u32);
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                sent += 1;
                let data = json!({"big": 1});
                let ops = vec![op(sent, "PATCH", "boxes", "b1", data, json!({"big": 0}))];
                let request = upload("someone", &format!("c{client}"), START_US + sent, vec![(sent, ops)]);
                if apply(&store, &engine, &request).await.is_err() {
                    failures += 1;
                    let answer = persist(&store, &engine, &request).await;
                    assert_eq!(answer.transactions[0].outcome, TransactionOutcome::Committed);
                }
            }
            (sent, failures)
        }));
    }
    for _ in 0..KILLS {
        // Something new is committed between two kills, or nothing is shown.
        let before = big(&rig).await;
        let deadline = Instant::now() + PATIENCE;
        while big(&rig).await < before + 20 {
            assert!(Instant::now() < deadline, "uploads stand still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rig.cluster.kill_hard().await.expect("it can be killed");
        assert!(!store.is_ready().await, "whoever asks is told");
        rig.cluster.restart().await.expect("it comes back");
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut sent, mut failures) = (0, 0);
    for task in tasks {
        let (task_sent, task_failures) = task.await.expect("no task panics");
        sent += task_sent;
        failures += task_failures;
    }
    assert!(failures >= 1, "no upload met a kill");
    assert_eq!(big(&rig).await, sent, "each of {sent} additions counts once; {failures} were sent again");
}

async fn big(rig: &Rig) -> i64 {
    let client = rig.client().await;
    client.query_one("SELECT big FROM boxes WHERE id = 'b1'", &[]).await.expect("the box is there").get(0)
}

/// Connections that the server ends in mid-transaction, and requests that are dropped in mid-transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connections_and_dropped_requests_leave_nothing_open() {
    let rig = Rig::new().await;
    let store = rig.store();
    let engine = engine(&rig.rules, PolicyKind::FieldMerge, &TestClock::new());
    let seed = vec![put_box(1, "b1", json!({"label": "x"}))];
    apply(&store, &engine, &upload("someone", "seed", START_US, vec![(1, seed)])).await.expect("answered");

    // Somebody holds the row; an upload waits for it, in a transaction.
    let mut holder = rig.client().await;
    let admin = rig.client().await;
    let waiting =
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'sync_backend' AND wait_event_type = 'Lock'";
    let wait_for_waiter = || async {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(row) = admin.query_opt(waiting, &[]).await.expect("a superuser may look") {
                return row.get::<_, i32>(0);
            }
            assert!(Instant::now() < deadline, "no upload waits for the row");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    for is_dropped in [false, true] {
        let held = holder.transaction().await.expect("it answers");
        held.execute("SELECT FROM boxes WHERE id = 'b1' FOR UPDATE", &[]).await.expect("the row is free");
        let (for_task, task_engine) = (store.clone(), engine.clone());
        let sent = add_one("a", if is_dropped { 3 } else { 2 }, "b1");
        let request = sent.clone();
        let task = tokio::spawn(async move { apply(&for_task, &task_engine, &request).await });
        let pid = wait_for_waiter().await;
        if is_dropped {
            task.abort();
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
        } else {
            admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.expect("a superuser may");
            assert!(matches!(task.await.expect("no panic"), Err(StoreError::Unavailable(_))));
        }
        held.rollback().await.expect("it answers");
        let answer = persist(&store, &engine, &sent).await;
        assert_eq!(outcomes(&answer).len(), 1);
    }
    assert_eq!(weight(&store, "b1").await, Value::Int(2), "each addition counts once");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let open = "SELECT count(*) FROM pg_stat_activity
             WHERE application_name = 'sync_backend' AND state LIKE 'idle in transaction%'";
        if admin.query_one(open, &[]).await.expect("a superuser may look").get::<_, i64>(0) == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "a transaction was left open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A row that the database refuses for reasons of its own is told of the operation that it belongs to, and refuses
/// that transaction alone; a database that lacks a right costs nobody a write.
#[tokio::test]
async fn what_schema_sql_does_not_say() {
    let rig = Rig::new().await;
    let store = rig.store();
    let engine = engine(&rig.rules, PolicyKind::FieldMerge, &TestClock::new());
    rig.sql("ALTER TABLE boxes ADD CONSTRAINT light CHECK (weight < 50)").await;
    let transactions = vec![
        (1, vec![put_box(1, "b1", json!({"label": "x", "weight": 3}))]),
        (2, vec![put_box(2, "b2", json!({"label": "x"})), put_box(3, "b3", json!({"label": "x", "weight": 60}))]),
        (3, vec![put_box(4, "b4", json!({"label": "x"}))]),
    ];
    let sent = upload("someone", "a", START_US, transactions);
    let answer = apply(&store, &engine, &sent).await.expect("a refusal is an answer");
    assert_eq!(outcomes(&answer), [Outcome::Applied, Outcome::RolledBack, Outcome::Rejected, Outcome::Applied]);
    let reason = answer.transactions[1].ops[1].reason.as_deref().unwrap_or_default();
    assert!(reason.starts_with("statement: ") && reason.contains("light"), "{reason}");
    assert_eq!(apply(&store, &engine, &sent).await, Ok(answer), "the repeat gets the first answer");
    let snapshot = store.snapshot().await.expect("the database answers");
    let ids: Vec<&str> = snapshot[0].iter().map(|(id, _)| &**id).collect();
    assert_eq!(ids, ["b1", "b4"]);

    rig.sql("ALTER TABLE boxes RENAME TO boxes_away").await;
    let later = upload("someone", "a", START_US, vec![(4, vec![put_box(5, "b5", json!({"label": "x"}))])]);
    assert!(matches!(apply(&store, &engine, &later).await, Err(StoreError::Unavailable(_))));
    rig.sql("ALTER TABLE boxes_away RENAME TO boxes").await;
    assert_eq!(outcomes(&persist(&store, &engine, &later).await), [Outcome::Applied]);

    // A database from before the backend first came: what it remembers is made anew.
    rig.sql("DROP SCHEMA sync_backend CASCADE").await;
    let last = upload("someone", "a", START_US, vec![(5, vec![put_box(6, "b6", json!({"label": "x"}))])]);
    assert!(matches!(apply(&store, &engine, &last).await, Err(StoreError::Unavailable(_))));
    assert_eq!(outcomes(&apply(&store, &engine, &last).await.expect("it is made")), [Outcome::Applied]);
}

/// A transaction with more rows than there are locks to spare, beside small ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_operations() {
    let rig = Rig::new().await;
    let store = rig.store();
    let engine = engine(&rig.rules, PolicyKind::FieldMerge, &TestClock::new());
    let seed = vec![put_box(1, "b1", json!({"label": "x"}))];
    apply(&store, &engine, &upload("someone", "seed", START_US, vec![(1, seed)])).await.expect("answered");
    let ops = (1..=10_000).map(|n| put_box(n, &format!("n{n}"), json!({"label": "many"}))).collect();
    let many = upload("someone", "many", START_US, vec![(1, ops)]);
    let small = {
        let (store, engine) = (store.clone(), engine.clone());
        tokio::spawn(async move {
            for n in 1..=20 {
                persist(&store, &engine, &add_one("small", n, "b1")).await;
            }
        })
    };
    let answer = persist(&store, &engine, &many).await;
    small.await.expect("no panic");
    assert!(outcomes(&answer).iter().all(|outcome| *outcome == Outcome::Applied));
    assert_eq!(weight(&store, "b1").await, Value::Int(20));
    assert_eq!(store.snapshot().await.expect("the database answers")[0].len(), 10_001);
}
