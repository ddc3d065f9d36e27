//! Once-only effect: repeats, restored copies, retention, and random batches sent twice.

use backend::wire::{Outcome, TransactionOutcome, WireOp};
use backend::{PolicyKind, StoreError};
use proptest::prelude::*;
use serde_json::json;

use crate::script::{ScriptRunner, Step, members};

const DAY_S: i64 = 86_400;

#[test]
fn a_repeat_gets_the_first_answer_whatever_happened_since() {
    let script = [
        r#"1 a PUT boxes b1 {"label":"x","weight":5,"touched":"@1"}"#,
        r#"2 b PATCH boxes b1 {"label":"B","weight":7,"touched":"@2"} was {"label":"x","weight":5}"#,
        r#"3 a PATCH boxes b1 {"label":"A","weight":6,"touched":"@1"} was {"label":"x","weight":5}"#,
        r#"4 b DELETE boxes b1 was {"label":"B"}"#,
        r#"5 c PUT boxes b1 {"label":"anew","touched":"@5"}"#,
        r#"6 a PATCH boxes b9 {"label":"refused"} was {"label":"x"}"#,
    ];
    let mut runner = ScriptRunner::new(PolicyKind::FieldMerge);
    let steps: Vec<Step> = script.iter().map(|line| runner.step(line)).collect();
    let first: Vec<_> = steps.iter().map(|step| runner.upload(step).expect("answered")).collect();
    let (rows, records, last) = (runner.rows(), runner.records(), runner.store.last_seq());
    for (step, first) in steps.iter().zip(&first).rev() {
        let again = runner.upload(step).expect("answered");
        assert_eq!(again.transactions[0].ops, first.transactions[0].ops);
        assert_eq!(again.transactions[0].outcome, first.transactions[0].outcome);
    }
    assert_eq!((runner.rows(), runner.records(), runner.store.last_seq()), (rows, records, last));
    assert_eq!(last, 6, "the refused transaction has a commit too: its answer is remembered");
}

#[test]
fn operations_known_from_before_are_not_applied_twice() {
    let mut runner = ScriptRunner::new(PolicyKind::FieldMerge);
    runner.run(
        r#"1 a PUT boxes b1 {"label":"x","weight":5,"touched":"@1"}

           2 a#2 PATCH boxes b1 {"weight":6} was {"weight":5}"#,
    );
    let output = runner.run(
        r#"3 a#2 PATCH boxes b1 {"weight":6} was {"weight":5}
           3 a#3 PATCH boxes b1 {"weight":7} was {"weight":6}"#,
    );
    assert_eq!(
        (output.as_str(), runner.rows().as_str()),
        ("a/2 applied\na/3 applied\n", "boxes b1 label=x weight=7 state=new\n")
    );
}

#[test]
fn a_restored_copy_opens_an_epoch_and_its_answers_say_so() {
    let mut runner = ScriptRunner::new(PolicyKind::FieldMerge);
    runner.run(
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}

           2 a PATCH boxes b1 {"label":"y","touched":"@2"} was {"label":"x"}"#,
    );
    let script = r#"3 a#2 PATCH boxes b1 {"label":"z","touched":"@3"} was {"label":"x"}"#;
    let output = runner.run(script);
    assert!(output.starts_with("a/2 applied restored-copy: "), "{output}");
    assert_eq!(runner.run(script), output, "sent again, it gets the first answer");
    assert_eq!(runner.rows(), "boxes b1 label=z weight=0 state=new\n");
    let output = runner.run(r#"4 a#3 PATCH boxes b1 {"state":"s"} was {"state":"new"}"#);
    assert_eq!(output, "a/3 applied\n", "new operations need no explanation");
    let epochs: Vec<u32> =
        runner.store.commits_from(1).iter().flat_map(|commit| commit.ledger.iter().map(|entry| entry.epoch)).collect();
    assert_eq!(epochs, [1, 1, 2, 2]);
}

#[test]
fn an_operation_older_than_retention_is_rejected() {
    let mut runner = ScriptRunner::new(PolicyKind::FieldMerge);
    let steps = [
        r#"1 a PUT boxes b1 {"label":"x","touched":"@1"}"#.to_owned(),
        r#"2 a DELETE boxes b1 was {"label":"x"}"#.to_owned(),
    ]
    .map(|line| runner.step(&line));
    for step in &steps {
        runner.upload(step).expect("answered");
    }
    let within = Step { at_s: 30 * DAY_S, ..steps[0].clone() };
    assert_eq!(runner.upload(&within).expect("answered").transactions[0].ops[0].outcome, Outcome::Applied);
    let after = Step { at_s: 31 * DAY_S, ..steps[0].clone() };
    let answer = runner.upload(&after).expect("answered");
    let op = &answer.transactions[0].ops[0];
    assert_eq!((op.outcome, answer.transactions[0].outcome), (Outcome::Rejected, TransactionOutcome::Refused));
    assert!(op.reason.as_ref().is_some_and(|reason| reason.starts_with("older-than-retention: ")));
    // The tombstone is removed too: an edit now names an unknown row.
    let output = runner.run(&format!(r#"{} b PATCH boxes b1 {{"label":"y"}} was {{"label":"x"}}"#, 31 * DAY_S));
    assert_eq!(output, "b/1 rejected no-such-row\n");
}

/// One operation on few rows, so that batches conflict.
fn op() -> impl Strategy<Value = (&'static str, &'static str, String, serde_json::Value, Option<serde_json::Value>)> {
    let id = |prefix: &'static str| (0..3u8).prop_map(move |n| format!("{prefix}{n}"));
    let boxes = (
        prop_oneof![Just("PUT"), Just("PATCH"), Just("DELETE")],
        id("b"),
        (0..4u8, 0..60i64, 0..20i64, prop::option::of(id("b")), prop::option::of(id("s"))),
        prop::option::of((0..4u8, 0..60i64)),
    )
        .prop_map(|(op, id, (label, weight, touched, inside, shelf), old)| {
            let data = json!({
                "label": format!("l{label}"), "weight": weight, "inside": inside, "shelf": shelf,
                "tags": json!([format!("t{label}")]).to_string(), "touched": format!("@{touched}"),
            });
            let old = old.map(|(label, weight)| json!({"label": format!("l{label}"), "weight": weight, "tags": "[]"}));
            (op, "boxes", id, data, old)
        });
    let knobs = (prop_oneof![Just("PUT"), Just("PATCH"), Just("DELETE")], id("k"), 0..2u8, 0..20i64).prop_map(
        |(op, id, key, touched)| {
            (op, "knobs", id, json!({"key": format!("key{key}"), "touched": format!("@{touched}")}), None)
        },
    );
    let belts =
        (prop_oneof![Just("PUT"), Just("PATCH")], id("r"), 0..2i64, 0..20i64).prop_map(|(op, id, running, touched)| {
            let old = (op == "PATCH").then(|| json!({"running": 1 - running}));
            (op, "belts", id, json!({"running": running, "beat": format!("@{touched}")}), old)
        });
    let shelves = (prop_oneof![Just("PUT"), Just("DELETE")], id("s"))
        .prop_map(|(op, id)| (op, "shelves", id, json!({"name": "s"}), None));
    let stickers = (prop_oneof![Just("PUT"), Just("DELETE")], id("t"), id("b"))
        .prop_map(|(op, id, parent)| (op, "stickers", id, json!({"box": parent, "words": "w"}), None));
    prop_oneof![4 => boxes, 2 => knobs, 2 => belts, 1 => shelves, 1 => stickers]
}

fn batches() -> impl Strategy<Value = Vec<Step>> {
    let transaction = (0..3u8, prop::collection::vec(op(), 1..5));
    prop::collection::vec(transaction, 1..14).prop_map(|transactions| {
        let mut next = [1i64; 3];
        let steps = transactions.into_iter().enumerate().map(|(at, (client, ops))| Step {
            at_s: 5 + i64::try_from(at).expect("few transactions") * 20,
            client: format!("c{client}"),
            ops: ops
                .into_iter()
                .map(|(op, table, id, data, old)| {
                    let op_id = next[usize::from(client)];
                    next[usize::from(client)] += 1;
                    let data = (op != "DELETE").then(|| members(&data.to_string()));
                    let old = old.map(|old| members(&old.to_string()));
                    WireOp { op_id, op: op.to_owned(), table: table.to_owned(), id, data, old }
                })
                .collect(),
        });
        steps.collect()
    })
}

/// What must hold after every commit.
fn invariants(runner: &ScriptRunner) -> Result<(), TestCaseError> {
    let snapshot = runner.store.snapshot();
    let ids = |table: usize| snapshot[table].iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    let text = |value: &fixtures::Value| value.as_text().map(str::to_owned);
    let (boxes, shelves) = (ids(0), ids(1));
    let (inside, shelf) = (6, 5);
    for (id, row) in &snapshot[0] {
        if let Some(parent) = text(&row[shelf]) {
            prop_assert!(shelves.iter().any(|id| **id == *parent), "the shelf of {id} is missing");
        }
        let mut above = text(&row[inside]);
        for _ in 0..=boxes.len() {
            let Some(parent) = above else { break };
            prop_assert!(*parent != **id, "{id} is inside itself");
            let row = snapshot[0].iter().find(|(id, _)| **id == *parent);
            prop_assert!(row.is_some(), "the box around {id} is missing");
            above = row.and_then(|(_, row)| text(&row[inside]));
        }
        let weight = row[1].as_int().unwrap_or(0);
        prop_assert!((0..=100).contains(&weight), "{id} weighs {weight}");
    }
    for (id, row) in &snapshot[2] {
        let parent = text(&row[0]).expect("a sticker has a box");
        prop_assert!(boxes.iter().any(|id| **id == *parent), "{id} is an orphan");
    }
    let running = snapshot[4].iter().filter(|(_, row)| row[0] == fixtures::Value::Int(1)).count();
    prop_assert!(running <= 1, "{running} belts run");
    let mut keys: Vec<String> = snapshot[3].iter().filter_map(|(_, row)| text(&row[0])).collect();
    keys.sort();
    let all = keys.len();
    keys.dedup();
    prop_assert_eq!(keys.len(), all, "a key occurs twice");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    /// Under every policy but the baseline, a batch that is sent twice gets the same answers and has no second effect,
    /// refused transactions change no row, and invariants hold.
    #[test]
    fn batches_sent_twice(steps in batches(), kind in 0..4usize) {
        let kind = PolicyKind::ALL[kind];
        let mut runner = ScriptRunner::new(kind);
        let mut answers = Vec::new();
        for step in &steps {
            let before = runner.rows();
            let answer = runner.upload(step).map_err(|error: StoreError| TestCaseError::fail(error.to_string()))?;
            let transaction = &answer.transactions[0];
            if transaction.outcome == TransactionOutcome::Refused {
                prop_assert_eq!(&before, &runner.rows());
                let commits = runner.store.commits_from(runner.store.last_seq());
                prop_assert!(commits[0].changes.is_empty() && commits[0].conflicts.is_empty());
                prop_assert!(transaction.ops.iter().any(|op| op.outcome == Outcome::Rejected));
            }
            invariants(&runner)?;
            // At once, and again after all other batches.
            let again = runner.upload(step).expect("answered");
            prop_assert_eq!(&again.transactions[0].ops, &transaction.ops);
            answers.push(answer);
        }
        let (rows, records, last) = (runner.rows(), runner.records(), runner.store.last_seq());
        prop_assert_eq!(last, steps.len() as u64);
        for (step, answer) in steps.iter().zip(&answers) {
            let again = runner.upload(step).expect("answered");
            prop_assert_eq!(&again.transactions[0].ops, &answer.transactions[0].ops);
        }
        prop_assert_eq!((runner.rows(), runner.records(), runner.store.last_seq()), (rows, records, last));
        replayed_feed(&runner)?;
    }
}

/// The change feed, applied to nothing, gives the rows.
fn replayed_feed(runner: &ScriptRunner) -> Result<(), TestCaseError> {
    let mut tables: Vec<std::collections::BTreeMap<std::sync::Arc<str>, fixtures::Row>> =
        vec![std::collections::BTreeMap::new(); runner.rules.tables.len()];
    for (seq, commit) in (1..).zip(runner.store.commits_from(1)) {
        prop_assert_eq!(commit.seq, seq);
        for change in &commit.changes {
            let before = match &change.after {
                Some(after) => tables[change.table].insert(change.id.clone(), after.clone()),
                None => tables[change.table].remove(&change.id),
            };
            prop_assert_eq!(&before, &change.before);
            prop_assert!(change.before.is_some() || change.after.is_some());
        }
    }
    let rows: Vec<Vec<_>> = tables.into_iter().map(|table| table.into_iter().collect()).collect();
    prop_assert_eq!(rows, runner.store.snapshot());
    Ok(())
}
