//! Small charts: how many claims held, the latency of each hop, where the run's time went.

use maud::{Markup, html};
use sim_core::run::{Division, Percentiles, ScenarioRun};

use crate::headline::ClaimCounts;
use crate::words::{count, milliseconds, seconds, visible};

/// The hops of a change, in order.
const HOPS: [(&str, &str); 4] = [
    ("commit-to-send", "waits on its device"),
    ("send-to-server", "upload until committed"),
    ("server-to-device", "server to other device"),
    ("arrival-to-apply", "arrived until shown"),
];

/// How many claims have which result.
pub(super) fn claims_bar(counts: ClaimCounts) -> Markup {
    let parts = [
        ("held", counts.held + counts.valid, "valid"),
        ("failed", counts.invalid, "invalid"),
        ("unknown", counts.unknown, "could not be judged"),
        ("not-run", counts.not_run, "not run in this world"),
    ];
    html! {
        div class="bar" aria-hidden="true" {
            @for (class, claims, _) in parts.iter().filter(|(_, claims, _)| *claims > 0) {
                span class=(class) style={ "flex-grow:" (claims) } {}
            }
        }
        ul class="legend" {
            @for (class, claims, words) in parts.iter().filter(|(_, claims, _)| *claims > 0) {
                li { span class={ "dot " (class) } {} strong { (count(*claims)) } " " (words) }
            }
        }
    }
}

/// Where the workers' time went.
pub(super) fn time_bar(time: &Division) -> Markup {
    let parts = [
        ("part-a", time.sqlite_seconds, "SQLite and the sync core"),
        ("part-b", time.other_seconds, "servers, network, scheduling, histories"),
        ("part-c", time.checkers_seconds, "checkers"),
    ];
    let all: f64 = parts.iter().map(|(_, seconds, _)| seconds.max(0.0)).sum();
    html! {
        @if all > 0.0 && all.is_finite() {
            h3 { "Where the workers' time went" }
            div class="bar" aria-hidden="true" {
                @for (class, part, _) in parts { span class=(class) style={ "flex-grow:" (format!("{:.3}", part.max(0.0) / all)) } {} }
            }
            ul class="legend" {
                @for (class, part, words) in parts {
                    li { span class={ "dot " (class) } {} strong { (seconds(part)) } " " (words) " (" (format!("{:.0}", part.max(0.0) / all * 100.0)) " %)" }
                }
            }
        }
    }
}

/// Latency by hop: a bar to the median, a paler one to the 95th percentile.
pub(super) fn hops(scenario: &ScenarioRun, simulated: bool) -> Markup {
    let known = HOPS.iter().filter_map(|(name, words)| Some((*words, scenario.hops_ms.get(*name)?)));
    let others = scenario.hops_ms.iter().filter(|(name, _)| !HOPS.iter().any(|(hop, _)| hop == name));
    let hops: Vec<(String, &Percentiles)> = known
        .map(|(words, hop)| (words.to_owned(), hop))
        .chain(others.map(|(name, hop)| (visible(name), hop)))
        .collect();
    let greatest = hops.iter().map(|(_, hop)| hop.p95).max().unwrap_or(0).max(1);
    // Hops differ by orders of magnitude: time spent offline beside a message's flight.
    #[expect(clippy::cast_precision_loss, reason = "a bar's length needs no more than 52 bits")]
    let length = |ms: u64| format!("{:.1}", ((ms as f64).ln_1p() / (greatest as f64).ln_1p() * 316.0).max(3.0));
    html! {
        div {
            h3 { @if simulated { "Simulated latency by hop" } @else { "Latency by hop" } }
            @if hops.is_empty() { p class="note" { "nothing was measured" } } @else {
                svg class="hops" viewBox={ "0 0 320 " (hops.len() * 40 + 4) } role="img" aria-label="Latency by hop: median and 95th percentile" {
                    @for (at, (words, hop)) in hops.iter().enumerate() {
                        @let y = at * 40;
                        text x="0" y=(y + 13) { (words) }
                        text class="figure" x="316" y=(y + 13) text-anchor="end" { (milliseconds(hop.p50)) " / " (milliseconds(hop.p95)) }
                        rect class="track" x="0" y=(y + 20) width="316" height="9" rx="4.5" {}
                        rect class="p95" x="0" y=(y + 20) width=(length(hop.p95)) height="9" rx="4.5" {}
                        rect class="p50" x="0" y=(y + 20) width=(length(hop.p50)) height="9" rx="4.5" {}
                    }
                }
                p class="note" { "median / 95th percentile, on a logarithmic scale" }
            }
        }
    }
}
