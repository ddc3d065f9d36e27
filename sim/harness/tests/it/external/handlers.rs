//! Handlers with the commonest defects, beside somebody else who writes: each is told for what it is.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;

use super::baseline::Manner;
use super::rig::{Endpoint, Rig};
use super::server_made::{UNCHANGED, app};
use super::verdicts::findings;
use super::{told, with};

/// One device writes, in transactions of several rows, so that no conflict is in the way.
const ONE_WRITES: &str = r#"
claim = "What one device writes stays."
app = "flowstate"
devices = [{ kind = "tauri", count = 2 }]
seed = [{ table = "tasks", rows = 4 }]
[[mix]]
by = "first"
activities = { complete-task = 1, log-pomodoro = 1, edit-title = 1 }
transactions = 8
for_s = 20
"#;
/// Both write.
const BOTH_WRITE: &str = r#"
claim = "What is written stays."
app = "flowstate"
devices = [{ kind = "tauri", count = 2 }]
seed = [{ table = "tasks", rows = 4 }]
[[mix]]
by = "all"
activities = { edit-title = 1 }
transactions = 10
for_s = 20
"#;
/// Somebody writes a task of the plan.
const ONE_TASK: &str = "UPDATE tasks SET description = 'by somebody else at ' || clock_timestamp() \
                        WHERE id = (SELECT min(id) FROM tasks)";
/// Somebody writes rows of their own.
const OTHER_ROWS: &str = "INSERT INTO tasks (id, title) VALUES ('other-1', 'theirs') ON CONFLICT (id) \
                          DO UPDATE SET title = 'theirs at ' || clock_timestamp()";

struct Judged {
    verdict: String,
    unknown: String,
    findings: BTreeSet<String>,
    code: Option<i32>,
}

impl Judged {
    fn has(&self, begins: &str) -> bool {
        self.findings.iter().any(|finding| finding.starts_with(begins))
    }
}

/// Judges a handler by one plan of a scenario, while somebody else writes.
fn judged(manner: Manner, scenario: &str, others: Option<&str>) -> Judged {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = app(folder.path(), "", UNCHANGED, scenario).display().to_string();
    let output = with(Endpoint::Handler(manner), async |rig: &Rig| {
        let mut command = rig.command(&folder.path().join("report"), &["own", "--plans", "1", "--app", &app]);
        let run = std::thread::spawn(move || command.output().expect("the program starts"));
        while !run.is_finished() {
            if let Some(statement) = others {
                rig.sql(statement).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        run.join().expect("it ended")
    });
    let told = told(&output);
    let scenario = &told["scenarios"][0];
    Judged {
        verdict: scenario["verdict"].as_str().unwrap_or_default().to_owned(),
        unknown: Json::to_string(&scenario["unknown"]),
        findings: findings(&told).remove("own").expect("it ran"),
        code: output.status.code(),
    }
}

#[test]
fn a_busy_database_takes_no_verdict_from_what_is_sound() {
    let judged = judged(Manner::Plain, ONE_WRITES, Some(OTHER_ROWS));
    assert_eq!((judged.verdict.as_str(), judged.unknown.as_str()), ("valid", "[]"), "{:#?}", judged.findings);
    assert_eq!(judged.code, Some(0));
}

#[test]
fn a_handler_without_a_transaction_is_told_beside_others() {
    for others in [None, Some(ONE_TASK)] {
        let judged = judged(Manner::WithoutTransaction, ONE_WRITES, others);
        assert_eq!((judged.verdict.as_str(), judged.code), ("invalid", Some(1)), "{}", judged.unknown);
        let told = &judged.findings;
        assert!(judged.has("atomicity split-transaction"), "{told:#?} {}", judged.unknown);
        // Each operation is done, and done once.
        assert!(!judged.has("durability") && !judged.has("exactly-once"), "{told:#?}");
    }
}

#[test]
fn a_handler_that_counts_twice_in_one_request_is_told() {
    let judged = judged(Manner::CountsTwice, ONE_WRITES, Some(OTHER_ROWS));
    assert!(judged.has("exactly-once applied-twice tasks"), "{:#?} {}", judged.findings, judged.unknown);
    assert_eq!((judged.verdict.as_str(), judged.code), ("invalid", Some(1)));
}

#[test]
fn a_queue_that_is_stuck_on_one_row_is_told_while_others_write() {
    let judged = judged(Manner::FailsOnOneRow, BOTH_WRITE, Some(OTHER_ROWS));
    assert!(judged.has("progress stuck-queue"), "{:#?} {}", judged.findings, judged.unknown);
    assert_eq!(judged.verdict, "invalid");
}

#[test]
fn a_handler_that_stores_something_else_is_told() {
    let judged = judged(Manner::CutsTexts, ONE_WRITES, Some(OTHER_ROWS));
    assert!(judged.has("durability lost-update tasks.title"), "{:#?} {}", judged.findings, judged.unknown);
    assert_eq!((judged.verdict.as_str(), judged.code), ("invalid", Some(1)));
}
