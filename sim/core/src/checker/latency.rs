//! How long a change takes, hop by hop and from one device to the others, and whether that is within budget.
//!
//! Figures of virtual time are simulated. A budget is a promise about these alone: where time is real it is shared
//! with whatever else the machine does, and nobody is asked to judge it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::context::Context;
use super::timeline::Timeline;
use super::wording::{Case, Gather};
use crate::history::{Origin, Phase, What, Who};
use crate::run::Percentiles;
use crate::verdict::{Class, Finding};

/// From the local commit to its first upload.
pub const COMMIT_TO_SEND: &str = "commit-to-send";
/// From the upload that came through to the server's commit.
pub const SEND_TO_SERVER: &str = "send-to-server";
/// From the server's commit to its first data at another device.
pub const SERVER_TO_DEVICE: &str = "server-to-device";
/// From the first data of a checkpoint to its apply.
pub const ARRIVAL_TO_APPLY: &str = "arrival-to-apply";
/// From the local commit to the apply on each other device whose user sees it.
pub const END_TO_END: &str = "end-to-end";

const HOPS: [&str; 5] = [COMMIT_TO_SEND, SEND_TO_SERVER, SERVER_TO_DEVICE, ARRIVAL_TO_APPLY, END_TO_END];

/// Measured times, in microseconds of plan time. Samples of several plans merge into one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    hops: [Option<Histogram<u64>>; 5],
}

impl Samples {
    fn record(&mut self, hop: usize, micros: i64) {
        let histogram = self.hops[hop].get_or_insert_with(|| {
            Histogram::new(3).expect("three significant digits are lawful, and it resizes itself")
        });
        // Data of a checkpoint may arrive before a commit that the checkpoint then includes.
        histogram.record(micros.max(0).cast_unsigned()).expect("the histogram resizes itself");
    }

    /// Takes in the samples of another plan.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.hops.iter_mut().zip(&other.hops) {
            match (own, other) {
                (Some(own), Some(other)) => own.add(other).expect("the histogram resizes itself"),
                (own @ None, Some(other)) => *own = Some(other.clone()),
                (_, None) => {}
            }
        }
    }

    /// How many samples a hop has.
    #[must_use]
    pub fn len(&self, hop: &str) -> u64 {
        self.histogram(hop).map_or(0, Histogram::len)
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hops.iter().all(Option::is_none)
    }

    /// A hop's percentiles in milliseconds, rounded; `None` if it was never measured.
    #[must_use]
    pub fn percentiles(&self, hop: &str) -> Option<Percentiles> {
        let histogram = self.histogram(hop)?;
        let ms = |micros: u64| (micros + 500) / 1000;
        let at = |quantile: f64| ms(histogram.value_at_quantile(quantile).min(histogram.max()));
        Some(Percentiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: ms(histogram.max()) })
    }

    /// Local commit to applied on each other device.
    #[must_use]
    pub fn end_to_end(&self) -> Option<Percentiles> {
        self.percentiles(END_TO_END)
    }

    /// The four hops on the way, by name.
    #[must_use]
    pub fn hops(&self) -> BTreeMap<String, Percentiles> {
        HOPS[..4].iter().filter_map(|hop| Some(((*hop).to_owned(), self.percentiles(hop)?))).collect()
    }

    fn histogram(&self, hop: &str) -> Option<&Histogram<u64>> {
        self.hops[HOPS.iter().position(|known| *known == hop)?].as_ref()
    }
}

/// Measures one history.
#[must_use]
pub fn samples(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Samples {
    let mut samples = Samples::default();
    measure(ctx, timeline, &mut |hop, micros| samples.record(hop, micros));
    samples
}

/// Gives each measured time: the index of its hop, and microseconds.
fn measure(ctx: &Context<'_>, timeline: &Timeline<'_>, record: &mut dyn FnMut(usize, i64)) {
    let at = |event: usize| ctx.history.events[event].at_us;
    // (device, transaction) -> the last upload that was sent.
    let mut sent: BTreeMap<(u32, i64), i64> = BTreeMap::new();
    for event in &ctx.history.events {
        match (&event.who, &event.what) {
            (Who::Client(device), What::Upload(upload)) if upload.phase == Phase::Invoke => {
                let first = sent.insert((*device, upload.tx_id), event.at_us).is_none();
                if first && let Some(local) = timeline.local_tx(*device, upload.tx_id) {
                    record(0, event.at_us - at(local));
                }
            }
            (_, What::Commit(commit)) => {
                if let Some(Origin { device, tx_id }) = commit.origin
                    && let Some(sent) = sent.get(&(device, tx_id))
                {
                    record(1, event.at_us - sent);
                }
            }
            (Who::Client(_), What::Apply(apply)) if apply.priority.is_none() => {
                record(3, event.at_us - apply.arrived_us)
            }
            _ => {}
        }
    }
    let installations = super::installations::Installations::of(ctx.history);
    for device in 0..super::causal::devices(ctx) {
        let view = timeline.view(device);
        // What was there before the installation was is no change that it waited for.
        let after = ctx.history.header.devices.get(device as usize).and_then(|device| device.after);
        let began = after.and_then(|after| installations.end(after)).unwrap_or(0);
        let mut commits = timeline.commits().peekable();
        for applied in timeline.applied(device).iter().filter(|applied| applied.priority.is_none()) {
            let What::Apply(apply) = &ctx.history.events[applied.event].what else { continue };
            while let Some((event, commit)) = commits.next_if(|(_, commit)| commit.seq <= applied.prefix) {
                let Some(origin) = commit.origin.filter(|origin| origin.device != device) else { continue };
                let visible = commit.changes.iter().any(|change| {
                    view.version_at(change.row, commit.seq).is_some_and(|version| version.seq == commit.seq)
                });
                if !visible || event < began {
                    continue;
                }
                record(2, apply.arrived_us - at(event));
                if let Some(local) = timeline.local_tx(origin.device, origin.tx_id) {
                    record(4, at(applied.event) - at(local));
                }
            }
        }
    }
}

/// Judges the scenario's budget for this history.
#[must_use]
pub fn check(ctx: &Context<'_>, timeline: &Timeline<'_>) -> Finding {
    let mut gather = Gather::new(ctx, "latency");
    if let Some(budget_ms) = ctx.promises.latency_p95_ms_max {
        let mut times = Vec::new();
        measure(ctx, timeline, &mut |hop, micros| {
            if HOPS[hop] == END_TO_END {
                times.push(micros.max(0).cast_unsigned());
            }
        });
        times.sort_unstable();
        match percentile(&times, 95) {
            None => gather.unknown("no change reached another device, so that nothing could be measured".to_owned()),
            Some(measured) if measured > budget_ms.saturating_mul(1000) => gather.add_of(Class::Latency, Case {
                code: "over-budget",
                what: format!(
                    "The 95th percentile of the time from a local commit to its apply on another device is {} ms (simulated); \
                     the scenario promises at most {budget_ms} ms.",
                    milliseconds(measured)
                ),
                because: "The scenario states a budget.".to_owned(),
                notes: [(50, "median"), (99, "99th percentile"), (100, "greatest")]
                    .into_iter()
                    .filter_map(|(percent, name)| Some(format!("{name} {} ms", milliseconds(percentile(&times, percent)?))))
                    .collect(),
                ..Case::default()
            }),
            Some(_) => {}
        }
    }
    gather.finish()
}

/// The exact percentile of sorted times: the least of them that so many percent do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

/// Microseconds as milliseconds, exactly: `2000`, `2000.4`.
fn milliseconds(micros: u64) -> String {
    let text = format!("{}.{:03}", micros / 1000, micros % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
