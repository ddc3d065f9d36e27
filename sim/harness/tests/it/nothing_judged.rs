//! What judged nothing, or not all, is never shown as valid: exit code 4, and the reports say why.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

/// Runs the program in a folder of its own; gives the exit code, its JSON and what the text summary says.
fn run(args: &[&str]) -> (Option<i32>, Json, String) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let out = folder.path().join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_syncstorm"))
        .arg("run")
        .args(args)
        .args(["--json", "--out"])
        .arg(&out)
        .output()
        .expect("the program starts");
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), json, read(&out, "summary.txt") + &read(&out, "junit.xml"))
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_run_without_all_checkers_does_not_say_that_the_claim_held() {
    // Under this policy the claim is broken; the one checker that is asked does not look at it.
    let args = ["same-field", "--policy", "arrival-order", "--plans", "4", "--checkers", "convergence"];
    let (code, json, reports) = run(&args);
    assert_eq!(code, Some(4), "{json:#}");
    assert_eq!(json["scenarios"][0]["verdict"], "unknown");
    assert_eq!(json["scenarios"][0]["claims"], serde_json::json!([]));
    assert!(reports.contains("leaves them out: durability, policy, exactly-once"), "{reports}");
    assert!(!reports.contains("claim held"), "{reports}");
    // What it finds is still a finding.
    let args = ["same-field", "--policy", "arrival-order", "--plans", "4", "--checkers", "durability", "--no-shrink"];
    assert_eq!(run(&args).0, Some(1));
}

#[test]
fn what_must_occur_is_judged_whichever_checkers_are_asked_for() {
    let (code, json, _) = run(&["lost-reply", "--plans", "1", "--first", "0", "--checkers", "protocol"]);
    assert_eq!((code, &json["scenarios"][0]["verdict"]), (Some(4), &Json::from("unknown")), "{json:#}");
}

#[test]
fn a_run_in_which_no_scenario_runs_is_not_judged() {
    let (code, json, reports) = run(&["containers-fail"]);
    assert_eq!(code, Some(4), "{json:#}");
    assert!(reports.contains("nothing was judged"), "{reports}");
}

#[test]
fn the_summary_says_which_claims_were_judged() {
    let (code, json, reports) = run(&["pomodoro-counter", "web-tab-close", "--plans", "8"]);
    assert_eq!(code, Some(0), "{json:#}");
    let claims = |name: &str| {
        let scenarios = json["scenarios"].as_array().expect("there are scenarios");
        scenarios.iter().find(|scenario| scenario["name"] == name).expect("it ran")["claims"].clone()
    };
    assert_eq!(claims("pomodoro-counter"), serde_json::json!(["counters-exact"]));
    assert_eq!(claims("web-tab-close"), serde_json::json!([]));
    assert!(reports.contains("2 scenarios valid, 1 claim held"), "{reports}");
    assert!(reports.contains("No claim of its own was judged"), "{reports}");
}
