//! Random committed transactions give clients the same operations whether they come from memory or from PostgreSQL:
//! the same ids, subkeys, sums and texts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use fixtures::{Column, ColumnDefault, Row, Schema, Table, Type, Value};
use http_body_util::BodyExt as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;
use sim_service::{Keys, ReplicaIdentity, RowChange, Service, SourceTransaction, Storage, SyncConfig, router};
use tower::ServiceExt as _;

use crate::cluster::Cluster;
use crate::rig::{AUDIENCE, KEY, Rig, SECRET, claims, request_body, token};

const TYPES: [Type; 8] = [
    Type::Text,
    Type::SmallInt,
    Type::Integer,
    Type::BigInt,
    Type::Real,
    Type::Double,
    Type::Boolean,
    Type::Timestamptz,
];
const TABLES: [(&str, ReplicaIdentity); 2] = [("alpha", ReplicaIdentity::PrimaryKey), ("beta", ReplicaIdentity::Full)];
const RULES: &str = "bucket_definitions:
  alpha: {data: SELECT * FROM alpha}
  beta: {data: [SELECT * FROM beta, SELECT id FROM alpha WHERE c1 > 0]}
";

#[derive(Clone, Debug)]
enum Change {
    Put { table: usize, id: u8, values: Vec<Option<Value>> },
    Move { table: usize, id: u8, to: u8 },
    Delete { table: usize, id: u8 },
    Truncate { table: usize },
}

fn value(ty: Type) -> BoxedStrategy<Value> {
    let some = match ty {
        Type::Text => prop_oneof![
            4 => "[ -~é\n\t\"'\\\\😀]{0,12}".prop_map(|text| Value::text(&text)),
            // Too large to stay in the row, and not compressible.
            1 => any::<u64>().prop_map(|seed| Value::text(&large(seed))),
        ]
        .boxed(),
        Type::SmallInt => any::<i16>().prop_map(|int| Value::Int(int.into())).boxed(),
        Type::Integer => any::<i32>().prop_map(|int| Value::Int(int.into())).boxed(),
        Type::BigInt => any::<i64>().prop_map(Value::Int).boxed(),
        Type::Real => any::<f32>().prop_map(|real| Value::Real(real.into())).boxed(),
        Type::Double => any::<f64>().prop_map(Value::Real).boxed(),
        Type::Boolean => any::<bool>().prop_map(|flag| Value::Int(flag.into())).boxed(),
        Type::Timestamptz => prop_oneof![
            // Years 1 to 9999, and both infinities.
            8 => (-62_135_596_800_000_000..253_402_300_800_000_000i64).prop_map(Value::Time),
            1 => Just(Value::Time(i64::MAX)),
            1 => Just(Value::Time(i64::MIN)),
        ]
        .boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 4 => some].boxed()
}

fn large(seed: u64) -> String {
    let mut text = String::new();
    for block in 0..200u64 {
        let _ = write!(text, "{:016x}", (seed ^ block).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    text
}

fn change() -> impl Strategy<Value = Change> {
    let values: Vec<_> = TYPES.iter().map(|ty| proptest::option::weighted(0.5, value(*ty))).collect();
    prop_oneof![
        8 => (0..2usize, 0..5u8, values).prop_map(|(table, id, values)| Change::Put { table, id, values }),
        2 => (0..2usize, 0..5u8, 0..5u8).prop_map(|(table, id, to)| Change::Move { table, id, to }),
        2 => (0..2usize, 0..5u8).prop_map(|(table, id)| Change::Delete { table, id }),
        1 => (0..2usize).prop_map(|table| Change::Truncate { table }),
    ]
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(int) => format!("'{int}'"),
        Value::Real(real) if real.is_nan() => "'NaN'".to_owned(),
        Value::Real(real) if real.is_infinite() => format!("'{}Infinity'", if *real < 0.0 { "-" } else { "" }),
        Value::Real(real) => format!("'{real:e}'"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Time(micros) => format!("'{}'", fixtures::value::time_to_iso(*micros)),
    }
}

/// The same changes as SQL and as row changes.
#[derive(Default)]
struct Twin {
    rows: [BTreeMap<Arc<str>, Row>; 2],
}

impl Twin {
    fn apply(&mut self, change: &Change, sql: &mut String, changes: &mut Vec<RowChange>) {
        let name = |table: &usize| TABLES[*table].0;
        let key = |id: &u8| -> Arc<str> { Arc::from(format!("r{id}")) };
        match change {
            Change::Put { table, id, values } => {
                let id = key(id);
                let before = self.rows[*table].get(&id).cloned();
                let mut row: Vec<Value> =
                    before.as_ref().map_or_else(|| vec![Value::Null; TYPES.len()], |row| row.to_vec());
                let mut sets = vec!["id = id".to_owned()];
                for (column, value) in values.iter().enumerate() {
                    if let Some(value) = value {
                        row[column] = value.clone();
                        sets.push(format!("c{column} = {}", literal(value)));
                    }
                }
                let all: Vec<String> = row.iter().map(literal).collect();
                let _ = match before {
                    None => writeln!(sql, "INSERT INTO {} VALUES ('{id}', {});", name(table), all.join(", ")),
                    Some(_) => writeln!(sql, "UPDATE {} SET {} WHERE id = '{id}';", name(table), sets.join(", ")),
                };
                let after: Row = row.into();
                self.rows[*table].insert(id.clone(), after.clone());
                changes.push(RowChange { table: *table, id, before, after: Some(after) });
            }
            Change::Move { table, id, to } => {
                let (id, to) = (key(id), key(to));
                if self.rows[*table].contains_key(&to) {
                    return;
                }
                if let Some(row) = self.rows[*table].remove(&id) {
                    let _ = writeln!(sql, "UPDATE {} SET id = '{to}' WHERE id = '{id}';", name(table));
                    changes.push(RowChange { table: *table, id, before: Some(row.clone()), after: None });
                    changes.push(RowChange { table: *table, id: to.clone(), before: None, after: Some(row.clone()) });
                    self.rows[*table].insert(to, row);
                }
            }
            Change::Delete { table, id } => {
                let id = key(id);
                if let Some(row) = self.rows[*table].remove(&id) {
                    let _ = writeln!(sql, "DELETE FROM {} WHERE id = '{id}';", name(table));
                    changes.push(RowChange { table: *table, id, before: Some(row), after: None });
                }
            }
            Change::Truncate { table } => {
                let _ = writeln!(sql, "TRUNCATE {};", name(table));
                for (id, row) in std::mem::take(&mut self.rows[*table]) {
                    changes.push(RowChange { table: *table, id, before: Some(row), after: None });
                }
            }
        }
    }
}

/// The lines that a late client gets from a service in memory.
async fn from_memory(transactions: &[SourceTransaction]) -> Vec<String> {
    let columns = || {
        let all = TYPES.iter().enumerate();
        all.map(|(index, ty)| Column {
            name: format!("c{index}"),
            ty: *ty,
            not_null: false,
            default: ColumnDefault::Null,
        })
        .collect()
    };
    let tables =
        TABLES.iter().map(|(name, _)| Table { name: (*name).to_owned(), columns: columns(), unique: Vec::new() });
    let schema = Arc::new(Schema { tables: tables.collect() });
    let rules = SyncConfig::parse(RULES, &schema).expect("good rules");
    let keys = Keys::hs256(KEY, SECRET.as_bytes());
    let now = claims("", 0, 0)["iat"].as_i64().expect("seconds");
    let mut config = sim_service::Config::new(
        schema,
        Arc::new(rules),
        keys,
        vec![AUDIENCE.to_owned()],
        Arc::new(move || now * 1_000_000),
        Arc::new(|| 0),
    );
    config.replica_identity = TABLES.iter().map(|(_, identity)| *identity).collect();
    let service = Service::new(config, Storage::new());
    transactions.iter().for_each(|transaction| service.replicate(transaction));
    let request = http::Request::post("/sync/stream")
        .header("content-type", "application/json")
        .header("authorization", token(&claims("u1", 0, 3600)))
        .body(Body::from(request_body("late", &json!([])).to_string()))
        .expect("a good request");
    let mut body = router(service).oneshot(request).await.expect("a router does not fail").into_body();
    let mut lines: Vec<String> = Vec::new();
    while !lines.last().is_some_and(|line| line.starts_with("{\"checkpoint_complete")) {
        let frame = body.frame().await.expect("the stream goes on").expect("it does not fail");
        let line = String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text");
        lines.push(line.trim_end().to_owned());
    }
    lines
}

#[test]
fn memory_and_postgres_give_the_same_operations() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let case = std::cell::Cell::new(0);
    let config = Config { cases: 12, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let plans = vec((vec(change(), 1..6), any::<bool>()), 1..20);
    let result = runner.run(&plans, |plan| {
        case.set(case.get() + 1);
        let mut twin = Twin::default();
        let mut transactions = Vec::new();
        let mut statements = Vec::new();
        for (changes, commit) in &plan {
            let mut before = Twin { rows: twin.rows.clone() };
            let (mut sql, mut row_changes) = ("BEGIN;\n".to_owned(), Vec::new());
            for change in changes {
                twin.apply(change, &mut sql, &mut row_changes);
            }
            if *commit {
                transactions.push(SourceTransaction { lsn: transactions.len() as u64 + 1, changes: row_changes });
                statements.push(sql + "COMMIT;\n");
            } else {
                std::mem::swap(&mut twin, &mut before);
                statements.push(sql + "ROLLBACK;\n");
            }
        }
        let mut tables = String::new();
        for (name, identity) in TABLES {
            let columns: Vec<String> =
                TYPES.iter().enumerate().map(|(index, ty)| format!("c{index} {}", ty.sql_name())).collect();
            let identity = if identity == ReplicaIdentity::Full { "FULL" } else { "DEFAULT" };
            let _ = write!(
                tables,
                "CREATE TABLE {name} (id text PRIMARY KEY, {}); ALTER TABLE {name} REPLICA IDENTITY {identity};
                 ALTER TABLE {name} ALTER c0 SET STORAGE EXTERNAL;",
                columns.join(", ")
            );
        }
        let rig = Rig::idle(Cluster::start(), &tables, RULES).with_arguments(&["--store-sync", "process"]);
        let (ours, theirs, stored) = runtime.block_on(async {
            let mut rig = rig;
            rig.up().await;
            rig.cluster.sql(&statements.concat());
            // Acknowledged: everything before is there.
            let counter = rig.write_checkpoint("late").await.expect("PostgreSQL is up");
            let mut stream = rig.open(&request_body("late", &json!([]))).await.expect("it is ready");
            let mut lines = stream.checkpoint().await;
            while !lines.concat().contains(&format!("\"write_checkpoint\":\"{counter}\"")) {
                lines.extend(stream.checkpoint().await);
            }
            let memory = from_memory(&transactions).await;
            // The same again from the store.
            rig.kill();
            rig.up().await;
            let mut stream = rig.open(&request_body("late", &json!([]))).await.expect("it is ready");
            let stored = stream.checkpoint().await;
            (data(&lines), data(&memory), data(&stored))
        });
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(&ours, &stored);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(case.get() >= 12);
}

/// The operations of all data lines, bucket by bucket.
fn data(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        if let Some(bucket) = line["data"]["bucket"].as_str() {
            let ops = line["data"]["data"].as_array().expect("a list").iter().map(ToString::to_string);
            all.entry(bucket.to_owned()).or_default().extend(ops);
        }
    }
    all
}
