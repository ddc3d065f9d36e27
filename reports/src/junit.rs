//! The JUnit form of a run, for CI systems: one test case for each scenario.
//!
//! JUnit has no word for *could not be judged*: such a scenario is an error there, never a success.

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite, XmlString};
use sim_core::run::{AnomalyText, Run, ScenarioRun};
use sim_core::verdict::{Class, Verdict};

use crate::explain::{replay_command, what_judged};
use crate::words::{count, counted};

/// A JUnit report.
#[must_use]
pub fn render(run: &Run) -> String {
    let mut suite = TestSuite::new(format!("{} / {} / {}", run.app, run.policy, run.world));
    let properties = [
        ("seed", &run.seed),
        ("world", &run.world),
        ("app", &run.app),
        ("policy", &run.policy),
        ("commit", &run.commit),
    ];
    for (name, value) in properties {
        suite.add_property(Property::new(name, value.as_str()));
    }
    suite.add_test_cases(run.scenarios.iter().map(test_case));
    let mut report = Report::new("syncstorm");
    report.add_test_suite(suite);
    let mut text = report.to_string().unwrap_or_else(|error| {
        // Writing to memory fails only by our own mistake, and a report must not end a run.
        format!("<!-- {} -->", XmlString::new(error.to_string()).as_str().replace("--", "- -"))
    });
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn test_case(scenario: &ScenarioRun) -> TestCase {
    let mut case = TestCase::new(scenario.name.as_str(), status(scenario));
    case.set_classname("syncstorm");
    case.set_system_out(figures(scenario));
    case
}

fn status(scenario: &ScenarioRun) -> TestCaseStatus {
    if let Some(why) = &scenario.not_run {
        let mut skipped = TestCaseStatus::skipped();
        skipped.set_message(format!("not run: {why}"));
        return skipped;
    }
    match scenario.verdict {
        Verdict::Valid => TestCaseStatus::success(),
        Verdict::Unknown => {
            let mut error = TestCaseStatus::non_success(NonSuccessKind::Error);
            error.set_type("unknown");
            error.set_message(scenario.unknown.first().map_or("could not be judged", String::as_str));
            error.set_description(scenario.unknown.join("\n"));
            error
        }
        Verdict::Invalid => {
            let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failure.set_type(match scenario.class {
                Some(Class::Liveness) => "liveness",
                Some(Class::Latency) => "latency",
                Some(Class::Safety) | None => "safety",
            });
            failure.set_message(scenario.anomalies.first().map_or(scenario.claim.as_str(), |anomaly| &anomaly.what));
            failure.set_description(description(scenario));
            failure
        }
    }
}

fn description(scenario: &ScenarioRun) -> String {
    let mut lines = vec![
        format!("Claim: {}", scenario.claim),
        format!(
            "{} of {} failed.",
            count(u64::from(scenario.failed_plans)),
            counted(u64::from(scenario.plans), "plan", "plans")
        ),
    ];
    for anomaly in &scenario.anomalies {
        lines.push(String::new());
        lines.extend(anomaly_lines(anomaly));
    }
    if let Some(shrunk) = &scenario.shrunk {
        lines.push(String::new());
        lines.push(format!("Replay: {}", replay_command(&shrunk.path)));
    }
    lines.join("\n")
}

fn anomaly_lines(anomaly: &AnomalyText) -> Vec<String> {
    let mut lines = vec![format!("{}/{}: {}", anomaly.checker, anomaly.code, anomaly.what), anomaly.because.clone()];
    lines.extend(anomaly.evidence.iter().map(|evidence| format!("  {evidence}")));
    let convergence = if anomaly.passes_plain_convergence { "passed" } else { "failed" };
    lines.push(format!("A plain convergence check would have {convergence}."));
    lines
}

fn figures(scenario: &ScenarioRun) -> String {
    let overridden: Vec<String> =
        scenario.overridden.iter().map(|(rule, writes)| format!("{rule} {}", count(*writes))).collect();
    format!(
        "{}\n{}\nplans {}, concurrent writes {}, overridden by rule: {}",
        scenario.claim,
        what_judged(scenario),
        count(u64::from(scenario.plans)),
        count(scenario.conflicts),
        if overridden.is_empty() { "none".to_owned() } else { overridden.join(", ") }
    )
}
