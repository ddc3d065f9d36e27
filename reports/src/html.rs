//! The report for people who are new to it: one file, no scripts, nothing loaded from elsewhere.
//!
//! In reading order: [`claims`] the result of each claim, [`failure`] each failure as picture and story, [`charts`]
//! the small charts, [`parts`] what they share. This file is the page around them.

mod charts;
mod claims;
mod failure;
mod parts;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use sim_core::run::Run;
use sim_core::verdict::Verdict;

use self::parts::capital;
use crate::explain::{is_simulated, latency_note, latency_title, world_words};
use crate::failure::Failure;
use crate::words::{count, seconds, visible};
use crate::{diagram, headline};

const STYLE: &str = include_str!("html/style.css");

/// The whole page. `failures` has the case of each finding, in their order.
#[must_use]
pub fn render(run: &Run, failures: &[Failure<'_>]) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content="syncstorm";
                title { "Syncstorm report" }
                style { (PreEscaped(STYLE)) (PreEscaped(diagram::STYLE)) }
            }
            body {
                main {
                    (top(run))
                    (explanation(run))
                    (claims::section(run))
                    (failure::sections(run, failures))
                    (claims::not_judged(run))
                    (claims::details(run))
                    (speed(run))
                    (glossary(run))
                }
                footer {
                    "Syncstorm report · seed " code { (visible(&run.seed)) } " · commit " code { (visible(&run.commit)) }
                }
            }
        }
    }
    .into_string()
}

fn top(run: &Run) -> Markup {
    let counts = headline::ClaimCounts::of(run);
    let class = match counts.worst() {
        Some(Verdict::Valid) => "hero held",
        Some(Verdict::Invalid) => "hero failed",
        Some(Verdict::Unknown) | None => "hero unknown",
    };
    html! {
        header class=(class) {
            p class="eyebrow" { "Syncstorm report" }
            h1 { (capital(&headline::verdict_sentence(run))) "." }
            p class="lead" { "In " (headline::figures(run)) "." }
            (charts::claims_bar(counts))
        }
    }
}

/// What was run, for somebody who has never heard of it.
fn explanation(run: &Run) -> Markup {
    html! {
        section class="card" {
            h2 { "What was run" }
            p {
                "Syncstorm lets people edit the same data on several devices while networks fail, apps crash and clocks \
                 are wrong. Then it lets everything come to rest and follows what became of every single write. Each "
                em { "plan" } " is one such course of events, drawn from the seed; each " em { "claim" }
                " is judged over many plans. Here, " (world_words(&run.world)) "."
            }
            dl class="facts" {
                div { dt { "Application" } dd { (visible(&run.app)) } }
                div { dt { "Upload policy" } dd { (visible(&run.policy)) small { (policy_words(&run.policy)) } } }
                div { dt { "World" } dd { (visible(&run.world)) } }
                div { dt { "Seed" } dd { code { (visible(&run.seed)) } small { "the same seed gives the same plans" } } }
                div { dt { "Commit" } dd { code { (visible(&run.commit)) } } }
            }
        }
    }
}

fn policy_words(policy: &str) -> &'static str {
    match policy {
        "field-merge" => "concurrent edits are merged column by column, by the rules that the application declares",
        "arrival-order" => "what arrives last wins: the baseline, which loses edits",
        "row-latest" => "an edit older than the row is dropped as a whole, with a conflict record",
        "version-check" => "an edit of a row that has changed meanwhile is dropped as a whole, with a conflict record",
        "server-wins" => "a column that has changed meanwhile keeps the server's value",
        _ => "",
    }
}

fn speed(run: &Run) -> Markup {
    let totals = &run.totals;
    html! {
        section class="card" {
            h2 { "The run in figures" }
            div class="tiles" {
                (tile(&count(totals.plans), "plans"))
                (tile(&count(totals.transactions), "local transactions"))
                (tile(&count(totals.operations), "operations queued"))
                (tile(&seconds(totals.simulated_seconds), if is_simulated(run) { "simulated time" } else { "plan time" }))
                (tile(&seconds(totals.wall_seconds), "wall-clock time"))
                (tile(&format!("{:.1}", totals.plans_per_second), "plans a second"))
            }
            (charts::time_bar(&totals.time))
        }
    }
}

fn tile(figure: &str, what: &str) -> Markup {
    html! { div class="tile" { strong { (figure) } span { (what) } } }
}

fn glossary(run: &Run) -> Markup {
    let words: [(&str, &str); 10] = [
        ("valid", "No plan contradicted what the scenario is about, and every checker could judge every plan."),
        ("held", "Valid, and the scenario has a claim of its own that was judged by itself."),
        (
            "invalid",
            "At least one plan contradicted the scenario's claim: it did not hold. Safety: something bad happened. Liveness: something good did not happen in time. Latency: it happened too slowly.",
        ),
        (
            "finding",
            "Something that went wrong in the same way in one or many plans, told once, with its smallest case. A scenario that meets one that is no matter of its own keeps its claim.",
        ),
        ("could not be judged", "The claim was not tested, or a checker could not decide. It never counts as held."),
        ("conflict", "Two devices wrote the same column, neither having seen the other's write."),
        (
            "overridden",
            "An accepted write that a declared rule replaced by one that had not seen it. Allowed only with a record that names loser, winner, column and rule.",
        ),
        (
            "plain convergence check",
            "The check that most tests stop at: after everything has settled, do all devices show the same? A write that is lost everywhere passes it.",
        ),
        ("shrunk", "The smallest plan found that still fails in the same way."),
        (latency_title(run), latency_note(run)),
    ];
    html! {
        section class="card" {
            h2 { "Words" }
            dl class="words" {
                @for (word, meaning) in words {
                    div { dt { (capital(word)) } dd { (capital(meaning)) @if !meaning.ends_with('.') { "." } } }
                }
            }
        }
    }
}
