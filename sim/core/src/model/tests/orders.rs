//! What must not depend on the order of arrival, and what must hold whatever arrives.

use std::collections::BTreeSet;

use fixtures::{Row, Value};
use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use serde_json::json;

use super::judge;
use super::script::{app, play_with};
use crate::history::{History, What};
use crate::seed::{Rng, Seed};
use crate::verdict::Verdict;

/// Plays the uploads, each of a device of its own, in every order, and expects this row in the end.
fn in_every_order(seed: &str, uploads: [&str; 3], end: &str) {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let uploads: Vec<String> = order.iter().map(|at| format!("{} => ?", uploads[*at])).collect();
        play_with("field-merge", &format!("{seed}\n{}\n{end}", uploads.join("\n")));
    }
}

#[test]
fn concurrent_writes_end_alike_in_every_order() {
    // The greatest (clock, client) stays.
    in_every_order(
        r#"seed p1 {"label":"a"}"#,
        [
            r#"0@10 PATCH p1 {"label":"b"} old {"label":"a"}"#,
            r#"1@30 PATCH p1 {"label":"c"} old {"label":"a"}"#,
            r#"2@20 PATCH p1 {"label":"d"} old {"label":"a"}"#,
        ],
        r#"row p1 {"label":"c"}"#,
    );
    // Also when two wrote the same.
    in_every_order(
        r#"seed p1 {"label":"a"}"#,
        [
            r#"0@10 PATCH p1 {"label":"b"} old {"label":"a"}"#,
            r#"1@30 PATCH p1 {"label":"b"} old {"label":"a"}"#,
            r#"2@20 PATCH p1 {"label":"c"} old {"label":"a"}"#,
        ],
        r#"row p1 {"label":"b"}"#,
    );
    in_every_order(
        r#"seed p1 {"label":"a","x":0,"y":0}"#,
        [
            r#"0@10 PATCH p1 {"x":1} old {"x":0,"y":0}"#,
            r#"1@30 PATCH p1 {"y":2} old {"x":0,"y":0}"#,
            r#"2@20 PATCH p1 {"x":3,"y":3} old {"x":0,"y":0}"#,
        ],
        r#"row p1 {"x":0,"y":2}"#,
    );
    in_every_order(
        r#"seed p1 {"label":"a","waterings":2,"height":1}"#,
        [
            r#"0@10 PATCH p1 {"waterings":3,"height":4} old {"waterings":2,"height":1}"#,
            r#"1@30 PATCH p1 {"waterings":3,"height":2} old {"waterings":2,"height":1}"#,
            r#"2@20 PATCH p1 {"waterings":1,"height":3} old {"waterings":2,"height":1}"#,
        ],
        r#"row p1 {"waterings":3,"height":4}"#,
    );
    // A delete stays, and so does an edit where edits revive.
    in_every_order(
        r#"seed p1 {"label":"a"}"#,
        [
            r#"0@10 PATCH p1 {"label":"b"} old {"label":"a"}"#,
            r#"1@30 DELETE p1 old {"label":"a"}"#,
            r#"2@40 PATCH p1 {"kind":"d"} old {"kind":null}"#,
        ],
        "row p1 absent",
    );
    in_every_order(
        r#"seed n1 {"body":"a","colour":"red"}"#,
        [
            r#"0@10 PATCH n1 {"body":"b"} old {"body":"a"}"#,
            r#"1@30 DELETE n1 old {"body":"a","colour":"red"}"#,
            r#"2@40 PATCH n1 {"colour":"blue"} old {"colour":"red"}"#,
        ],
        r#"row n1 {"body":"b","colour":"blue"}"#,
    );
}

/// One random upload, with bases that may be stale.
fn upload(rng: &mut Rng, at: i64) -> String {
    let id = |rng: &mut Rng, table: char| format!("{table}{}", rng.random_range(1..4));
    let ops: Vec<String> = (0..rng.random_range(1..4))
        .map(|_| {
            let table = *['b', 'p', 'l', 'v', 'o', 'g', 'u', 'n'].choose(rng).expect("there are tables");
            let row = id(rng, table);
            let number = rng.random_range(0..3);
            let (bed, plant, leaf, option) = (id(rng, 'b'), id(rng, 'p'), id(rng, 'l'), id(rng, 'o'));
            let set = match table {
                'b' => json!({"name": format!("n{number}"), "parent_id": bed}),
                'p' => json!({"label": format!("l{number}"), "bed_id": bed, "waterings": number, "x": number}),
                'l' => json!({"plant_id": plant, "text": "t"}),
                'v' => json!({"leaf_id": leaf}),
                'o' => json!({"key": format!("k{number}"), "value": format!("v{at}")}),
                'g' => json!({"code": format!("c{number}"), "option_id": option}),
                'u' => json!({"on_now": number % 2, "speed": number}),
                _ => json!({"body": format!("b{number}"), "bed_id": bed}),
            };
            match rng.random_range(0..5) {
                0 | 1 => format!("PUT {row} {set}"),
                2 | 3 => format!("PATCH {row} {set} old {}", if number == 0 { json!({}) } else { set.clone() }),
                _ => format!("DELETE {row} old {set}"),
            }
        })
        .collect();
    let (device, skew) = (rng.random_range(0..3), rng.random_range(-20..20));
    format!("{device}@{}>{at} {} => ?", at + skew, ops.join(" ; "))
}

#[test]
fn integrity_holds_whatever_arrives() {
    for policy in ["field-merge", "row-latest", "version-check", "server-wins"] {
        for seed in 0..40 {
            let mut rng = Seed(seed).fork("uploads", &[]);
            let mut script: Vec<String> = (1..60).map(|step| upload(&mut rng, step * 10_000_000)).collect();
            script[..20].shuffle(&mut rng);
            let history = play_with(policy, &script.join("\n"));
            let finding = judge(&history);
            assert_eq!(finding.verdict, Verdict::Valid, "{finding:#?}");
            for commit in history.events.iter().filter_map(|event| match &event.what {
                What::Commit(commit) => Some(commit.seq),
                _ => None,
            }) {
                whole(&history, commit);
            }
        }
    }
}

/// The server's rows after a commit.
fn rows_after(history: &History, seq: u64) -> Vec<Option<Row>> {
    let mut rows = vec![None; history.rows.len()];
    for event in &history.events {
        let What::Commit(commit) = &event.what else { continue };
        if commit.seq > seq {
            break;
        }
        for change in &commit.changes {
            assert_eq!(rows[change.row as usize], change.before, "a refused transaction leaves nothing behind");
            rows[change.row as usize] = change.after.clone();
        }
    }
    rows
}

/// Recomputes from the rows alone what the model keeps look-up tables for.
fn whole(history: &History, seq: u64) {
    let rows = rows_after(history, seq);
    let policy = &app().policy;
    let of = |table: usize| {
        let named = history.rows.iter().zip(&rows).filter(move |(name, _)| name.table == table);
        named.filter_map(|(name, row)| Some((name.id.to_string(), row.as_ref()?)))
    };
    for reference in &policy.references {
        if reference.on_missing_parent == fixtures::OnMissingParent::Keep {
            continue;
        }
        for (id, row) in of(reference.table) {
            let Some(parent) = row[reference.column].as_text() else { continue };
            assert!(of(reference.parent).any(|(id, _)| id == parent), "commit {seq}: {id} names {parent}");
        }
    }
    for unique in &policy.uniques {
        let keys: Vec<&str> = of(unique.table).filter_map(|(_, row)| row[unique.columns[0]].as_text()).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "commit {seq}: {keys:?}");
    }
    for exclusive in &policy.exclusives {
        let running = of(exclusive.table).filter(|(_, row)| row[exclusive.running] == Value::Int(1)).count();
        assert!(running <= 1, "commit {seq}: {running} run");
    }
    for tree in &policy.trees {
        for (id, _) in of(tree.table) {
            let mut at = id.clone();
            for _ in 0..=history.rows.len() {
                let parent = of(tree.table).find(|(id, _)| *id == at).and_then(|(_, row)| row[tree.column].as_text());
                match parent {
                    Some(parent) => at = parent.to_owned(),
                    None => break,
                }
                assert_ne!(at, id, "commit {seq}: a cycle");
            }
        }
    }
}
