//! Random histories give the same answers, rows, records and repeats on the store in memory and on PostgreSQL.

use std::sync::Arc;

use backend::store::postgres::note::CommitNote;
use backend::store::postgres::{PostgresConfig, PostgresStore};
use backend::wire::{OpAnswer, WireOp};
use backend::{MemoryStore, PolicyKind, ServerOp, Store, StoreError};
use fixtures::{Row, Value};
use proptest::prelude::*;
use proptest::test_runner::TestError;
use serde_json::{Value as Json, json};

use crate::embedded_backend::rig::{Rig, START_US, TestClock, apply, engine, op, upload};
use crate::embedded_backend::values::{hostile_json, runner};

const DAY_S: i64 = 86_400;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// A request: seconds since the step before, subject, client, and its transactions.
    Upload { after_s: i64, subject: u8, client: u8, transactions: Vec<Vec<Op>> },
    /// A request that was sent before, again.
    Repeat { after_s: i64, which: prop::sample::Index },
    /// A write that bypasses the backend.
    Bypass { after_s: i64, is_delete: bool, is_update: bool, at: (usize, String), values: Vec<(usize, Json)> },
}

/// An operation before it is numbered. `reuse`: it takes an operation id that may have been used.
#[derive(Clone, Debug)]
struct Op {
    op: &'static str,
    table: &'static str,
    id: String,
    data: Json,
    old: Json,
    reuse: Option<i64>,
}

fn id(prefix: &'static str) -> impl Strategy<Value = String> {
    (0..4u8).prop_map(move |n| format!("{prefix}{n}"))
}

fn at(seconds: i64) -> Json {
    Json::from(fixtures::value::time_to_iso(START_US + seconds * 1_000_000))
}

fn kind() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("PUT"), 4 => Just("PATCH"), 2 => Just("DELETE")]
}

/// Some of the members of an object.
fn part(members: Json) -> impl Strategy<Value = Json> {
    let Json::Object(members) = members else { unreachable!("callers give objects") };
    let members: Vec<(String, Json)> = members.into_iter().collect();
    let most = members.len();
    prop::sample::subsequence(members, 0..=most).prop_map(|members| Json::Object(members.into_iter().collect()))
}

fn boxes() -> impl Strategy<Value = Json> {
    let tags = prop::sample::select(vec!["[]", "[\"a\"]", "[\"a\",\"b\"]", "[ \"b\", \"c\" ]", "no set", "[\"ü\"]"]);
    let names = (prop::option::of(id("b")), prop::option::of(id("s")));
    let numbers = (0..60i64, -2..3i64, any::<f64>(), any::<f64>(), any::<bool>());
    (0..4u8, tags, names, numbers, 0..40i64, 0..40i64).prop_flat_map(
        |(label, tags, names, numbers, touched, opened)| {
            let (inside, shelf) = names;
            let (weight, big, x, coarse, sealed) = numbers;
            part(json!({
                "label": format!("l{label}"), "weight": weight, "tags": tags, "x": x, "y": weight, "inside": inside,
                "shelf": shelf, "touched": at(touched), "opened": at(opened), "made": at(opened), "tiny": weight,
                "big": big, "coarse": coarse as f32, "sealed": sealed, "order": big,
            }))
        },
    )
}

fn op_of() -> impl Strategy<Value = Op> {
    let old = prop_oneof![1 => Just(Json::Null), 2 => boxes()];
    let of_boxes = (kind(), id("b"), boxes(), old).prop_map(|(op, id, mut data, old)| {
        if op == "PUT" && data.get("label").is_none() {
            data["label"] = json!("put");
        }
        (op, "boxes", id, data, old)
    });
    let knobs = (kind(), id("k"), 0..3u8, 0..40i64).prop_map(|(op, id, key, touched)| {
        (op, "knobs", id, json!({"key": format!("key{key}"), "touched": at(touched)}), json!({"key": "key0"}))
    });
    let belts = (kind(), id("r"), 0..2i64, 0..40i64, any::<bool>()).prop_map(|(op, id, running, touched, beats)| {
        let mut data = json!({"running": running, "speed": touched});
        if beats {
            data["beat"] = at(touched);
        }
        (op, "belts", id, data, if op == "PATCH" { json!({"running": 1 - running}) } else { Json::Null })
    });
    let shelves = (kind(), id("s"), 0..3u8).prop_map(|(op, id, n)| (op, "shelves", id, json!({"name": n}), Json::Null));
    let stickers = (kind(), id("t"), id("b"))
        .prop_map(|(op, id, parent)| (op, "stickers", id, json!({"box": parent, "words": "w"}), Json::Null));
    let memo = (id("k"), prop::option::of(id("s")), prop::option::of(0..2u8), 0..2u8, 0..40i64).prop_flat_map(
        |(knob, shelf, code, weight, touched)| {
            part(json!({"words": "w", "knob": knob, "shelf": shelf, "code": code, "weight": weight, "touched": at(touched)}))
        },
    );
    let memos = (kind(), id("m"), memo).prop_map(|(op, id, data)| (op, "memos", id, data, Json::Null));
    let columns = prop::sample::select(vec![
        "label", "weight", "tags", "x", "y", "shelf", "inside", "touched", "opened", "tiny", "big", "coarse", "sealed",
        "order", "id", "", "\"", "nothing", "LABEL",
    ]);
    let tables = prop::sample::select(vec!["boxes", "boxes", "boxes", "boxes", "BOXES", "pg_class", "\"", ""]);
    let ops = prop::sample::select(vec!["PUT", "PATCH", "DELETE", "PUT", "PATCH", "MERGE", "put"]);
    let ids = prop_oneof![
        2 => id("b"),
        1 => prop::sample::select(vec!["", "'", "\"; DROP TABLE boxes; --", "ü", "a\0b", "\u{10ffff}"]).prop_map(str::to_owned),
        1 => (999..1002usize).prop_map(|length| "i".repeat(length)),
    ];
    let hostile = (ops, tables, ids, prop::collection::btree_map(columns, hostile_json(), 0..4)).prop_map(
        |(op, table, id, members)| {
            let data: Json = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            (op, table, id, data, Json::Null)
        },
    );
    let any = prop_oneof![8 => of_boxes, 3 => knobs, 3 => belts, 2 => shelves, 3 => stickers, 3 => memos, 2 => hostile];
    (any, prop::option::weighted(0.05, 1..6i64)).prop_map(|((op, table, id, data, old), reuse)| Op {
        op,
        table,
        id,
        data: if op == "DELETE" { Json::Null } else { data },
        old,
        reuse,
    })
}

fn step() -> impl Strategy<Value = Step> {
    // Some pauses outlast the lease, a few outlast retention.
    let after_s = prop_oneof![8 => 0..15i64, 3 => 60..120i64, 1 => Just(16 * DAY_S)];
    let transactions = prop::collection::vec(prop::collection::vec(op_of(), 0..5), 1..3);
    let bypass = prop_oneof![
        (id("b"), 0..60i64, prop::option::of(id("s"))).prop_map(|(id, weight, shelf)| (
            0,
            id,
            vec![(0, json!("by hand")), (1, json!(weight)), (5, json!(shelf))]
        )),
        (id("s"), Just(json!("by hand"))).prop_map(|(id, name)| (1, id, vec![(0, name)])),
        (id("r"), 0..2i64).prop_map(|(id, running)| (4, id, vec![(0, json!(running))])),
    ];
    prop_oneof![
        10 => (after_s.clone(), 0..2u8, 0..3u8, transactions).prop_map(|(after_s, subject, client, transactions)|
            Step::Upload { after_s, subject, client, transactions }),
        2 => (after_s.clone(), any::<prop::sample::Index>()).prop_map(|(after_s, which)| Step::Repeat { after_s, which }),
        1 => (after_s, any::<bool>(), any::<bool>(), bypass).prop_map(|(after_s, is_delete, is_update, bypass)|
            Step::Bypass { after_s, is_delete, is_update, at: (bypass.0, bypass.1), values: bypass.2 }),
    ]
}

/// The two stores, side by side.
struct Pair<'a> {
    rig: &'a Rig,
    client: &'a tokio_postgres::Client,
    memory: MemoryStore,
    postgres: &'a dyn Store,
    snapshot: &'a PostgresStore,
    engine: backend::Engine,
    clock: TestClock,
}

/// Every part of a row, bit by bit: typed equality would take 0 for -0.
fn shown(tables: &[Vec<(Arc<str>, Row)>]) -> String {
    format!("{tables:?}")
}

impl Pair<'_> {
    async fn compare(&self, sent: &backend::Upload) -> Result<(), TestCaseError> {
        self.clock.set(sent.received_us);
        let expect = apply(&self.memory, &self.engine, sent).await;
        let found = apply(self.postgres, &self.engine, sent).await;
        prop_assert_eq!(&found, &expect, "PostgreSQL answers {:?}", sent);
        if let Ok(answer) = found {
            let answered: Vec<&OpAnswer> =
                answer.transactions.iter().flat_map(|transaction| &transaction.ops).collect();
            prop_assert!(answered.len() <= 10);
        }
        let rows = self.snapshot.snapshot().await.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(shown(&rows), shown(&self.memory.snapshot()), "rows after {:?}", sent);
        Ok(())
    }

    async fn bypass(&self, at_us: i64, op: &ServerOp) {
        self.memory.server_transaction(at_us, std::slice::from_ref(op)).expect("lawful");
        let tables = &self.rig.app.schema.tables;
        let text = |ty: fixtures::Type, value: &Value| match value {
            Value::Null => "NULL".to_owned(),
            other => format!("'{}'::{}", other.to_json().to_string().trim_matches('"'), ty.sql_name()),
        };
        let parts = |table: usize, values: &[(usize, Value)]| -> (Vec<String>, Vec<String>) {
            values
                .iter()
                .map(|(column, value)| {
                    let column = &tables[table].columns[*column];
                    (format!("\"{}\"", column.name), text(column.ty, value))
                })
                .unzip()
        };
        let sql = match op {
            ServerOp::Delete { table, id } => format!("DELETE FROM {} WHERE id = '{id}'", tables[*table].name),
            ServerOp::Update { table, id, values } => {
                let (names, values) = parts(*table, values);
                let set: Vec<String> =
                    names.iter().zip(values).map(|(name, value)| format!("{name} = {value}")).collect();
                format!("UPDATE {} SET {} WHERE id = '{id}'", tables[*table].name, set.join(", "))
            }
            ServerOp::Upsert { table, id, values } => {
                let (mut names, mut values) = parts(*table, values);
                let set: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
                // PostgreSQL's now() is not the test's.
                for (column, definition) in tables[*table].columns.iter().enumerate() {
                    if definition.default == fixtures::ColumnDefault::Now
                        && !names.contains(&format!("\"{}\"", definition.name))
                    {
                        names.push(format!("\"{}\"", tables[*table].columns[column].name));
                        values.push(format!("'{}'", fixtures::value::time_to_iso(at_us)));
                    }
                }
                let (table, names, values) = (&tables[*table].name, names.join(", "), values.join(", "));
                format!(
                    "INSERT INTO {table} (id, {names}) VALUES ('{id}', {values})
                     ON CONFLICT (id) DO UPDATE SET {}",
                    set.join(", ")
                )
            }
        };
        self.client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
    }

    /// The notes in the write-ahead log, with the changes before them, give the commits that the memory store tells.
    async fn compare_notes(&self) -> Result<(), TestCaseError> {
        let rows = self.client.query("SELECT data FROM pg_logical_slot_get_changes('notes', NULL, NULL)", &[]).await;
        let lines: Vec<String> = rows.expect("the slot is there").iter().map(|row| row.get(0)).collect();
        let (mut noted, mut changed) = (Vec::new(), Vec::new());
        for line in &lines {
            if line.starts_with("BEGIN") {
                changed.clear();
            } else if let Some(change) = line.strip_prefix("table public.") {
                let (table, rest) = change.split_once(':').expect("a table's name");
                let id = rest.split_once("id[text]:'").map_or("", |(_, id)| id).replace("''", "\u{1}");
                let id = id.split('\'').next().unwrap_or_default().replace('\u{1}', "'");
                changed.push((table.trim_matches('"').to_owned(), id));
            } else if let Some((_, content)) = line.split_once("prefix: sync_backend,") {
                let (_, content) = content.split_once("content:").expect("a message has a content");
                let note = CommitNote::parse(content.as_bytes()).expect("a note of the backend");
                let told: Vec<_> =
                    note.changes.iter().map(|change| (change.table.clone(), change.id.clone())).collect();
                prop_assert_eq!(&changed, &told, "changes in the log, and in its note");
                noted.push(note);
            }
        }
        let mut noted = noted.iter();
        let mut conflicts = 0;
        for commit in self.memory.commits_from(1).iter().filter(|commit| commit.origin.is_some()) {
            let Some(note) = noted.next() else { return Err(TestCaseError::fail("a commit has no note")) };
            let mut bare = commit.changes.clone();
            for change in &mut bare {
                (change.by, change.cause) = (None, backend::Cause::Server);
            }
            let found = note.commit(&self.rig.rules, commit.seq, conflicts, bare);
            prop_assert_eq!(format!("{found:?}"), format!("{:?}", Some(&**commit)));
            conflicts += commit.conflicts.len() as u64;
        }
        prop_assert!(noted.next().is_none(), "a note has no commit");
        Ok(())
    }

    async fn run(&self, steps: &[Step]) -> Result<(), TestCaseError> {
        let (mut now_us, mut next, mut tx_id) = (START_US + 60_000_000, [1i64; 6], 0);
        let mut sent: Vec<backend::Upload> = Vec::new();
        for step in steps {
            let (Step::Upload { after_s, .. } | Step::Repeat { after_s, .. } | Step::Bypass { after_s, .. }) = step;
            now_us += after_s * 1_000_000 + 1;
            match step {
                Step::Upload { subject, client, transactions, .. } => {
                    let mut numbered: Vec<(i64, Vec<WireOp>)> = Vec::new();
                    for ops in transactions {
                        tx_id += 1;
                        let mut used = std::collections::BTreeSet::new();
                        let ops = ops.iter().map(|given| {
                            let next = &mut next[usize::from(*subject) * 3 + usize::from(*client)];
                            let op_id = given.reuse.filter(|reused| !used.contains(reused)).unwrap_or(*next);
                            *next = (*next).max(op_id) + 1;
                            used.insert(op_id);
                            op(op_id, given.op, given.table, &given.id, given.data.clone(), given.old.clone())
                        });
                        let ops = ops.collect();
                        numbered.push((tx_id, ops));
                    }
                    let request = upload(&format!("s{subject}"), &format!("c{client}"), now_us, numbered);
                    self.compare(&request).await?;
                    sent.push(request);
                }
                Step::Repeat { which, .. } if !sent.is_empty() => {
                    let again = backend::Upload { received_us: now_us, ..which.get(&sent).clone() };
                    self.compare(&again).await?;
                }
                Step::Repeat { .. } => {}
                Step::Bypass { is_delete, is_update, at: (table, id), values, .. } => {
                    let (table, id) = (*table, Arc::from(id.as_str()));
                    let columns = &self.rig.app.schema.tables[table].columns;
                    let values = values
                        .iter()
                        .map(|(column, json)| (*column, Value::from_json(columns[*column].ty, json).expect("typed")))
                        .collect();
                    let op = match (is_delete, is_update) {
                        (true, _) => ServerOp::Delete { table, id },
                        (false, true) => ServerOp::Update { table, id, values },
                        (false, false) => ServerOp::Upsert { table, id, values },
                    };
                    self.bypass(now_us, &op).await;
                }
            }
        }
        self.compare_notes().await?;
        for subject in ["s0", "s1"] {
            let failed = |error: StoreError| TestCaseError::fail(error.to_string());
            let (expect, found) =
                (self.memory.conflicts(subject, 0, 10_000), self.postgres.conflicts(subject, 0, 10_000));
            prop_assert_eq!(found.await.map_err(failed)?, expect.await.map_err(failed)?, "records of {}", subject);
        }
        Ok(())
    }
}

#[test]
fn memory_and_postgres_are_one() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rig = runtime.block_on(Rig::new());
    let config = PostgresConfig { annotates: true, ..rig.config() };
    let store = PostgresStore::new(rig.rules.clone(), config).expect("its own URL is sound");
    let client = runtime.block_on(rig.client());
    let slot = "SELECT pg_create_logical_replication_slot('notes', 'test_decoding')";
    runtime.block_on(client.batch_execute(slot)).expect("the cluster decodes");
    runtime.block_on(store.prepare()).expect("the database is the application's");
    let mut runner = runner("SYNCSTORM_PARITY_CASES", 120);
    let strategy = (0..PolicyKind::ALL.len(), prop::collection::vec(step(), 1..16));
    let ended = runner.run(&strategy, |(kind, steps)| {
        runtime.block_on(async {
            rig.reset(&client).await;
            let drained =
                client.execute("SELECT pg_replication_slot_advance('notes', pg_current_wal_lsn())", &[]).await;
            drained.expect("the slot is there");
            let clock = TestClock::new();
            let pair = Pair {
                rig: &rig,
                client: &client,
                memory: MemoryStore::new(rig.rules.clone()),
                postgres: &store,
                snapshot: &store,
                engine: engine(&rig.rules, PolicyKind::ALL[kind], &clock),
                clock,
            };
            pair.run(&steps).await
        })
    });
    match ended {
        Ok(()) => {}
        Err(TestError::Fail(why, (kind, steps))) => panic!("under {}: {why}\n{steps:#?}", PolicyKind::ALL[kind]),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
