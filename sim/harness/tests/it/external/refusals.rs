//! Handlers that accept nothing, or not again what they should.

use serde_json::Value as Json;

use super::baseline::Manner;
use super::rig::Endpoint;
use super::verdicts::findings;
use super::{told, with};

fn run(manner: Manner, further: &[&str]) -> (Json, Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = with(Endpoint::Handler(manner), async |rig| rig.run(folder.path(), further));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (told(&output), output.status.code(), errors)
}

/// Its client gives up after each refusal, so that every queue drains and nothing ever happens.
#[test]
fn a_handler_that_refuses_everything_proves_nothing() {
    let (told, code, errors) = run(Manner::Refuses, &["different-fields", "--plans", "1"]);
    let scenario = &told["scenarios"][0];
    assert_eq!(scenario["verdict"], "unknown", "{scenario:#} {errors}");
    let why = scenario["unknown"].to_string();
    assert!(why.contains("transactions that were answered were refused"), "{why}");
    let occurred = |name: &str| scenario["occurred"][name].as_u64().unwrap_or_default();
    assert!(occurred("refused") > 0 && occurred("refused") == occurred("finished"), "{scenario:#}");
    assert_eq!(code, Some(4), "{errors}");
}

/// Its client tries again whatever the status is, for ever.
#[test]
fn a_413_that_the_client_tries_again_is_a_stuck_queue() {
    let (told, code, errors) = run(Manner::FindsTooLarge, &["different-fields", "--plans", "1"]);
    let found = findings(&told);
    assert!(found["different-fields"].iter().any(|finding| finding.starts_with("progress")), "{found:#?} {errors}");
    assert_eq!(code, Some(2), "{errors}");
}

/// What a lost reply repeats undoes what another device wrote to the row in between: met without naming how many plans.
#[test]
fn an_insert_that_is_done_again_over_another_devices_edit_is_found() {
    let (told, code, errors) = run(Manner::RepeatsInserts, &["lost-reply"]);
    let found = findings(&told);
    assert!(found["lost-reply"].iter().any(|finding| finding.starts_with("exactly-once applied-twice")), "{found:#?}");
    assert_eq!(code, Some(1), "{errors}");
}
