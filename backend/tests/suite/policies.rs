//! Each policy as a table: the decision on one operation and one row.

use std::sync::Arc;

use backend::operation::Operation;
use backend::policy::{Decision, Effect, PolicyKind, Situation};
use backend::record::{RowMeta, Stamp, Stored, StoredRow, Tombstone, Writer};
use backend::wire::WireOp;
use fixtures::{Row, Value};

use crate::app;
use crate::script::{START_US, members};

use PolicyKind::{ArrivalOrder, FieldMerge, RowLatest, ServerWins, VersionCheck};

fn writer(name: &str) -> Arc<Writer> {
    let (client, op) = name.split_once('/').expect("client/op");
    let op = op.parse().expect("an operation id");
    Arc::new(Writer { subject: Arc::from("someone"), client: Arc::from(client), epoch: 1, op })
}

/// The stored row: JSON of its columns, all stamped alike: `{"label":"x"} @5 a/1`.
fn stored_row(text: &str) -> (StoredRow, i64, Arc<Writer>) {
    let mut words = text.rsplitn(3, ' ');
    let mut word = || words.next().expect("row, time, writer");
    let (by, at, row) = (writer(word()), word(), word());
    let at_us = START_US + at.trim_start_matches('@').parse::<i64>().expect("a time in seconds") * 1_000_000;
    let rules = app::rules();
    let boxes = &rules.tables[0];
    let row = members(row);
    let row: Row = boxes
        .columns
        .iter()
        .map(|column| {
            row.get(&column.name).map_or(Value::Null, |json| Value::from_json(column.ty, json).expect("typed"))
        })
        .collect();
    let stamp = Stamp::new(at_us, by.clone());
    let meta = RowMeta {
        stamps: vec![Some(stamp); boxes.registers.len()],
        written: row.clone(),
        defaulted: Vec::new(),
        heartbeats: Vec::new(),
    };
    (StoredRow { row, meta: Some(Arc::new(meta)) }, at_us, by)
}

fn decide(kind: PolicyKind, target: &str, op: &str) -> (Decision, Option<Row>) {
    let rules = app::rules();
    let mut words = op.splitn(4, ' ');
    let mut word = || words.next().unwrap_or("");
    let (at, by, op, rest) = (word(), writer(word()), word(), word());
    let (data, old) = match rest.split_once("was ") {
        Some((data, old)) => (data.trim(), Some(members(old))),
        None => (rest.trim(), None),
    };
    let wire = WireOp {
        op_id: by.op,
        op: op.to_owned(),
        table: "boxes".to_owned(),
        id: "b1".to_owned(),
        data: (!data.is_empty()).then(|| members(data)),
        old,
    };
    let op = Operation::resolve(&rules, &wire).expect("a valid operation");
    let stored = match target.split_once(' ') {
        None => Stored::Absent,
        Some(("live", row)) => Stored::Live(stored_row(row).0),
        Some((_, row)) => {
            let (row, at_us, writer) = stored_row(row);
            let tombstone = Tombstone { at_us, received_us: at_us, writer, image: row.row, meta: row.meta };
            Stored::Deleted(Arc::new(tombstone))
        }
    };
    let received_us = START_US + at.parse::<i64>().expect("a time in seconds") * 1_000_000;
    let situation = Situation { rules: &rules.tables[0], stored: &stored, op: &op, writer: &by, received_us };
    let before = stored.live().map(|row| row.row.clone());
    (kind.policy().decide(&situation), before)
}

fn show(value: &Value) -> String {
    match value {
        Value::Time(at_us) => format!("@{}", (at_us - START_US) / 1_000_000),
        Value::Text(text) => text.to_string(),
        other => other.to_json().to_string(),
    }
}

/// `outcome [effect] [! column loser < winner]…`
#[track_caller]
fn check(kind: PolicyKind, target: &str, op: &str, expect: &str) {
    let (decision, before) = decide(kind, target, op);
    let outcome = serde_json::to_value(decision.outcome).expect("an outcome has a name");
    let mut output = outcome.as_str().expect("a name").to_owned();
    match &decision.effect {
        Effect::None => {}
        Effect::Delete { .. } => output.push_str(" delete"),
        Effect::RestampTombstone { .. } => output.push_str(" restamp"),
        Effect::Write(write) => {
            let rules = app::rules();
            for (index, (column, value)) in rules.tables[0].columns.iter().zip(&write.row).enumerate() {
                let changed = before.as_ref().is_none_or(|before| before[index] != *value);
                if changed && !value.is_null() && column.name != "made" && column.name != "touched" {
                    output.push_str(&format!(" {}={}", column.name, show(value)));
                }
            }
        }
    }
    for conflict in &decision.conflicts {
        let column = conflict.column.as_deref().unwrap_or("*");
        if column != "touched" {
            output.push_str(&format!(" ! {column} {} < {}", conflict.loser, conflict.winner));
        }
    }
    assert_eq!(output, expect, "{kind}: {target} <- {op}");
}

const LIVE: &str = r#"live {"label":"x","weight":5,"tags":"[\"t\"]","state":"new","touched":"@5"} @5 a/1"#;
const DELETED: &str = r#"deleted {"label":"x","weight":5} @5 a/1"#;

#[test]
fn field_merge() {
    let cases = [
        (LIVE, r#"9 b/1 PATCH {"label":"y"} was {"label":"x"}"#, "applied label=y"),
        (LIVE, r#"9 b/1 PATCH {"label":"y","touched":"@3"} was {"label":"x","touched":"@5"}"#, "applied label=y"),
        (
            LIVE,
            r#"9 b/1 PATCH {"label":"y","touched":"@3"} was {"label":"w","touched":"@1"}"#,
            "superseded ! label b/1 < a/1",
        ),
        (
            LIVE,
            r#"9 b/1 PATCH {"label":"y","touched":"@6"} was {"label":"w","touched":"@1"}"#,
            "applied label=y ! label a/1 < b/1",
        ),
        // The same instant: the greater client id.
        (LIVE, r#"9 b/1 PATCH {"label":"y","touched":"@5"} was {"label":"w"}"#, "applied label=y ! label a/1 < b/1"),
        (LIVE, r#"9 A/1 PATCH {"label":"y","touched":"@5"} was {"label":"w"}"#, "superseded ! label A/1 < a/1"),
        // The device's own earlier write counts as seen, whatever its clock says.
        (LIVE, r#"9 a/2 PATCH {"label":"y","touched":"@3"} was {"label":"w"}"#, "applied label=y"),
        // The row already holds the new value: nothing is overridden.
        (LIVE, r#"9 b/1 PATCH {"label":"x","touched":"@3"} was {"label":"w"}"#, "applied"),
        // One column of two.
        (
            LIVE,
            r#"9 b/1 PATCH {"label":"y","state":"s","touched":"@3"} was {"label":"w","state":"new"}"#,
            "merged state=s ! label b/1 < a/1",
        ),
        (LIVE, r#"9 b/1 PATCH {"weight":7} was {"weight":5}"#, "applied weight=7"),
        (LIVE, r#"9 b/1 PATCH {"weight":7} was {"weight":3}"#, "merged weight=9"),
        (LIVE, r#"9 b/1 PATCH {"weight":2} was {"weight":null}"#, "merged weight=7"),
        (LIVE, r#"9 b/1 PATCH {"weight":null} was {"weight":3}"#, "merged weight=2"),
        (LIVE, r#"9 b/1 PATCH {"weight":0} was {"weight":6}"#, "rejected"),
        (LIVE, r#"9 b/1 PATCH {"weight":101} was {"weight":5}"#, "rejected"),
        (LIVE, r#"9 b/1 PATCH {"tags":"[\"u\"]"} was {"tags":"[]"}"#, r#"merged tags=["t","u"]"#),
        (LIVE, r#"9 b/1 PATCH {"tags":"[]"} was {"tags":"[\"t\",\"u\"]"}"#, "applied tags=[]"),
        // Another order is the same set.
        (LIVE, r#"9 b/1 PATCH {"tags":"[\"u\",\"t\"]"} was {"tags":"[\"t\"]"}"#, r#"applied tags=["u","t"]"#),
        // Equal members keep the text that is there.
        (
            r#"live {"label":"x","tags":"[\"t\",\"u\"]","touched":"@5"} @5 a/1"#,
            r#"9 b/1 PATCH {"tags":"[\"u\",\"t\"]"} was {"tags":"[\"t\",\"u\"]"}"#,
            "applied",
        ),
        (r#"live {"label":"x","touched":"@5"} @5 a/1"#, r#"9 b/1 PATCH {"tags":"[]"} was {"tags":null}"#, "applied"),
        // Not a set: by stamp.
        (LIVE, r#"9 b/1 PATCH {"tags":"{}","touched":"@3"} was {"tags":"[]"}"#, "superseded ! tags b/1 < a/1"),
        (LIVE, r#"9 b/1 PATCH {"tags":"{}","touched":"@6"} was {"tags":"[]"}"#, "applied tags={} ! tags a/1 < b/1"),
        // Without a base nothing counts as unchanged.
        (LIVE, r#"9 b/1 PATCH {"label":"y","touched":"@3"}"#, "superseded ! label b/1 < a/1"),
        (LIVE, r#"9 b/1 PATCH {}"#, "applied"),
        (
            LIVE,
            r#"9 b/1 PUT {"label":"y","weight":9,"touched":"@3"}"#,
            "merged weight=9 ! label b/1 < a/1 ! weight a/1 < b/1",
        ),
        (LIVE, r#"9 b/1 DELETE"#, "applied delete ! * a/1 < b/1"),
        (LIVE, r#"9 b/1 DELETE was {"label":"x","weight":5}"#, "applied delete"),
        (LIVE, r#"9 b/1 DELETE was {"label":"w","weight":4}"#, "applied delete ! * a/1 < b/1"),
        (LIVE, r#"9 a/2 DELETE was {"label":"w"}"#, "applied delete"),
        // A label cannot be NULL: the device had cleared it and was refused, so its base is unknown.
        (LIVE, r#"9 b/1 DELETE was {"label":null,"weight":5}"#, "applied delete ! * a/1 < b/1"),
        (LIVE, r#"9 a/2 DELETE was {"label":null,"weight":5}"#, "applied delete"),
        (DELETED, r#"9 b/1 PATCH {"label":"y","touched":"@8"} was {"label":"x"}"#, "superseded ! * b/1 < a/1"),
        (DELETED, r#"9 b/1 PUT {"label":"y","touched":"@3"}"#, "superseded ! * b/1 < a/1"),
        (DELETED, r#"9 b/1 PUT {"label":"y","touched":"@8"}"#, "applied label=y weight=0 state=new ! * a/1 < b/1"),
        (DELETED, r#"9 a/2 PUT {"label":"y","touched":"@3"}"#, "applied label=y weight=0 state=new"),
        (DELETED, r#"9 b/1 DELETE"#, "merged restamp"),
        ("absent", r#"9 b/1 PUT {"label":"y","weight":3}"#, "applied label=y weight=3 state=new"),
        ("absent", r#"9 b/1 PUT {"label":"y","weight":101}"#, "rejected"),
        ("absent", r#"9 b/1 PATCH {"label":"y"} was {"label":"x"}"#, "rejected"),
        ("absent", r#"9 b/1 DELETE"#, "merged"),
    ];
    for (target, op, expect) in cases {
        check(FieldMerge, target, op, expect);
    }
}

#[test]
fn row_latest() {
    let cases = [
        (LIVE, r#"9 b/1 PATCH {"label":"y","touched":"@4"} was {"label":"x"}"#, "superseded ! * b/1 < a/1"),
        (LIVE, r#"9 b/1 PATCH {"label":"y","touched":"@5"} was {"label":"x"}"#, "applied label=y"),
        (LIVE, r#"9 b/1 PATCH {"label":"y","touched":"@6"} was {"label":"w"}"#, "applied label=y ! label a/1 < b/1"),
        // Without a clock column: receive time.
        (LIVE, r#"9 b/1 PATCH {"weight":7} was {"weight":3}"#, "applied weight=7 ! weight a/1 < b/1"),
        (LIVE, r#"9 b/1 PATCH {"label":"x","touched":"@4"} was {"label":"w"}"#, "applied"),
        (LIVE, r#"9 b/1 PUT {"label":"y","touched":"@4"}"#, "superseded ! * b/1 < a/1"),
        (LIVE, r#"9 b/1 DELETE was {"label":"x"}"#, "applied delete"),
        // A row whose clock is ahead locks nobody out: clocks are capped at receive time.
        (LIVE, r#"4 b/1 PATCH {"label":"y","touched":"@4"} was {"label":"x"}"#, "applied label=y"),
        (LIVE, r#"4 b/1 PATCH {"label":"y","touched":"@3"} was {"label":"x"}"#, "superseded ! * b/1 < a/1"),
        (LIVE, r#"4 b/1 DELETE was {"label":"x"}"#, "applied delete"),
        // A group is one register: it is unchanged only if all of it is.
        (LIVE, r#"9 b/1 PATCH {"x":null,"touched":"@4"} was {"x":1.5,"y":null}"#, "applied"),
        (LIVE, r#"9 b/1 PATCH {"x":null,"touched":"@4"} was {"x":1.5,"y":2.5}"#, "superseded ! * b/1 < a/1"),
        (DELETED, r#"9 b/1 PATCH {"label":"y","touched":"@8"} was {"label":"x"}"#, "superseded ! * b/1 < a/1"),
    ];
    for (target, op, expect) in cases {
        check(RowLatest, target, op, expect);
    }
}

#[test]
fn version_check() {
    let cases = [
        (LIVE, r#"9 b/1 PATCH {"label":"y"} was {"label":"x","weight":5}"#, "applied label=y"),
        (LIVE, r#"9 b/1 PATCH {"label":"y"} was {"label":"x","weight":4}"#, "superseded ! * b/1 < a/1"),
        // Instants compare as instants, sets by their members.
        (LIVE, r#"9 b/1 PATCH {"label":"y"} was {"label":"x","touched":"2026-01-01 01:00:05+01"}"#, "applied label=y"),
        (LIVE, r#"9 b/1 PATCH {"label":"y"} was {"label":"x","tags":" [\"t\"]"}"#, "applied label=y"),
        (LIVE, r#"9 b/1 PUT {"label":"y"}"#, "superseded ! * b/1 < a/1"),
        (LIVE, r#"9 b/1 DELETE was {"label":"x"}"#, "applied delete"),
        (LIVE, r#"9 b/1 DELETE was {"label":"w"}"#, "superseded ! * b/1 < a/1"),
        // A value that the device itself left is not a change.
        (LIVE, r#"9 a/2 PATCH {"label":"y"} was {"label":"w"}"#, "applied label=y"),
        (LIVE, r#"9 a/2 DELETE was {"label":"w"}"#, "applied delete"),
        ("absent", r#"9 b/1 PUT {"label":"y"}"#, "applied label=y weight=0 state=new"),
    ];
    for (target, op, expect) in cases {
        check(VersionCheck, target, op, expect);
    }
}

#[test]
fn server_wins() {
    let cases = [
        (LIVE, r#"9 b/1 PATCH {"label":"y"} was {"label":"x"}"#, "applied label=y"),
        (
            LIVE,
            r#"9 b/1 PATCH {"label":"y","touched":"@8"} was {"label":"w","touched":"@1"}"#,
            "superseded ! label b/1 < a/1",
        ),
        (
            LIVE,
            r#"9 b/1 PATCH {"label":"y","weight":6} was {"label":"w","weight":5}"#,
            "merged weight=6 ! label b/1 < a/1",
        ),
        (LIVE, r#"9 b/1 PUT {"label":"y","weight":5}"#, "merged ! label b/1 < a/1"),
        (LIVE, r#"9 b/1 DELETE was {"label":"x"}"#, "applied delete"),
        (LIVE, r#"9 b/1 DELETE was {"label":"w"}"#, "superseded ! * b/1 < a/1"),
        (LIVE, r#"9 a/2 PATCH {"label":"y"} was {"label":"w"}"#, "applied label=y"),
        (LIVE, r#"9 a/2 DELETE was {"label":"w"}"#, "applied delete"),
    ];
    for (target, op, expect) in cases {
        check(ServerWins, target, op, expect);
    }
}

#[test]
fn arrival_order() {
    let cases = [
        (LIVE, r#"9 b/1 PATCH {"label":"y","touched":"@1"} was {"label":"w"}"#, "applied label=y"),
        (LIVE, r#"9 b/1 PUT {"label":"y"}"#, "applied label=y"),
        (LIVE, r#"9 b/1 DELETE"#, "applied delete"),
        ("absent", r#"9 b/1 PATCH {"label":"y"}"#, "applied"),
        ("absent", r#"9 b/1 DELETE"#, "applied"),
        ("absent", r#"9 b/1 PUT {"label":"y"}"#, "applied label=y weight=0 state=new"),
    ];
    for (target, op, expect) in cases {
        check(ArrivalOrder, target, op, expect);
    }
}

#[test]
fn names() {
    for kind in PolicyKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert!("last-write-wins".parse::<PolicyKind>().is_err());
}
