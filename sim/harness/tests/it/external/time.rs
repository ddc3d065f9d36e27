//! A stack that takes its time is judged as a fast one is.

use std::process::Output;
use std::time::{Duration, Instant};

use super::relay::{self, Lines};
use super::rig::{Endpoint, Rig};
use super::{told, with, with_late_slot};

/// Runs the scenarios behind a relay.
async fn behind(rig: &Rig, lines: Lines, further: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = relay::of_streams(rig.service, lines).await;
    rig.command_at(port, folder.path(), further).output().expect("the program starts")
}

fn assert_holds(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("the harness failed"), "{errors}");
    for scenario in told(output)["scenarios"].as_array().expect("scenarios") {
        let is_vacuous = |why: &serde_json::Value| why.as_str().is_some_and(|why| why.starts_with("vacuous"));
        let holds = scenario["verdict"] == "valid"
            || scenario["unknown"].as_array().is_some_and(|why| !why.is_empty() && why.iter().all(is_vacuous));
        assert!(holds, "{scenario:#} {errors}");
    }
}

#[test]
fn a_service_whose_lines_come_slowly_is_waited_for() {
    with(Endpoint::Own { annotates: true }, async |rig| {
        for (delay, scenario) in [(150, "same-field"), (400, "lost-reply")] {
            let lines = Lines { delay: Duration::from_millis(delay), ..Lines::default() };
            assert_holds(&behind(rig, lines, &[scenario, "--plans", "1"]).await);
        }
    });
}

/// Devices receive what is committed long before the service confirms its slot, and that is enough.
#[test]
fn a_slot_that_is_confirmed_late_holds_no_plan_up() {
    let run = async |rig: &Rig| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let began = Instant::now();
        let output = rig.run(folder.path(), &["same-field", "--plans", "2"]);
        assert_holds(&output);
        began.elapsed()
    };
    let usual = with(Endpoint::Own { annotates: true }, run);
    let late = with_late_slot(Duration::from_secs(2), run);
    assert!(late < 3 * usual + Duration::from_secs(6), "{late:?} instead of {usual:?}");
}

#[test]
fn a_service_that_never_delivers_the_seed_rows_is_found_stuck() {
    with(Endpoint::Own { annotates: true }, async |rig| {
        let lines = Lines { without_rows: true, ..Lines::default() };
        let output = behind(rig, lines, &["same-field", "--plans", "1"]).await;
        let (told, errors) = (told(&output), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(output.status.code(), Some(2), "{errors} {told:#}");
        let scenario = &told["scenarios"][0];
        assert_eq!((&scenario["verdict"], &scenario["class"]), (&"invalid".into(), &"liveness".into()), "{scenario:#}");
    });
}
