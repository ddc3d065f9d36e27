//! A run for terminals: a table, then what failed, then the seed.

use sim_core::run::{FindingRun, Run, ScenarioRun};
use sim_core::verdict::Verdict;

pub use crate::explain::replay_command;
use crate::explain::{class_name, finding_name, findings_met, latency_note, latency_title, met_words, shrunk_size};
use crate::headline;
pub use crate::terminal::Colour;
use crate::terminal::{Align, Column, paint, table};
use crate::words::{count, counted, milliseconds, plain, verdict_name, visible};

/// A run for terminals, without colour codes.
#[must_use]
pub fn summary(run: &Run) -> String {
    summary_in(run, Colour::Plain)
}

/// A run for terminals.
#[must_use]
pub fn summary_in(run: &Run, colour: Colour) -> String {
    let columns = [
        Column::new("scenario", Align::Left),
        Column::new("verdict", Align::Left),
        Column::new("plans", Align::Right),
        Column::new("conflicts", Align::Right),
        Column::new("overridden", Align::Right),
        Column::new("p50", Align::Right),
        Column::new("p95", Align::Right),
    ];
    let rows: Vec<Vec<String>> = run.scenarios.iter().map(|scenario| row(run, scenario, colour)).collect();
    let mut text = table(&columns, &rows);
    if run.scenarios.iter().any(|scenario| scenario.latency_ms.is_some()) {
        text.push_str(&format!("\np50, p95: {} {}\n", latency_title(run), latency_note(run)));
    }
    for (number, finding) in (1..).zip(&run.findings) {
        self::finding(&mut text, run, number, finding, colour);
    }
    let is_unknown = |scenario: &&ScenarioRun| ran(scenario) && scenario.verdict == Verdict::Unknown;
    for scenario in run.scenarios.iter().filter(is_unknown) {
        text.push_str(&format!(
            "\n{}  {}\n",
            paint_verdict("could not be judged", Verdict::Unknown, colour),
            visible(&scenario.name)
        ));
        for why in &scenario.unknown {
            text.push_str(&format!("  {}\n", plain(why)));
        }
    }
    let not_owed: Vec<&ScenarioRun> = run.scenarios.iter().filter(|scenario| !scenario.not_owed.is_empty()).collect();
    if !not_owed.is_empty() {
        text.push_str(&format!("\nNot promised by {}, and so not judged:\n", visible(&run.policy)));
        for scenario in not_owed {
            text.push_str(&format!("  {}: {}\n", visible(&scenario.name), scenario.not_owed.join(", ")));
        }
    }
    let not_run: Vec<&ScenarioRun> = run.scenarios.iter().filter(|scenario| !ran(scenario)).collect();
    if !not_run.is_empty() {
        text.push_str("\nNot run in this world:\n");
        for scenario in not_run {
            let why = scenario.not_run.as_deref().unwrap_or_default();
            text.push_str(&format!("  {}: {}\n", visible(&scenario.name), plain(why)));
        }
    }
    text.push_str(&format!("\n{}\nseed {}\n", headline::sentence(run), visible(&run.seed)));
    text
}

fn ran(scenario: &ScenarioRun) -> bool {
    scenario.not_run.is_none()
}

fn row(run: &Run, scenario: &ScenarioRun, colour: Colour) -> Vec<String> {
    let name = visible(&scenario.name);
    if !ran(scenario) {
        let dash = || "-".to_owned();
        return vec![name, "not run".to_owned(), dash(), dash(), dash(), dash(), dash()];
    }
    let verdict = match scenario.class {
        Some(class) if scenario.verdict == Verdict::Invalid => {
            format!("{} ({})", verdict_name(scenario.verdict), class_name(class))
        }
        _ => match findings_met(run, &scenario.name) {
            0 => verdict_name(scenario.verdict).to_owned(),
            met => format!("{}, met {}", verdict_name(scenario.verdict), counted(met as u64, "finding", "findings")),
        },
    };
    let latency = |pick: fn(&sim_core::run::Percentiles) -> u64| {
        scenario.latency_ms.as_ref().map_or_else(|| "-".to_owned(), |latency| milliseconds(pick(latency)))
    };
    vec![
        name,
        paint_verdict(&verdict, scenario.verdict, colour),
        count(u64::from(scenario.plans)),
        count(scenario.conflicts),
        count(scenario.overridden.values().sum()),
        latency(|latency| latency.p50),
        latency(|latency| latency.p95),
    ]
}

/// A finding: whose claim it breaks, what is wrong, and how to see it again.
fn finding(text: &mut String, run: &Run, number: usize, finding: &FindingRun, colour: Colour) {
    let title = paint_verdict(&format!("finding {number}"), Verdict::Invalid, colour);
    let name = finding_name(finding);
    text.push_str(&format!("\n{title}  {name} ({})\n", class_name(finding.class)));
    for met in &finding.breaks {
        let Some(scenario) = run.scenarios.iter().find(|scenario| scenario.name == met.scenario) else { continue };
        let plans = counted(met.plans as u64, "plan", "plans");
        text.push_str(&format!(
            "  did not hold in {plans}: {}: {}\n",
            visible(&scenario.name),
            visible(&scenario.claim)
        ));
    }
    if !finding.met_in.is_empty() {
        text.push_str(&format!("  met, though it is no matter of theirs, in {}\n", met_words(&finding.met_in)));
    }
    for anomaly in &finding.anomalies {
        text.push_str(&format!(
            "  {}/{}: {}\n",
            visible(&anomaly.checker),
            visible(&anomaly.code),
            plain(&anomaly.what)
        ));
        text.push_str(&format!("    {}\n", plain(&anomaly.because)));
        for evidence in &anomaly.evidence {
            text.push_str(&format!("    - {}\n", plain(evidence)));
        }
        let convergence = if anomaly.passes_plain_convergence { "passed" } else { "failed" };
        text.push_str(&format!("    A plain convergence check would have {convergence}.\n"));
    }
    let shrunk = &finding.shrunk;
    text.push_str(&format!(
        "  the {} has {}, from {}\n  replay: {}\n",
        if shrunk.searched { "smallest plan found" } else { "plan shown" },
        shrunk_size(shrunk),
        visible(&finding.shown_from),
        replay_command(&shrunk.path)
    ));
}

fn paint_verdict(text: &str, verdict: Verdict, colour: Colour) -> String {
    let code = match verdict {
        Verdict::Valid => 32,
        Verdict::Unknown => 33,
        Verdict::Invalid => 31,
    };
    paint(text, code, colour)
}
