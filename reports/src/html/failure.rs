//! A failure for people: what is wrong, the picture, the story, the command that replays it.

use maud::{Markup, PreEscaped, html};
use sim_core::run::{AnomalyText, FindingRun, Run};

use super::parts::anchor;
use crate::diagram;
use crate::explain::{class_name, finding_name, met_words, replay_command, shrunk_size};
use crate::failure::Failure;
use crate::joined::JoinedHistory;
use crate::story::{highlights, story};
use crate::words::{count, counted, moment, plain, visible};

/// Longer evidence is folded.
const EVIDENCE_OPEN: usize = 600;

/// One section for each finding, with picture and story where there is a history to show: `failures` has one for each, in
/// their order. Further ones follow.
pub(super) fn sections(run: &Run, failures: &[Failure<'_>]) -> Markup {
    html! {
        @for (index, finding) in run.findings.iter().enumerate() {
            section class="card failure" id=(anchor("finding", &(index + 1).to_string())) {
                (heading(run, index + 1, finding))
                @if let Some(failure) = failures.get(index) {
                    (body(failure))
                } @else {
                    (findings(&finding.anomalies))
                    (replay(&replay_command(&finding.shrunk.path)))
                }
            }
        }
        @for failure in failures.iter().skip(run.findings.len()) {
            section class="card failure" id=(anchor("failure", &failure.scenario)) {
                h2 { (visible(&failure.scenario)) }
                (body(failure))
            }
        }
    }
}

fn heading(run: &Run, number: usize, finding: &FindingRun) -> Markup {
    let claim =
        |name: &str| run.scenarios.iter().find(|scenario| scenario.name == name).map(|scenario| &scenario.claim);
    let shrunk = &finding.shrunk;
    html! {
        h2 { "Finding " (number) " " span class="chip failed" { "✗ " (class_name(finding.class)) } }
        p { code { (finding_name(finding)) } }
        @for met in &finding.breaks {
            p class="lead" {
                strong { (visible(&met.scenario)) } " did not hold in " (counted(met.plans as u64, "plan", "plans"))
                @if let Some(claim) = claim(&met.scenario) { ": " (visible(claim)) }
            }
        }
        @if !finding.met_in.is_empty() {
            p class="note" {
                "Met, though it is no matter of theirs, in " (met_words(&finding.met_in)) ": what these scenarios claim is \
                 judged by itself."
            }
        }
        p {
            @if shrunk.searched {
                "Below is the smallest plan found that fails the same way, from " (visible(&finding.shown_from)) ": "
                strong { (shrunk_size(shrunk)) } "."
            } @else {
                "Below is one of them as generated, from " (visible(&finding.shown_from))
                "; no smaller one was searched for: " strong { (shrunk_size(shrunk)) } "."
            }
        }
        @if !finding.also.is_empty() {
            p class="note" { "The same cause is also told as " (finding.also.iter().map(|way| visible(way)).collect::<Vec<String>>().join(", ")) "." }
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
