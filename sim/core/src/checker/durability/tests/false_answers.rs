//! Ends without a commit, and backends and devices that do not tell the truth.

use super::*;
use crate::history::Barrier;

#[test]
fn refusals() {
    check(
        "refused and told",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.answer(0, TxOutcome::Refused, Outcome::Rejected);
            p.builder.complete(0);
            p.apply(0);
        },
        &[],
    );
    check(
        "refused, and the device keeps waiting",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.answer(0, TxOutcome::Refused, Outcome::Rejected);
            p.builder.queued[0].clear();
        },
        &["refusal-not-delivered"],
    );
    check(
        "refused, and it took effect",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.builder.commit_as_sent(0);
            p.answer(0, TxOutcome::Refused, Outcome::Rejected);
            p.builder.complete(0);
        },
        &["refused-yet-effective"],
    );
    let (_, stats) = check(
        "the ledger's entry of a refusal is no effect",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            let tx = p.builder.queued[0][0].clone();
            p.builder.commit(Some((0, &tx)), &[], vec![answer(1, Outcome::Rejected)], vec![]);
            p.answer(0, TxOutcome::Refused, Outcome::Rejected);
            p.builder.complete(0);
        },
        &[],
    );
    assert_eq!(stats.refused, 1);
    check(
        "refused and told, by a backend that notes it nowhere",
        |p| {
            p.edit(1, LABEL, json!({"value": "b"}));
            p.builder.upload(1);
            p.edit(0, CARD, json!({"title": "a"}));
            p.answer(0, TxOutcome::Refused, Outcome::Rejected);
            p.builder.complete(0);
        },
        &["refusal-not-on-record"],
    );
    check(
        "the ledger notes a refusal that nobody is told of",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            let tx = p.builder.queued[0][0].clone();
            p.builder.commit(Some((0, &tx)), &[], vec![answer(1, Outcome::Rejected)], vec![]);
            p.builder.queued[0].clear();
        },
        &["refusal-not-delivered"],
    );
}

#[test]
fn queues() {
    check(
        "a queue dropped before upload",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.delete(0, LABEL);
            p.builder.queued[0].clear();
        },
        &["lost-update", "lost-delete"],
    );
    check(
        "a queue dropped by completing it unanswered",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.builder.complete(0);
        },
        &["lost-update"],
    );
    check(
        "a queue dropped after an attempt without an answer",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.builder.attempt(0, 1, 1, Phase::Invoke, None, Vec::new());
            p.builder.attempt(0, 1, 1, Phase::Info, None, Vec::new());
            p.builder.queued[0].clear();
        },
        &["lost-update"],
    );
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "a"}))]);
    builder.barrier(Barrier::Settle, Phase::Fail, &["client/0 has a queue"]);
    let (finding, _) = judged(&builder);
    assert_eq!((finding.verdict, finding.anomalies.len()), (Verdict::Unknown, 0), "{finding:#?}");
    check(
        "a transaction that failed is not accepted",
        |p| {
            let mut tx = LocalTx {
                step: 1,
                activity: "edit".to_owned(),
                tx_id: None,
                ops: vec![],
                skipped: 0,
                intents: 1,
                failed: None,
                clock_us: 0,
            };
            tx.failed = Some("constraint failed".to_owned());
            p.builder.event(Who::Client(0), What::Tx(tx));
        },
        &[],
    );
}

#[test]
fn a_lost_reply() {
    check(
        "the first answer again, after another wrote the row",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
            let answers = p.builder.applied_answers(0);
            p.builder.attempt(0, 1, 1, Phase::Invoke, None, Vec::new());
            p.builder.commit_as_sent(0);
            p.builder.attempt(0, 1, 1, Phase::Info, None, Vec::new());
            p.apply(1);
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(40)}));
            p.land(1, vec![]);
            p.builder.attempt(0, 1, 2, Phase::Invoke, None, Vec::new());
            p.builder.attempt(0, 1, 2, Phase::Ok, Some(TxOutcome::Committed), answers);
            p.builder.complete(0);
        },
        &[],
    );
    check(
        "applied again, over another's edit",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(30)}));
            p.builder.attempt(0, 1, 1, Phase::Invoke, None, Vec::new());
            p.builder.commit_as_sent(0);
            p.builder.attempt(0, 1, 1, Phase::Info, None, Vec::new());
            p.apply(1);
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(40)}));
            p.land(1, vec![]);
            p.land(0, vec![]);
        },
        &["wrong-winner"],
    );
}

#[test]
fn answers() {
    let builder = |effect: bool, outcome: Outcome| {
        move |p: &mut Play| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(40)}));
            p.land(0, vec![]);
            let record = record(CARD, Some("title"), "latest", (1, 1), (0, 1));
            let (rows, records) =
                if effect { (vec![(CARD, Some(json!({"body": "b"})))], vec![]) } else { (vec![], vec![record]) };
            if effect {
                p.builder.queued[1].clear();
                p.builder
                    .history
                    .events
                    .retain(|event| !matches!((&event.who, &event.what), (Who::Client(1), What::Tx(_))));
                p.apply(1);
                p.edit(1, CARD, json!({"body": "b"}));
            }
            p.commit_answered(1, rows, records, vec![answer(if effect { 2 } else { 1 }, outcome)]);
        }
    };
    check("superseded, and said so", builder(false, Outcome::Superseded), &[]);
    check("superseded, and called applied", builder(false, Outcome::Applied), &["false-outcome"]);
    check("applied, and said so", builder(true, Outcome::Applied), &[]);
    check("applied, and called superseded", builder(true, Outcome::Superseded), &["false-outcome"]);
}

#[test]
fn four_liars() {
    check(
        "superseded to everything, without a commit",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            p.answer(0, TxOutcome::Committed, Outcome::Superseded);
            p.builder.complete(0);
            p.delete(0, LABEL);
            p.answer(0, TxOutcome::Committed, Outcome::Superseded);
            p.builder.complete(0);
        },
        &["lost-update", "lost-delete"],
    );
    check(
        "superseded to everything, with invented records",
        |p| {
            p.edit(0, CARD, json!({"title": "a"}));
            let mut invented = record(CARD, Some("title"), "latest", (0, 1), (1, 1));
            invented.winner = Writer::Server;
            p.commit_answered(0, vec![], vec![invented], vec![answer(1, Outcome::Superseded)]);
        },
        &["lost-update"],
    );
    check(
        "a record that names a wrong winner",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(40)}));
            p.land(0, vec![]);
            let mut wrong = record(CARD, Some("title"), "latest", (1, 1), (0, 1));
            wrong.winner = Writer::Server;
            p.commit(1, vec![], vec![wrong]);
        },
        &["wrong-record"],
    );
    check(
        "superseded without a record",
        |p| {
            p.edit(0, CARD, json!({"title": "a", "updated_at": at(50)}));
            p.edit(1, CARD, json!({"title": "b", "updated_at": at(40)}));
            p.land(0, vec![]);
            p.commit(1, vec![], vec![]);
        },
        &["override-without-record"],
    );
    check(
        "a queue dropped before upload",
        |p| {
            p.insert(0, CARD, json!({"title": "a"}));
            p.builder.queued[0].clear();
        },
        &["lost-insert"],
    );
    check(
        "an update of a deleted row, acknowledged and gone",
        |p| {
            "arrival-order".clone_into(&mut p.builder.history.header.policy);
            p.delete(0, LABEL);
            p.edit(1, LABEL, json!({"value": "a"}));
            p.land(0, vec![]);
            p.answer(1, TxOutcome::Committed, Outcome::Applied);
            p.builder.complete(1);
        },
        &["override-without-record"],
    );
}
