use serde_json::json;

use super::{CARD, sound};
use crate::checker::progress::check;
use crate::checker::testing::{Story, furnished};
use crate::history::{Barrier, Op, Phase, Time, Upload, What, Who};
use crate::plan::Fault;
use crate::verdict::{Class, Verdict};

/// A device whose upload is answered 500 for ever.
fn wedged(time: Time) -> Story {
    let mut story = furnished();
    story.history.header.time = time;
    let tx_id = story.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    story.barrier(Barrier::Heal, Phase::Ok, &[]);
    story.barrier(Barrier::Settle, Phase::Invoke, &[]);
    for attempt in 1..=5 {
        story.attempt(0, tx_id, attempt, Phase::Invoke, None, Vec::new());
        let failed = Upload { phase: Phase::Info, tx_id, attempt, status: Some(500), outcome: None, ops: Vec::new() };
        story.event(Who::Client(0), What::Upload(failed));
        story.wait(5_000_000);
    }
    story.barrier(Barrier::Settle, Phase::Fail, &["client/0 has 1 transaction in its queue"]);
    story
}

#[test]
fn accepts_a_run_that_settles_in_time() {
    let mut story = sound();
    story.expect(check, &[]);
    story.promises.deadline_us = Some(1);
    let finding = story.expect(check, &["settled-late"]);
    assert_eq!(finding.anomalies[0].class, Class::Liveness);
}

#[test]
fn says_what_is_stuck() {
    let finding = wedged(Time::Virtual).expect(check, &["stuck-queue"]);
    let anomaly = &finding.anomalies[0];
    assert_eq!(anomaly.class, Class::Liveness);
    assert_eq!(anomaly.what, "The run did not reach the settled state within 25.011000 s: uploads of client/0 do not pass.");
    assert!(anomaly.evidence.iter().any(|line| line.contains("uploading the first was answered 500 the last 5 times")), "{anomaly:#?}");
}

#[test]
fn a_fault_that_did_not_strike_whole_is_no_promise_to_overcome() {
    let mut story = wedged(Time::Virtual);
    let fault = Fault::ServicePaused { for_us: 1 };
    story.event(Who::Run, What::Fault { phase: Phase::Fail, key: 1, fault });
    let finding = story.judge(check);
    assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
    assert!(finding.unknown[0].contains("service-paused was to strike and could not be injected"), "{finding:#?}");
}

#[test]
fn tells_stuck_from_slow_where_time_is_real() {
    wedged(Time::Real).expect(check, &["stuck-queue"]);
    let mut story = wedged(Time::Real);
    story.history.events.pop();
    story.upload(0);
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "more"}))]);
    story.barrier(Barrier::Settle, Phase::Fail, &[]);
    let finding = story.judge(check);
    assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
    story.history.header.time = Time::Virtual;
    story.expect(check, &["stuck-queue"]);
}

#[test]
fn a_device_without_a_checkpoint_is_not_settled() {
    let mut story = furnished();
    story.barrier(Barrier::Settle, Phase::Invoke, &[]);
    story.wait(60_000_000);
    story.barrier(Barrier::Settle, Phase::Fail, &["client/1 waits for write checkpoint 3"]);
    story.expect(check, &["not-settled"]);
}

#[test]
fn a_fault_that_was_not_injected_is_unknown() {
    let mut story = sound();
    let fault = crate::plan::Fault::BackendDown { for_us: 1 };
    story.event(Who::Run, What::Fault { phase: Phase::Fail, key: 1, fault });
    assert_eq!(story.judge(check).verdict, Verdict::Unknown);
}

#[test]
fn an_unfinished_history_is_unknown() {
    assert_eq!(furnished().judge(check).verdict, Verdict::Unknown);
}
