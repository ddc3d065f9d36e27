//! Histories that the checker `progress` must accept or reject.

use serde_json::json;

use super::{BOX, CARD, sound};
use crate::checker::progress::check;
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::checker::{Context, check_all};
use crate::history::{Barrier, Event, Op, Phase, Time, Upload, What, Who};
use crate::plan::Fault;
use crate::verdict::{Class, Verdict};

/// A device whose upload is answered 500 for ever.
fn wedged(time: Time) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    builder.history.header.time = time;
    let tx_id = builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.barrier(Barrier::Heal, Phase::Ok, &[]);
    builder.barrier(Barrier::Settle, Phase::Invoke, &[]);
    for attempt in 1..=5 {
        builder.attempt(0, tx_id, attempt, Phase::Invoke, None, Vec::new());
        let failed = Upload {
            phase: Phase::Info,
            tx_id,
            attempt,
            status: Some(500),
            outcome: None,
            ops: Vec::new(),
            said: None,
        };
        builder.event(Who::Client(0), What::Upload(failed));
        builder.wait(5_000_000);
    }
    builder.barrier(Barrier::Settle, Phase::Fail, &["client/0 has 1 transaction in its queue"]);
    builder
}

#[test]
fn accepts_a_run_that_settles_in_time() {
    let mut builder = sound();
    builder.expect(check, &[]);
    builder.promises.deadline_us = Some(1);
    let finding = builder.expect(check, &["settled-late"]);
    assert_eq!(finding.anomalies[0].class, Class::Liveness);
}

#[test]
fn says_what_is_stuck() {
    let finding = wedged(Time::Virtual).expect(check, &["stuck-queue"]);
    let anomaly = &finding.anomalies[0];
    assert_eq!(anomaly.class, Class::Liveness);
    assert_eq!(
        anomaly.what,
        "The run did not reach the settled state within 25.011000 s: uploads of client/0 do not pass."
    );
    assert!(
        anomaly.evidence.iter().any(|line| line.contains("uploading the first was answered 500 the last 5 times")),
        "{anomaly:#?}"
    );
}

#[test]
fn a_fault_that_did_not_strike_whole_is_no_promise_to_overcome() {
    let mut builder = wedged(Time::Virtual);
    let fault = Fault::ServicePaused { for_us: 1 };
    builder.event(Who::Run, What::Fault { phase: Phase::Fail, key: 1, fault });
    let finding = builder.judge(check);
    assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
    assert!(finding.unknown[0].contains("service-paused was to strike and could not be injected"), "{finding:#?}");
}

/// A fault that is not injected before device 0, and only it, gets stuck.
fn wedged_after_a_fault_that_failed(fault: Fault, others_work: bool) -> HistoryBuilder {
    let mut builder = wedged(Time::Virtual);
    let failed = builder.history.events.pop().expect("the barrier is missed");
    let what = What::Fault { phase: Phase::Fail, key: 1, fault };
    builder.history.events.insert(0, Event { at_us: 0, who: Who::Run, what });
    if others_work {
        builder.tx(1, &[(Op::Patch, BOX, json!({"name": "theirs"}))]);
        builder.upload(1);
        builder.apply(1);
    }
    builder.event(failed.who, failed.what);
    builder
}

#[test]
fn a_fault_that_was_not_injected_excuses_only_what_it_could_touch() {
    let device = |device| Fault::Offline { device, for_us: 1 };
    let servers = Fault::ServicePaused { for_us: 1 };
    let verdict = |fault: &Fault, others_work| {
        let finding = wedged_after_a_fault_that_failed(fault.clone(), others_work).judge(check);
        assert!(finding.unknown[0].contains("could not be injected"), "{finding:#?}");
        let codes: Vec<&str> = finding.anomalies.iter().map(|anomaly| anomaly.code).collect();
        assert_eq!(finding.verdict, if codes.is_empty() { Verdict::Unknown } else { Verdict::Invalid });
        codes
    };
    for others_work in [false, true] {
        assert_eq!(verdict(&device(0), others_work), [""; 0], "what is stuck is the fault's own device");
        assert_eq!(verdict(&device(1), others_work), ["stuck-queue"], "another device is stuck");
    }
    assert_eq!(verdict(&servers, false), [""; 0], "a server may be what does not work");
    assert_eq!(verdict(&servers, true), ["stuck-queue"], "the servers work for others");
}

#[test]
fn tells_stuck_from_slow_where_time_is_real() {
    wedged(Time::Real).expect(check, &["stuck-queue"]);
    let mut builder = wedged(Time::Real);
    builder.history.events.pop();
    builder.upload(0);
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "more"}))]);
    builder.barrier(Barrier::Settle, Phase::Fail, &[]);
    let finding = builder.judge(check);
    assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
    builder.history.header.time = Time::Virtual;
    builder.expect(check, &["stuck-queue"]);
}

/// Device 0 is answered 500 for ever, while something happens now and then.
fn wedged_beside(what: impl Fn(&mut HistoryBuilder, u32)) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    builder.history.header.time = Time::Real;
    let tx_id = builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.barrier(Barrier::Heal, Phase::Ok, &[]);
    builder.barrier(Barrier::Settle, Phase::Invoke, &[]);
    for attempt in 1..=5 {
        builder.attempt(0, tx_id, attempt, Phase::Invoke, None, Vec::new());
        let failed = Upload {
            phase: Phase::Info,
            tx_id,
            attempt,
            status: Some(500),
            outcome: None,
            ops: Vec::new(),
            said: None,
        };
        builder.event(Who::Client(0), What::Upload(failed));
        what(&mut builder, attempt);
        builder.wait(5_000_000);
    }
    builder.barrier(Barrier::Settle, Phase::Fail, &["client/0 has 1 transaction in its queue"]);
    builder
}

#[test]
fn what_passes_beside_a_stuck_queue_moves_it_not() {
    let by_another = |builder: &mut HistoryBuilder, attempt: u32| {
        builder.tx(1, &[(Op::Patch, BOX, json!({"name": format!("write {attempt}")}))]);
        builder.upload(1);
        builder.apply(1);
        builder.apply(0);
    };
    let finding = wedged_beside(by_another).expect(check, &["stuck-queue"]);
    assert!(finding.anomalies[0].what.contains("uploads of client/0 do not pass"), "{finding:#?}");
    assert_eq!(finding.anomalies[0].rows, [CARD]);
    let by_a_stranger = |builder: &mut HistoryBuilder, attempt: u32| {
        let image = builder.changed(BOX, &json!({"name": format!("write {attempt}")}));
        builder.commit(None, &[(BOX, Some(image))], Vec::new(), Vec::new());
        let last = builder.history.events.last_mut().expect("the commit");
        let What::Commit(commit) = &mut last.what else { panic!("it is the commit") };
        commit.foreign = true;
        builder.apply(0);
        builder.apply(1);
    };
    let builder = wedged_beside(by_a_stranger);
    builder.expect(check, &["stuck-queue"]);
    // The row of the queue is nobody's that somebody else wrote.
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    assert_eq!(check_all(&ctx, Some(&["progress"])).verdict(), Verdict::Invalid);
}

#[test]
fn one_slow_attempt_is_no_stuck_queue_while_others_pass() {
    let mut builder = with_seed_rows();
    builder.history.header.time = Time::Real;
    let tx_id = builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.barrier(Barrier::Settle, Phase::Invoke, &[]);
    builder.attempt(0, tx_id, 1, Phase::Invoke, None, Vec::new());
    builder.wait(25_000_000);
    builder.tx(1, &[(Op::Patch, BOX, json!({"name": "theirs"}))]);
    builder.upload(1);
    builder.wait(1_000_000);
    builder.barrier(Barrier::Settle, Phase::Fail, &["client/0 has 1 transaction in its queue"]);
    assert_eq!(builder.judge(check).verdict, Verdict::Unknown);
    // A device that never tries is stuck all the same.
    builder.history.events.retain(|event| !(event.who == Who::Client(0) && matches!(event.what, What::Upload(_))));
    builder.expect(check, &["stuck-queue"]);
}

#[test]
fn a_device_without_a_checkpoint_is_not_settled() {
    let mut builder = with_seed_rows();
    builder.barrier(Barrier::Settle, Phase::Invoke, &[]);
    builder.wait(60_000_000);
    builder.barrier(Barrier::Settle, Phase::Fail, &["client/1 waits for write checkpoint 3"]);
    builder.expect(check, &["not-settled"]);
}

#[test]
fn a_fault_that_was_not_injected_is_unknown() {
    let mut builder = sound();
    let fault = crate::plan::Fault::BackendDown { for_us: 1 };
    builder.event(Who::Run, What::Fault { phase: Phase::Fail, key: 1, fault });
    assert_eq!(builder.judge(check).verdict, Verdict::Unknown);
}

#[test]
fn an_unfinished_history_is_unknown() {
    assert_eq!(with_seed_rows().judge(check).verdict, Verdict::Unknown);
}
