//! Histories that the checker `exactly-once` must accept or reject.

use serde_json::json;

use super::{CARD, MEMO, sound};
use crate::checker::exactly_once::check;
use crate::checker::testing::{HistoryBuilder, answer, with_seed_rows};
use crate::history::{Op, Outcome, Phase, TxOutcome, What};

/// A device uploads, the reply is lost, another writes in between, and the device uploads again.
fn lost_reply(applied_again: bool, second: Outcome) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    let tx = builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.attempt(0, tx, 1, Phase::Invoke, None, Vec::new());
    builder.commit_as_sent(0);
    builder.attempt(0, tx, 1, Phase::Ok, Some(TxOutcome::Committed), vec![answer(1, Outcome::Applied)]);
    let theirs = builder.changed(CARD, &json!({"title": "theirs"}));
    builder.commit(None, &[(CARD, Some(theirs))], Vec::new(), Vec::new());
    builder.attempt(0, tx, 2, Phase::Invoke, None, Vec::new());
    if applied_again {
        builder.commit_as_sent(0);
    }
    builder.attempt(0, tx, 2, Phase::Ok, Some(TxOutcome::Committed), vec![answer(1, second)]);
    builder.complete(0);
    builder.finish();
    builder
}

#[test]
fn accepts_one_effect_and_rejects_two() {
    sound().expect(check, &[]);
    lost_reply(false, Outcome::Applied).expect(check, &[]);
    let finding = lost_reply(true, Outcome::Applied).expect(check, &["applied-twice"]);
    assert_eq!(finding.anomalies[0].operations, [(0, 1)]);
    assert_eq!(
        finding.anomalies[0].what,
        "tx 1 of client/0 took effect twice: in commit 2 and again in commit 4, on cards#1."
    );
    lost_reply(false, Outcome::Superseded).expect(check, &["answer-contradicts-ledger"]);
    // Where there is no ledger, the answers are compared with each other.
    let mut unnoted = lost_reply(false, Outcome::Superseded);
    for event in &mut unnoted.history.events {
        if let What::Commit(commit) = &mut event.what {
            commit.ledger.clear();
        }
    }
    unnoted.expect(check, &["different-answer"]);
}

#[test]
fn a_repeat_without_effect_is_none() {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    builder.commit_as_sent(0);
    builder.commit_as_sent(0);
    builder.finish();
    builder.expect(check, &[]);
}

#[test]
fn parts_of_a_transaction_are_not_twice() {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"})), (Op::Patch, MEMO, json!({"text": "mine"}))]);
    let tx = builder.queued[0][0].clone();
    for (index, (row, set)) in
        [(CARD, json!({"title": "mine"})), (MEMO, json!({"text": "mine"}))].into_iter().enumerate()
    {
        let image = builder.changed(row, &set);
        let one = crate::history::LocalTx { ops: vec![tx.ops[index].clone()], ..tx.clone() };
        builder.commit(Some((0, &one)), &[(row, Some(image))], Vec::new(), Vec::new());
    }
    builder.complete(0);
    builder.finish();
    builder.expect(check, &[]);
    builder.expect(crate::checker::atomicity::check, &["partial-transaction", "split-transaction"]);
}

#[test]
fn rejects_an_effect_of_nothing() {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
    let mut other = builder.queued[0][0].clone();
    other.tx_id = Some(99);
    let image = builder.changed(CARD, &json!({"title": "whose?"}));
    builder.commit(Some((0, &other)), &[(CARD, Some(image))], Vec::new(), Vec::new());
    builder.finish();
    builder.expect(check, &["effect-of-nothing"]);
}
