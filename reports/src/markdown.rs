//! The findings of a run as a Markdown table, for pages and pull requests.

use sim_core::run::{FindingRun, MetIn, Run, ScenarioRun};

use crate::headline;
use crate::words::visible;

/// What a scenario claims that is about everything.
const EVERYTHING: &str = "every-checker";

/// One row for each finding that breaks the claim of a scenario, by the scenario that shows it best; then the run in one
/// sentence. Ends with a newline.
#[must_use]
pub fn findings(run: &Run) -> String {
    let mut text = String::new();
    let rows: Vec<String> = run.findings.iter().filter_map(|finding| row(run, finding)).collect();
    if !rows.is_empty() {
        text.push_str("| Scenario | Its claim, which does not hold | Finding | Do all devices agree in the end? |\n");
        text.push_str("|---|---|---|---|\n");
        text.push_str(&rows.concat());
        text.push('\n');
    }
    text.push_str(&cell(&headline::sentence(run)));
    text.push('\n');
    text
}

fn row(run: &Run, finding: &FindingRun) -> Option<String> {
    let named = |met: &MetIn| run.scenarios.iter().find(|scenario| scenario.name == met.scenario);
    let is_about_everything = |scenario: &ScenarioRun| scenario.claims.contains(&EVERYTHING);
    // One that is about just this comes first.
    let shows = finding.breaks.iter().filter_map(|met| Some((named(met)?, met.plans)));
    let (scenario, _) = shows.max_by_key(|(scenario, plans)| {
        (!is_about_everything(scenario), !scenario.claims.is_empty(), *plans, std::cmp::Reverse(&scenario.name))
    })?;
    let more = match finding.breaks.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let agree = finding.anomalies.first().is_some_and(|anomaly| anomaly.passes_plain_convergence);
    Some(format!(
        "| `{}`{more} | {} | `{}/{}` | {} |\n",
        visible(&scenario.name),
        cell(&visible(&scenario.claim)),
        visible(&finding.checker),
        visible(&finding.code),
        if agree { "yes" } else { "no" }
    ))
}

/// Text that ends no cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
