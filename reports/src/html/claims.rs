//! The result of each claim: the table, and below it checkers, coverage and hops.

use maud::{Markup, html};
use sim_core::run::{Percentiles, Run, ScenarioRun};
use sim_core::verdict::Verdict;

use super::charts;
use super::parts::{anchor, capital};
use crate::explain::{
    class_name, findings_met, findings_that_break, is_simulated, latency_note, latency_title, what_judged,
};
use crate::words::{count, counted, milliseconds, plain, visible};

/// The table.
pub(super) fn section(run: &Run) -> Markup {
    let latency = &capital(latency_title(run));
    html! {
        section class="card" id="claims" {
            h2 { "Claims" }
            div class="scroll" {
                table class="claims" {
                    thead {
                        tr {
                            th rowspan="2" { "Claim" }
                            th rowspan="2" { "Verdict" }
                            th rowspan="2" class="number" { "Plans" }
                            th rowspan="2" class="number" { "Conflicts" }
                            th rowspan="2" { "Overridden, by rule" }
                            th colspan="4" class="group" { (latency) }
                        }
                        tr { th class="number" { "p50" } th class="number" { "p95" } th class="number" { "p99" } th class="number" { "max" } }
                    }
                    tbody { @for scenario in &run.scenarios { (row(run, scenario, latency)) } }
                }
            }
            p class="note" {
                strong { "Overridden" } " counts accepted writes that a rule replaced by a write that had not seen them, \
                 with a conflict record: a policy that loses edits by design shows here how many. "
                strong { (latency) } " runs " (latency_note(run)) "."
            }
        }
    }
}

fn row(run: &Run, scenario: &ScenarioRun, latency: &str) -> Markup {
    let ran = scenario.not_run.is_none();
    let percentile =
        |pick: fn(&Percentiles) -> u64| scenario.latency_ms.as_ref().map(|latency| milliseconds(pick(latency)));
    let columns: [(&str, Option<String>); 4] = [
        ("p50", percentile(|p| p.p50)),
        ("p95", percentile(|p| p.p95)),
        ("p99", percentile(|p| p.p99)),
        ("max", percentile(|p| p.max)),
    ];
    html! {
        tr class=(if ran { "" } else { "dim" }) {
            td class="claim" {
                @if ran {
                    a href={ "#" (anchor("claim", &scenario.name)) } { (visible(&scenario.name)) }
                } @else {
                    strong { (visible(&scenario.name)) }
                }
                span { (visible(&scenario.claim)) }
                span { em { (what_judged(scenario)) } }
            }
            td data-label="Verdict" {
                @if ran && scenario.verdict == Verdict::Invalid {
                    @let findings = findings_that_break(run, &scenario.name);
                    @let number = findings.first().map_or(0, |(number, _)| *number);
                    a class="plain" href={ "#" (anchor("finding", &number.to_string())) } { (chip(scenario)) }
                } @else {
                    (chip(scenario))
                    @let met = findings_met(run, &scenario.name);
                    @if met > 0 { small class="bad" { "met " (counted(met as u64, "finding", "findings")) } }
                }
            }
            td class="number" data-label="Plans" {
                div {
                    @if ran { (count(u64::from(scenario.plans))) } @else { "–" }
                    @if scenario.failed_plans > 0 { small class="bad" { (count(u64::from(scenario.failed_plans))) " failed" } }
                }
            }
            td class="number" data-label="Conflicts" { @if ran { (count(scenario.conflicts)) } @else { "–" } }
            td data-label="Overridden, by rule" { @if ran { (overridden(scenario)) } @else { "–" } }
            @for (name, figure) in columns {
                td class="number" data-label={ (latency) ", " (name) } { (figure.as_deref().unwrap_or("–")) }
            }
        }
    }
}

fn overridden(scenario: &ScenarioRun) -> Markup {
    html! {
        @if scenario.overridden.values().all(|writes| *writes == 0) { "none" } @else {
            ul class="rules" {
                @for (rule, writes) in scenario.overridden.iter().filter(|(_, writes)| **writes > 0) {
                    li { (count(*writes)) " " span { (visible(rule)) } }
                }
            }
        }
    }
}

/// A verdict as a coloured word.
pub(super) fn chip(scenario: &ScenarioRun) -> Markup {
    if scenario.not_run.is_some() {
        return html! { span class="chip not-run" { "not run" } };
    }
    match scenario.verdict {
        Verdict::Valid if scenario.claims.is_empty() => html! { span class="chip held" { "✓ valid" } },
        Verdict::Valid => html! { span class="chip held" { "✓ held" } },
        Verdict::Unknown => html! { span class="chip unknown" { "? not judged" } },
        Verdict::Invalid => html! {
            span class="chip failed" { "✗ did not hold" }
            @if let Some(class) = scenario.class { small class="bad" { (class_name(class)) } }
        },
    }
}

/// What could not be judged, and what did not run.
pub(super) fn not_judged(run: &Run) -> Markup {
    let unknown: Vec<&ScenarioRun> =
        run.scenarios.iter().filter(|scenario| scenario.not_run.is_none() && !scenario.unknown.is_empty()).collect();
    let not_run: Vec<&ScenarioRun> = run.scenarios.iter().filter(|scenario| scenario.not_run.is_some()).collect();
    html! {
        @if !unknown.is_empty() {
            section class="card unknown-card" {
                h2 { "Could not be judged" }
                p { "These claims count neither as held nor as broken." }
                dl class="reasons" {
                    @for scenario in unknown {
                        div {
                            dt { (visible(&scenario.name)) }
                            @for why in &scenario.unknown { dd { (plain(why)) } }
                        }
                    }
                }
            }
        }
        @if !not_run.is_empty() {
            section class="card" {
                h2 { "Not run in this world" }
                dl class="reasons" {
                    @for scenario in not_run {
                        div { dt { (visible(&scenario.name)) } dd { (plain(scenario.not_run.as_deref().unwrap_or_default())) } }
                    }
                }
            }
        }
    }
}

/// A part that folds for each claim that ran.
pub(super) fn details(run: &Run) -> Markup {
    let ran: Vec<&ScenarioRun> = run.scenarios.iter().filter(|scenario| scenario.not_run.is_none()).collect();
    html! {
        @if !ran.is_empty() {
            section class="card" {
                h2 { "Behind each claim" }
                p class="note" { "Which checkers judged it, what occurred in its plans, and where the time went." }
                @for scenario in &ran {
                    details id=(anchor("claim", &scenario.name)) open[ran.len() <= 2] {
                        summary { span { (visible(&scenario.name)) } (chip(scenario)) }
                        p { (visible(&scenario.claim)) }
                        div class="columns" {
                            (checkers(scenario))
                            (occurred(scenario))
                            (charts::hops(scenario, is_simulated(run)))
                        }
                    }
                }
            }
        }
    }
}

fn checkers(scenario: &ScenarioRun) -> Markup {
    html! {
        div {
            h3 { "Checkers" }
            @if scenario.checkers.is_empty() { p class="note" { "none" } }
            ul class="checkers" {
                @for (name, plans) in &scenario.checkers {
                    @let (class, words) = match (plans.invalid, plans.unknown) {
                        (0, 0) => ("held", counted(u64::from(plans.valid), "plan valid", "plans valid")),
                        (0, unknown) => ("unknown", counted(u64::from(unknown), "plan unknown", "plans unknown")),
                        (invalid, _) => ("failed", counted(u64::from(invalid), "plan invalid", "plans invalid")),
                    };
                    li { span class={ "dot " (class) } {} span { (visible(name)) } small { (words) } }
                }
            }
        }
    }
}

fn occurred(scenario: &ScenarioRun) -> Markup {
    html! {
        div {
            h3 { "What occurred" }
            @if scenario.occurred.is_empty() { p class="note" { "nothing was counted" } }
            ul class="occurred" {
                @for (name, times) in &scenario.occurred {
                    li { span { (visible(name)) } strong { (count(*times)) } }
                }
            }
        }
    }
}
