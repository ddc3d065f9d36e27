//! Values: what we parse, compare and keep is what PostgreSQL parses, compares and keeps.

use backend::PolicyKind;
use fixtures::{Type, Value};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value as Json, json};

use crate::embedded_backend::rig::{Rig, START_US, TestClock, apply, engine, op, upload};

const TYPES: [(Type, &str); 8] = [
    (Type::Text, "label"),
    (Type::Integer, "weight"),
    (Type::Double, "x"),
    (Type::Timestamptz, "opened"),
    (Type::SmallInt, "tiny"),
    (Type::BigInt, "order"),
    (Type::Real, "coarse"),
    (Type::Boolean, "sealed"),
];

/// Texts that are numbers, instants, booleans, nearly so, or none.
pub(crate) fn hostile_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "[ \\t]?[+-]?[0-9]{1,22}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?[ \\n]?",
        "[0-9]{3,6}-[0-9]{1,2}-[0-9]{1,2}([T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{0,9})?)?)?(Z|[+-][0-9]{1,2}(:?[0-9]{2})?| BC)?",
        prop::sample::select(vec![
            "",
            " ",
            "NaN",
            "nan",
            "Infinity",
            "-Infinity",
            "inf",
            "-0",
            "0",
            "true",
            "t",
            "yes",
            "on",
            "of",
            "off",
            "null",
            "NULL",
            "32767",
            "32768",
            "-32768",
            "2147483648",
            "9223372036854775807",
            "9223372036854775808",
            "1e308",
            "1e309",
            "4.9e-324",
            "1e-400",
            "3.4028235e38",
            "3.5e38",
            "1e-46",
            "0.1",
            "infinity",
            "-infinity",
            "294246-12-31T23:59:59Z",
            "294276-12-31",
            "4714-11-24 BC",
            "4714-11-23 BC",
            "2026-02-29",
            "2024-02-29",
            "2026-01-01T24:00:00Z",
            "2026-01-01T23:59:60Z",
            "2026-01-01T00:00:00.9999995Z",
            "now",
            "today",
            "2026-01-01T00:00:00+15:59",
            "'; DROP TABLE boxes; --",
            "\\",
            "\\'",
            "$1",
            "{}",
            "[\"a\"]",
            "\u{feff}x",
            "\u{10ffff}",
            "e\u{301}",
            "a\0b",
        ])
        .prop_map(str::to_owned),
    ]
}

/// Texts that are values of many types, close to each other.
fn tame_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["0", "1", "t", "f", "true", "NO", "on"]).prop_map(str::to_owned),
        "[+-]?[0-9]{1,2}",
        "-?[0-9]{1,2}\\.[0-9]{1,2}(e-?[0-9]{1,2})?",
        "20[0-3][0-9]-0[1-9]-[12][0-9]([T ][01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,7})?(Z|[+-]0[0-9])?)?",
    ]
}

/// Any JSON that a device may send for a column.
pub(crate) fn hostile_json() -> impl Strategy<Value = Json> {
    prop_oneof![
        1 => Just(Json::Null),
        1 => any::<bool>().prop_map(Json::from),
        3 => prop_oneof![any::<i64>(), -3..3i64, any::<i16>().prop_map(i64::from), any::<i32>().prop_map(i64::from)]
            .prop_map(Json::from),
        1 => any::<u64>().prop_map(Json::from),
        3 => any::<f64>().prop_map(Json::from),
        4 => hostile_text().prop_map(Json::from),
        1 => prop::sample::select(vec![json!([]), json!({}), json!([1, "a"]), json!({"a": null}), json!(["a", "b"])]),
    ]
}

fn cases(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

pub(crate) fn runner(variable: &str, default: u32) -> TestRunner {
    TestRunner::new(Config {
        cases: cases(variable, default),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        max_shrink_iters: 400,
        ..Config::default()
    })
}

/// What we take, PostgreSQL takes for the same value; two values that we find equal, or ordered, it does too.
#[tokio::test]
async fn parsing_and_comparing_agree_with_postgres() {
    let rig = Rig::new().await;
    let client = rig.client().await;
    let mut runner = runner("SYNCSTORM_VALUE_CASES", 1500);
    let mut taken = [0u32; TYPES.len()];
    for case in 0..runner.config().cases {
        let (any, tame) = (hostile_text(), tame_text());
        let draw = match case % 3 {
            0 => (any, hostile_text()).new_tree(&mut runner).expect("there are texts").current(),
            1 => (any, tame).new_tree(&mut runner).expect("there are texts").current(),
            _ => (tame_text(), tame).new_tree(&mut runner).expect("there are texts").current(),
        };
        for (index, (ty, _)) in TYPES.into_iter().enumerate() {
            let (Ok(a), Ok(b)) = (Value::from_text(ty, &draw.0), Value::from_text(ty, &draw.1)) else {
                // Of what is refused here nothing is kept, so nothing can differ.
                continue;
            };
            taken[index] += 1;
            let name = ty.sql_name();
            let row = client
                .query_one(
                    &format!(
                        "SELECT a = b, a < b, a = $3::text::{name}, b = $4::text::{name}
                         FROM (SELECT $1::text::{name} AS a, $2::text::{name} AS b) AS pair"
                    ),
                    &[&draw.0, &draw.1, &written(ty, &a), &written(ty, &b)],
                )
                .await
                .unwrap_or_else(|error| panic!("{name} takes {draw:?}, but: {:?}", error.as_db_error()));
            assert_eq!(row.get::<_, bool>(0), a == b, "{name}: equality of {draw:?}");
            if let Some(order) = a.compare(&b) {
                assert_eq!(row.get::<_, bool>(1), order.is_lt(), "{name}: order of {draw:?}");
            }
            assert!(row.get::<_, bool>(2) && row.get::<_, bool>(3), "{name}: {draw:?} is written as another value");
        }
    }
    assert!(taken.iter().all(|count| *count >= 5), "too few pairs of some type were values: {taken:?}");
}

/// A value as we write it, in a form that PostgreSQL reads.
fn written(ty: Type, value: &Value) -> Option<String> {
    match value.to_json() {
        Json::Null => None,
        Json::String(text) => Some(text),
        Json::Number(number) if ty == Type::Boolean => Some(if number == 0.into() { "f" } else { "t" }.to_owned()),
        other => Some(other.to_string()),
    }
}

/// What was sent is what is stored and read back, in every column type; what is refused is an outcome, not an error.
#[tokio::test]
async fn values_survive_the_database() {
    let rig = Rig::new().await;
    let (store, client) = (rig.store(), rig.client().await);
    let clock = TestClock::new();
    let engine = engine(&rig.rules, PolicyKind::FieldMerge, &clock);
    let mut runner = runner("SYNCSTORM_VALUE_CASES", 300);
    let boxes = rig.rules.table("boxes").expect("a table of the application");
    let mut stored = [0u32; TYPES.len()];
    for case in 0..runner.config().cases {
        let id = format!("b{case}");
        for (index, (ty, column)) in TYPES.into_iter().enumerate() {
            let sent = hostile_json().new_tree(&mut runner).expect("there is JSON").current();
            let id = format!("{id}-{index}");
            let mut data = json!({"label": "x"});
            data[column] = sent.clone();
            let ops = vec![op(i64::from(case) * 10 + index as i64 + 1, "PUT", "boxes", &id, data, Json::Null)];
            let sent_in = upload("someone", "a", START_US, vec![(i64::from(case), ops)]);
            let answer = apply(&store, &engine, &sent_in).await.expect("a hostile value is no failure of the database");
            let outcome = &answer.transactions[0].ops[0];
            let at = boxes.column(column).expect("a column of the table");
            match Value::from_json(ty, &sent) {
                // A counter has a range of its own.
                Ok(Value::Int(weight)) if column == "weight" && !(0..=100).contains(&weight) => {
                    assert!(outcome.reason.as_deref().is_some_and(|reason| reason.starts_with("out-of-range")));
                }
                Ok(value) if !(value.is_null() && boxes.columns[at].not_null) => {
                    assert_eq!(outcome.reason, None, "{column}: {sent}");
                    let row = client
                        .query_one(&format!("SELECT \"{column}\"::text FROM boxes WHERE id = $1"), &[&id])
                        .await
                        .expect("it was just stored");
                    let read: Option<String> = row.get(0);
                    let read = read.map_or(Value::Null, |text| Value::from_text(ty, &text).expect("it is of the type"));
                    assert_eq!(format!("{read:?}"), format!("{value:?}"), "{column}: {sent}");
                    stored[index] += 1;
                }
                _ => assert!(outcome.reason.is_some(), "{column}: {sent} is refused"),
            }
        }
    }
    assert!(stored.iter().all(|count| *count >= 5), "too few values of some type were stored: {stored:?}");
    let snapshot = store.snapshot().await.expect("the database answers");
    let rows: usize = snapshot.iter().map(Vec::len).sum();
    assert_eq!(rows, stored.iter().sum::<u32>() as usize);
}
