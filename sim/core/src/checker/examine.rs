//! Runs the checkers over one history.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::context::Context;
use super::foreign::Foreign;
use super::report::Report;
use super::timeline::Timeline;
use super::{
    atomicity, causal, claims, convergence, coverage, durability, exactly_once, integrity, latency, policy, progress,
    protocol,
};
use crate::promise::NO_POLICY;
use crate::verdict::Finding;

/// A checker.
pub type Checker = fn(&Context<'_>, &Timeline<'_>) -> Finding;

/// Every checker of one history, in the order of reports. (`coverage` judges all histories of a scenario together.)
pub const CHECKERS: &[(&str, Checker)] = &[
    ("convergence", convergence::check),
    ("durability", durability::check),
    ("policy", policy::check),
    ("exactly-once", exactly_once::check),
    ("causal", causal::check),
    ("atomicity", atomicity::check),
    ("integrity", integrity::check),
    ("progress", progress::check),
    ("protocol", protocol::check),
    ("latency", latency::check),
    ("claims", claims::check),
];

/// Runs every checker, or those named. One that panics says unknown.
#[must_use]
pub fn check_all(ctx: &Context<'_>, only: Option<&[&str]>) -> Report {
    let timeline = guarded(|| Timeline::build(ctx));
    let foreign = Foreign::find(ctx);
    let wanted = CHECKERS.iter().filter(|(name, _)| only.is_none_or(|only| only.contains(name)));
    let findings = wanted.map(|(name, check)| {
        let finding = match &timeline {
            Ok(timeline) => guarded(|| check(ctx, timeline)).unwrap_or_else(|panic| crashed(name, &panic)),
            Err(panic) => crashed("analysis of the history", panic),
        };
        (*name, foreign.set_aside(finding))
    });
    Report { findings: findings.collect() }
}

pub(super) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

pub(super) fn crashed(name: &str, message: &str) -> Finding {
    let mut finding = Finding::default();
    finding.unknown(format!("the {name} crashed: {message}"));
    finding
}

/// Everything that a run wants to know of one history.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// What the checkers say.
    pub report: Report,
    /// What became of the accepted writes, in numbers.
    pub stats: durability::Stats,
    /// What occurred, by name.
    pub occurred: BTreeMap<String, u64>,
    /// How long changes took.
    pub latency: latency::Samples,
}

/// Runs every checker, or those named, and counts: the analysis of the history is made once.
#[must_use]
pub fn examine(ctx: &Context<'_>, only: Option<&[&str]>) -> Examined {
    let mut examined = Examined::default();
    let wanted = |name: &str| only.is_none_or(|only| only.contains(&name));
    let timeline = match guarded(|| Timeline::build(ctx)) {
        Ok(timeline) => timeline,
        Err(panic) => {
            let findings = CHECKERS.iter().filter(|(name, _)| wanted(name));
            examined.report.findings =
                findings.map(|(name, _)| (*name, crashed("analysis of the history", &panic))).collect();
            return examined;
        }
    };
    let durability = guarded(|| durability::examine(ctx, &timeline)).map(|(finding, stats)| {
        examined.occurred = coverage::count_with(ctx, &timeline, &stats);
        examined.stats = stats;
        finding
    });
    let foreign = Foreign::find(ctx);
    // What cannot be judged of any such history is not judged, rather than held or unknown: a budget where time is
    // real, a model of a policy that nobody promised.
    let header = &ctx.history.header;
    let applies = |name: &str| match name {
        "latency" => header.time.is_virtual(),
        "policy" => header.policy != NO_POLICY,
        _ => true,
    };
    for (name, check) in CHECKERS.iter().filter(|(name, _)| wanted(name) && applies(name)) {
        let finding = if *name == "durability" { durability.clone() } else { guarded(|| check(ctx, &timeline)) };
        let finding = finding.unwrap_or_else(|panic| crashed(name, &panic));
        examined.report.findings.push((name, foreign.set_aside(finding)));
    }
    examined.latency = guarded(|| latency::samples(ctx, &timeline)).unwrap_or_default();
    examined
}
