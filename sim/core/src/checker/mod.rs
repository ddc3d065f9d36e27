//! What a history means: one checker a file, each a pure function of [`Context`] alone.
//!
//! A checker never sees a world, a device or a plan. [`timeline`] is the one analysis that several share: which
//! prefix of the server's commits each device shows at each moment. [`visibility`] says which rows a user should see,
//! [`wording`] puts events and contradictions into words.

pub mod atomicity;
pub mod causal;
pub mod claims;
pub mod convergence;
pub mod coverage;
pub mod durability;
pub mod exactly_once;
mod foreign;
pub mod integrity;
pub mod latency;
pub mod lives;
pub mod policy;
pub mod progress;
pub mod protocol;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod timeline;
pub mod view;
pub mod visibility;
pub mod wording;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fixtures::App;
use serde::Serialize;

use crate::history::{Barrier, History, Phase, What};
use crate::promise::{NO_POLICY, Promises};
use crate::verdict::{Anomaly, Class, Finding, Verdict};

pub use timeline::Timeline;

/// All that a checker may look at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The application.
    pub app: &'a App,
    /// The history.
    pub history: &'a History,
    /// What the scenario claims.
    pub promises: &'a Promises,
}

/// A checker.
pub type Checker = fn(&Context<'_>, &Timeline<'_>) -> Finding;

/// Every checker of one history, in the order of reports. ([`coverage`] judges all histories of a scenario together.)
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

/// What the checkers say of one history, in the order of [`CHECKERS`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Each checker that ran, with what it says.
    pub findings: Vec<(&'static str, Finding)>,
}

impl Report {
    /// The worst of all verdicts.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|(_, finding)| finding.verdict).max().unwrap_or_default()
    }

    /// Every contradiction.
    pub fn anomalies(&self) -> impl Iterator<Item = &Anomaly> {
        self.findings.iter().flat_map(|(_, finding)| &finding.anomalies)
    }

    /// The kind of promise that is broken, the one with the lowest exit code first.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        self.anomalies().map(|anomaly| anomaly.class).min()
    }

    /// What one checker says, if it ran.
    #[must_use]
    pub fn finding(&self, checker: &str) -> Option<&Finding> {
        self.findings.iter().find(|(name, _)| *name == checker).map(|(_, finding)| finding)
    }
}

/// Runs every checker, or those named. One that panics says unknown.
#[must_use]
pub fn check_all(ctx: &Context<'_>, only: Option<&[&str]>) -> Report {
    let timeline = guarded(|| Timeline::build(ctx));
    let foreign = foreign::Foreign::find(ctx);
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

fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn crashed(name: &str, message: &str) -> Finding {
    let mut finding = Finding::default();
    finding.unknown(format!("the {name} crashed: {message}"));
    finding
}

/// Whether the run settled, both times.
///
/// # Errors
/// Why what holds of settled devices cannot be judged.
pub fn settled(ctx: &Context<'_>) -> Result<(), String> {
    let mut settled = false;
    for event in &ctx.history.events {
        let What::Barrier { barrier, phase, .. } = &event.what else { continue };
        match phase {
            Phase::Fail | Phase::Info => {
                return Err(format!("the run did not reach {} in time (see progress)", wording::barrier_name(*barrier)));
            }
            Phase::Ok => settled |= *barrier == Barrier::SettleAgain,
            Phase::Invoke => {}
        }
    }
    if settled { Ok(()) } else { Err("the history ends before the run has settled".to_owned()) }
}

/// Everything that a run wants to know of one history.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// What the checkers say.
    pub report: Report,
    /// What became of the accepted writes, in numbers.
    pub stats: durability::Stats,
    /// What occurred, by name.
    pub occurred: std::collections::BTreeMap<String, u64>,
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
    let foreign = foreign::Foreign::find(ctx);
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
