//! The JUnit form of a run, for CI systems: one test case for each scenario.
//!
//! JUnit has no word for *could not be judged*: such a scenario is an error there, never a success.

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite, XmlString};
use sim_core::run::{AnomalyText, FindingRun, Run, ScenarioRun};
use sim_core::verdict::{Class, Verdict};

use crate::explain::{class_name, finding_name, findings_that_break, met_words, replay_command, what_judged};
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
    suite.add_test_cases(run.scenarios.iter().map(|scenario| test_case(run, scenario)));
    // What breaks no scenario's claim fails by itself.
    suite.add_test_cases(run.findings.iter().filter(|finding| finding.breaks.is_empty()).map(finding_case));
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

fn test_case(run: &Run, scenario: &ScenarioRun) -> TestCase {
    let mut case = TestCase::new(scenario.name.as_str(), status(run, scenario));
    case.set_classname("syncstorm");
    case.set_system_out(figures(scenario));
    case
}

fn finding_case(finding: &FindingRun) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(class_name(finding.class));
    let name = finding_name(finding);
    status.set_message(finding.anomalies.first().map_or(name.as_str(), |anomaly| &anomaly.what));
    let mut lines = vec![format!("Met, though it is no matter of theirs, in {}.", met_words(&finding.met_in))];
    lines.extend(finding_lines(finding));
    status.set_description(lines.join("\n"));
    let mut case = TestCase::new(format!("finding {name}"), status);
    case.set_classname("syncstorm");
    case
}

fn status(run: &Run, scenario: &ScenarioRun) -> TestCaseStatus {
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
            failure.set_type(class_name(scenario.class.unwrap_or(Class::Safety)));
            let findings = findings_that_break(run, &scenario.name);
            let first = findings.iter().flat_map(|(_, finding)| &finding.anomalies).next();
            failure.set_message(first.map_or(scenario.claim.as_str(), |anomaly| &anomaly.what));
            failure.set_description(description(scenario, &findings));
            failure
        }
    }
}

fn description(scenario: &ScenarioRun, findings: &[(usize, &FindingRun)]) -> String {
    let mut lines = vec![
        format!("Claim: {}", scenario.claim),
        format!(
            "{} of {} failed.",
            count(u64::from(scenario.failed_plans)),
            counted(u64::from(scenario.plans), "plan", "plans")
        ),
    ];
    for (number, finding) in findings {
        lines.push(String::new());
        lines.push(format!("Finding {number}: {}", finding_name(finding)));
        lines.extend(finding_lines(finding));
    }
    lines.join("\n")
}

fn finding_lines(finding: &FindingRun) -> Vec<String> {
    let mut lines = Vec::new();
    for anomaly in &finding.anomalies {
        lines.push(String::new());
        lines.extend(anomaly_lines(anomaly));
    }
    lines.push(String::new());
    lines.push(format!("Replay: {}", replay_command(&finding.shrunk.path)));
    lines
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
