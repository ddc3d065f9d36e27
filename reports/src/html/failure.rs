//! A failure for people: what is wrong, the picture, the story, the command that replays it.

use maud::{Markup, PreEscaped, html};
use sim_core::run::{AnomalyText, Run, ScenarioRun};
use sim_core::verdict::Verdict;

use super::claims;
use super::parts::anchor;
use crate::diagram;
use crate::explain::{other_failures, replay_command, shrunk_size};
use crate::failure::Failure;
use crate::joined::JoinedHistory;
use crate::story::{highlights, story};
use crate::words::{count, counted, moment, plain, visible};

/// Longer evidence is folded.
const EVIDENCE_OPEN: usize = 600;

/// One section for each failing scenario, with picture and story where there is a history to show.
pub(super) fn sections(run: &Run, failures: &[Failure<'_>]) -> Markup {
    let failing =
        run.scenarios.iter().filter(|scenario| scenario.not_run.is_none() && scenario.verdict == Verdict::Invalid);
    let named = |name: &str| run.scenarios.iter().any(|scenario| scenario.name == name);
    html! {
        @for scenario in failing {
            section class="card failure" id=(anchor("failure", &scenario.name)) {
                (heading(scenario))
                @let shown: Vec<&Failure<'_>> = failures.iter().filter(|failure| failure.scenario == scenario.name).collect();
                @for failure in &shown { (body(failure)) }
                @if shown.is_empty() {
                    (findings(&scenario.anomalies))
                    @if let Some(shrunk) = &scenario.shrunk { (replay(&replay_command(&shrunk.path))) }
                }
            }
        }
        @for failure in failures.iter().filter(|failure| !named(&failure.scenario)) {
            section class="card failure" id=(anchor("failure", &failure.scenario)) {
                h2 { (visible(&failure.scenario)) }
                (body(failure))
            }
        }
    }
}

fn heading(scenario: &ScenarioRun) -> Markup {
    let plans = counted(u64::from(scenario.plans), "plan", "plans");
    html! {
        h2 { (visible(&scenario.name)) " " (claims::chip(scenario)) }
        p class="lead" { "Claim: " (visible(&scenario.claim)) }
        p {
            (count(u64::from(scenario.failed_plans))) " of " (plans) " failed."
            @if let Some(shrunk) = &scenario.shrunk {
                @if shrunk.searched {
                    " Below is the smallest plan found that fails the same way: " strong { (shrunk_size(shrunk)) } "."
                } @else {
                    " Below is one of them as generated; no smaller one was searched for: " strong { (shrunk_size(shrunk)) } "."
                }
            }
        }
        @let others = other_failures(scenario);
        @if !others.is_empty() {
            p class="note" { "Plans also failed otherwise: " (others.join("; ")) "." }
        }
    }
}

fn body(failure: &Failure<'_>) -> Markup {
    let joined = JoinedHistory::new(&failure.plan, &failure.history, failure.app);
    let story = story(&joined, &failure.anomalies);
    let drawing = diagram::draw(&joined, &highlights(&failure.anomalies), diagram::Style::InPage);
    html! {
        (findings(&failure.anomalies))
        h3 { "What happened, as a picture" }
        div class="scroll diagram" tabindex="0" role="group" aria-label="Space-time diagram" { (PreEscaped(drawing)) }
        h3 { "What happened, step by step" }
        @for line in &story.start { p { (line) } }
        ol class="story" {
            @for step in &story.steps {
                li class=(if step.marked { "marked" } else { "" }) { time { (moment(step.at_us)) } span { (step.text) } }
            }
        }
        @if story.left_out > 0 {
            p class="note" { (counted(story.left_out as u64, "further event is", "further events are")) " not shown." }
        }
        @for line in &story.end { p class="ending" { (line) } }
        (replay(&failure.replay))
    }
}

/// What each finding says, and whether comparing the devices in the end would have shown it.
fn findings(anomalies: &[AnomalyText]) -> Markup {
    let missed = anomalies.iter().filter(|anomaly| anomaly.passes_plain_convergence).count();
    html! {
        @if missed > 0 {
            p class="callout" {
                @if missed == anomalies.len() {
                    strong { "A plain convergence check would have passed this." }
                    " In the end all devices agree, so a test that only compares them sees nothing wrong."
                } @else {
                    strong { "A plain convergence check would not have seen all of this." }
                    " It would have passed " (count(missed as u64)) " of the "
                    (counted(anomalies.len() as u64, "finding", "findings")) " below."
                }
            }
        }
        @if !anomalies.is_empty() {
            table class="findings" {
                thead { tr { th { "Finding" } th { "Why it is a contradiction" } th { "A plain convergence check would have" } } }
                tbody {
                    @for anomaly in anomalies {
                        tr {
                            td data-label="Finding" {
                                strong { (plain(&anomaly.what)) }
                                small { code { (visible(&anomaly.checker)) "/" (visible(&anomaly.code)) } }
                            }
                            td data-label="Why" {
                                (plain(&anomaly.because))
                                (events(&anomaly.evidence))
                            }
                            td data-label="A plain convergence check would have" {
                                @if anomaly.passes_plain_convergence {
                                    span class="chip missed" { "passed" }
                                } @else {
                                    span class="chip not-run" { "failed" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The events behind a finding; many words are folded.
fn events(evidence: &[String]) -> Markup {
    let words: usize = evidence.iter().map(String::len).sum();
    html! {
        @if !evidence.is_empty() {
            details class="evidence" open[words <= EVIDENCE_OPEN] {
                summary { "The events behind it" }
                ul { @for event in evidence { li { (plain(event)) } } }
            }
        }
    }
}

fn replay(command: &str) -> Markup {
    html! {
        h3 { "Replay it" }
        pre class="command" { code { (visible(command)) } }
    }
}
