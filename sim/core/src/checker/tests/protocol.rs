//! Histories that the checker `protocol` must accept or reject.

use serde_json::json;

use super::{CARD, sound};
use crate::checker::protocol::check;
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::fault::{Fault, Server};
use crate::history::{Apply, Op, Phase, What, Who};

fn apply(change: impl FnOnce(&mut Apply)) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.upload(0);
    let mut apply = Apply {
        priority: None,
        last_op_id: 2,
        write_checkpoint: Some(1),
        target: Some(1),
        queued: 0,
        rows: Vec::new(),
        arrived_us: 0,
        whole: false,
    };
    change(&mut apply);
    builder.apply_event(0, apply);
    builder
}

#[test]
fn the_gate_holds() {
    sound().expect(check, &[]);
    apply(|_| {}).expect(check, &[]);
    apply(|apply| apply.queued = 2).expect(check, &["apply-with-queue"]);
    apply(|apply| (apply.queued, apply.priority) = (2, Some(0))).expect(check, &[]);
    apply(|apply| apply.write_checkpoint = None).expect(check, &["apply-before-own-writes"]);
    apply(|apply| apply.target = Some(i64::MAX.cast_unsigned())).expect(check, &["apply-before-own-writes"]);
    apply(|apply| apply.target = None).expect(check, &[]);
}

#[test]
fn nothing_is_acknowledged_that_was_not_issued() {
    apply(|apply| apply.write_checkpoint = Some(7)).expect(check, &["acknowledged-not-issued"]);
    // A number whose answer was lost may come back all the same.
    let mut builder = with_seed_rows();
    builder.event(Who::Client(0), What::WriteCheckpoint { phase: Phase::Invoke, number: None, status: None });
    builder.event(Who::Client(0), What::WriteCheckpoint { phase: Phase::Info, number: None, status: None });
    let mut acknowledged = apply(|apply| apply.write_checkpoint = Some(1)).history.events.pop().expect("an apply").what;
    if let What::Apply(apply) = &mut acknowledged {
        apply.target = None;
    }
    builder.event(Who::Client(0), acknowledged);
    builder.expect(check, &[]);
}

#[test]
fn a_fault_that_repeats_messages_excuses_only_the_numbers_that_it_can_explain() {
    let applied = |number: u64| {
        let mut builder = with_seed_rows();
        let lossy = Fault::Lossy {
            device: 0,
            server: Server::Both,
            request_lost: 0,
            reply_lost: 0,
            duplicated: 50,
            for_us: 1_000_000,
        };
        for phase in [Phase::Invoke, Phase::Ok] {
            builder.event(Who::Run, What::Fault { phase, key: 7, fault: lossy.clone() });
            builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
            builder.upload(0);
        }
        let mut acknowledged = apply(|_| {}).history.events.pop().expect("an apply").what;
        if let What::Apply(apply) = &mut acknowledged {
            (apply.write_checkpoint, apply.target) = (Some(number), None);
        }
        builder.event(Who::Client(0), acknowledged);
        builder
    };
    applied(2).expect(check, &[]);
    applied(3).expect(check, &[]);
    applied(4).expect(check, &["acknowledged-not-issued"]);
}

#[test]
fn the_core_has_nothing_to_report() {
    let mut builder = with_seed_rows();
    builder.event(Who::Client(1), What::Protocol { message: "checksum mismatch in bucket 1".to_owned() });
    let finding = builder.expect(check, &["core-error"]);
    assert!(finding.anomalies[0].what.contains("checksum mismatch"));
}
