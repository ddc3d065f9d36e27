//! What plans come to in a stack that somebody else runs.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use super::baseline::Manner;
use super::rig::{Endpoint, Rig};
use super::{told, with};

/// How the plans of each scenario fail: checker, code and role.
pub(super) fn findings(told: &Json) -> BTreeMap<String, BTreeSet<String>> {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let scenarios = told["scenarios"].as_array().expect("scenarios");
    let of = |scenario: &Json| {
        let failures = scenario["failures"].as_array().into_iter().flatten();
        failures.map(|failure| ["checker", "code", "role"].map(|part| text(&failure[part])).join(" ")).collect()
    };
    scenarios.iter().map(|scenario| (text(&scenario["name"]), of(scenario))).collect()
}

/// What the baseline does wrong is found through the world that knows nothing of it, as in the one that is made for it.
#[test]
fn the_baseline_is_judged_alike() {
    let scenarios = [
        "same-field",
        "edit-meets-delete",
        "save-whole-row",
        "create-same-setting",
        "pomodoro-counter",
        "timer-leader",
        "tag-sets",
        "reparent-cycle",
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let further = [&scenarios[..], &["--plans", "1"]].concat();
    let output = with(Endpoint::Handler(Manner::Plain), async |rig| {
        let output = rig.run(&folder.path().join("external"), &further);
        assert_eq!(rig.rows().await, 0, "rows are left behind: {output:?}");
        output
    });
    let there = Command::new(env!("CARGO_BIN_EXE_syncstorm"))
        .args(["run", "--policy", "arrival-order", "--no-shrink", "--json", "--out"])
        .arg(folder.path().join("deterministic"))
        .args(&further)
        .output()
        .expect("the program starts");
    // Each handler words its failures in its own way, and this one says nothing.
    let without_words = |told: &Json| -> BTreeMap<String, BTreeSet<String>> {
        let cut = |finding: String| match finding.split_once(" stuck-queue ") {
            Some((checker, _)) => format!("{checker} stuck-queue"),
            None => finding,
        };
        findings(told).into_iter().map(|(name, found)| (name, found.into_iter().map(cut).collect())).collect()
    };
    let (here, there) = (without_words(&told(&output)), without_words(&told(&there)));
    assert_eq!(here, there, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
}

/// Where each operation is a request, transactions come apart, and edits go by arrival; who promises no policy is held to
/// the declared rules all the same.
#[test]
fn postgrest_is_judged_by_the_declared_rules() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = with(Endpoint::Postgrest, async |rig| {
        let output = rig.run(folder.path(), &["same-field", "complete-task", "--plans", "1"]);
        assert_eq!(rig.rows().await, 0, "rows are left behind: {output:?}");
        output
    });
    let told = told(&output);
    assert_eq!((output.status.code(), &told["policy"]), (Some(1), &Json::from("none")));
    let found = findings(&told);
    let has = |scenario: &str, begins: &str| found[scenario].iter().any(|finding| finding.starts_with(begins));
    assert!(has("same-field", "durability wrong-winner") && has("complete-task", "atomicity"), "{found:#?}");
    assert!(!found.values().flatten().any(|finding| finding.starts_with("policy")), "{found:#?}");
}

/// Plans hold against our own backend; others' rows stay as they are, and so do their writes meanwhile.
#[test]
fn plans_hold_beside_others() {
    with(Endpoint::Own { annotates: true }, async |rig| {
        let others: Vec<String> = (0..20)
            .map(|number| format!("INSERT INTO tasks (id, title) VALUES ('other-{number}', 'theirs');"))
            .collect();
        rig.sql(&others.concat()).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let scenarios =
            ["same-field", "create-same-setting", "lost-reply", "server-writes", "restored-copy", "--plans", "1"];
        let mut command = rig.command(folder.path(), &scenarios);
        let run = std::thread::spawn(move || command.output().expect("the program starts"));
        let mut writes = 0;
        while !run.is_finished() {
            writes += 1;
            rig.sql(&format!("UPDATE tasks SET description = 'write {writes}' WHERE id LIKE 'other-%'")).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let output = run.join().expect("it ended");
        let told = told(&output);
        let errors = String::from_utf8_lossy(&output.stderr);
        for scenario in told["scenarios"].as_array().expect("scenarios") {
            let vacuous = |why: &Json| why.as_str().is_some_and(|why| why.starts_with("vacuous"));
            let holds = scenario["verdict"] == "valid"
                || scenario["unknown"].as_array().is_some_and(|why| !why.is_empty() && why.iter().all(vacuous));
            assert!(holds, "{scenario:#} {errors}");
            assert_eq!(scenario["plans"], 1, "{scenario:#} {errors}");
        }
        assert_eq!(told["policy"], "field-merge");
        assert!(writes > 5, "others wrote {writes} times");
        assert_eq!(rig.rows().await, 20, "what is there is what was there: {errors}");
    });
}

/// Without its notes nobody can tell what our own backend has merged into what: that is told, and nothing judged.
#[test]
fn a_backend_without_notes_is_told_what_it_needs() {
    let (output, rows) = with(Endpoint::Own { annotates: false }, async |rig: &Rig| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = rig.run(folder.path(), &["create-same-setting", "--plans", "1"]);
        (output, rig.rows().await)
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("start it with --annotate-commits"), "{errors}");
    assert_eq!((output.status.code(), rows), (Some(70), 0));
}

/// Whoever else writes a row of the plan takes the verdict from it.
#[test]
fn a_foreign_writer_is_told_of() {
    let output = with(Endpoint::Own { annotates: true }, async |rig| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = rig.command(folder.path(), &["same-field", "--plans", "1"]);
        let run = std::thread::spawn(move || command.output().expect("the program starts"));
        while !run.is_finished() {
            rig.sql("UPDATE tasks SET description = 'by somebody else' WHERE title IS NOT NULL").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run.join().expect("it ended")
    });
    let told = told(&output);
    let scenario = &told["scenarios"][0];
    assert_eq!(scenario["verdict"], "unknown", "{scenario:#}");
    let why = scenario["unknown"].to_string();
    assert!(why.contains("Somebody else wrote tasks#"), "{why}");
    assert_eq!(output.status.code(), Some(4));
}

/// What a guest may not do is not tried.
#[test]
fn scenarios_that_touch_servers_do_not_run() {
    let (output, rows) = with(Endpoint::Own { annotates: true }, async |rig: &Rig| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = rig.run(folder.path(), &["backend-killed", "key-rotation", "containers-fail"]);
        (output, rig.rows().await)
    });
    let told = told(&output);
    let reasons: Vec<&str> =
        told["scenarios"].as_array().expect("scenarios").iter().filter_map(|one| one["not_run"].as_str()).collect();
    assert_eq!(reasons, ["backend-killed", "key-rotated", "it is for containers"]);
    assert_eq!((output.status.code(), rows), (Some(4), 0), "nothing was judged");
}
