//! Histories that the checker `latency` must accept or reject.

use serde_json::json;

use super::CARD;
use crate::checker::latency::{ARRIVAL_TO_APPLY, COMMIT_TO_SEND, END_TO_END, SEND_TO_SERVER, check, samples};
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::checker::{Context, Timeline, examine};
use crate::history::{Op, Time};
use crate::verdict::{Class, Verdict};

fn travelling() -> HistoryBuilder {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.wait(40_000);
    builder.upload(0);
    builder.wait(20_000);
    builder.apply(1);
    builder
}

#[test]
fn measures_each_hop() {
    let builder = travelling();
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let mut samples = samples(&ctx, &Timeline::build(&ctx));
    let p50 =
        |samples: &crate::checker::latency::Samples, hop: &str| samples.percentiles(hop).expect("it was measured").p50;
    assert_eq!(p50(&samples, COMMIT_TO_SEND), 41);
    assert_eq!(p50(&samples, SEND_TO_SERVER), 1);
    assert_eq!(p50(&samples, END_TO_END), 67);
    assert_eq!(samples.len(END_TO_END), 1);
    assert_eq!(samples.len(ARRIVAL_TO_APPLY), 3);
    let other = samples.clone();
    samples.merge(&other);
    assert_eq!(samples.len(END_TO_END), 2);
}

#[test]
fn keeps_to_the_budget() {
    let mut builder = travelling();
    builder.expect(check, &[]);
    builder.promises.latency_p95_ms_max = Some(67);
    builder.expect(check, &[]);
    builder.promises.latency_p95_ms_max = Some(66);
    let finding = builder.expect(check, &["over-budget"]);
    assert_eq!(finding.anomalies[0].class, Class::Latency);
    builder.history.header.time = Time::Real;
    let examined =
        examine(&Context { app: &builder.app, history: &builder.history, promises: &builder.promises }, None);
    assert!(examined.report.finding("latency").is_none(), "real time is no simulated latency: not judged");
    assert!(!examined.latency.is_empty(), "it is still told");
    let mut still = with_seed_rows();
    still.promises.latency_p95_ms_max = Some(66);
    assert_eq!(still.judge(check).verdict, Verdict::Unknown);
}

#[test]
fn decides_exactly_at_the_budget() {
    let late_by = |micros: i64| {
        let mut builder = with_seed_rows();
        builder.promises.latency_p95_ms_max = Some(2000);
        for round in 0..10 {
            builder.tx(0, &[(Op::Patch, CARD, json!({"title": format!("edit {round}")}))]);
            let made = builder.history.events.last().map_or(0, |event| event.at_us);
            builder.upload(0);
            let now = builder.history.events.last().map_or(0, |event| event.at_us);
            // The apply itself takes a millisecond.
            builder.wait(2_000_000 + micros - (now - made) - 1000);
            builder.apply(1);
        }
        builder
    };
    late_by(0).expect(check, &[]);
    let finding = late_by(1).expect(check, &["over-budget"]);
    assert!(finding.anomalies[0].what.contains(" is 2000.001 ms "), "{}", finding.anomalies[0].what);
}
