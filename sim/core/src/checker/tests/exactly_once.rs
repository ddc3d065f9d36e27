//! Histories that the checker `exactly-once` must accept or reject.

use serde_json::{Value as Json, json};

use super::{CARD, MEMO, sound};
use crate::checker::exactly_once::check;
use crate::checker::testing::{HistoryBuilder, answer, with_seed_rows};
use crate::history::{LocalTx, Op, Outcome, Phase, RowId, TxOutcome, What};

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
    builder.expect(crate::checker::atomicity::check, &["split-transaction"]);
}

/// A transaction of two operations on these rows, of which each of the commits holds the operation with this index.
fn in_parts(rows: [(RowId, Json); 2], commits: &[usize], is_named: bool) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    let ops = rows.clone().map(|(row, set)| (Op::Patch, row, set));
    builder.tx(0, &ops);
    let tx = builder.queued[0][0].clone();
    for (count, index) in commits.iter().enumerate() {
        let (row, set) = &rows[*index];
        if count == 2 {
            // Somebody writes in between, so that doing it again changes something.
            let image = builder.changed(*row, &json!({ column_of(*row): "theirs" }));
            builder.commit(None, &[(*row, Some(image))], Vec::new(), Vec::new());
        }
        let image = builder.changed(*row, set);
        let one = LocalTx { ops: vec![tx.ops[*index].clone()], ..tx.clone() };
        builder.commit(Some((0, &one)), &[(*row, Some(image))], Vec::new(), Vec::new());
        if !is_named {
            let last = builder.history.events.last_mut().expect("the commit");
            let What::Commit(commit) = &mut last.what else { panic!("it is the commit") };
            commit.changes[0].op_id = None;
        }
    }
    builder.complete(0);
    builder.finish();
    builder
}

fn column_of(row: RowId) -> &'static str {
    if row == CARD { "title" } else { "text" }
}

#[test]
fn whichever_operation_is_done_again_is_told() {
    let two_rows = || [(CARD, json!({"title": "mine"})), (MEMO, json!({"text": "mine"}))];
    let one_row = || [(CARD, json!({"title": "mine"})), (CARD, json!({"title": "mine too"}))];
    for is_named in [true, false] {
        for rows in [two_rows(), one_row()] {
            in_parts(rows.clone(), &[0, 1], is_named).expect(check, &[]);
            for again in [0, 1] {
                in_parts(rows.clone(), &[0, 1, again], is_named).expect(check, &["applied-twice"]);
            }
        }
    }
}

#[test]
fn a_counter_that_moves_twice_in_one_commit_is_told() {
    let play = |counts: &[i64], operations: usize| {
        let mut builder = with_seed_rows();
        let ops: Vec<_> = (1..=operations).map(|count| (Op::Patch, CARD, json!({"hits": count}))).collect();
        builder.tx(0, &ops);
        let tx = builder.queued[0][0].clone();
        let rows: Vec<_> =
            counts.iter().map(|count| (CARD, Some(builder.changed(CARD, &json!({"hits": count}))))).collect();
        builder.commit(Some((0, &tx)), &rows, Vec::new(), Vec::new());
        builder.complete(0);
        builder.finish();
        builder
    };
    play(&[1], 1).expect(check, &[]);
    play(&[1, 2], 2).expect(check, &[]);
    let finding = play(&[1, 2], 1).expect(check, &["applied-twice"]);
    assert_eq!(finding.anomalies[0].what, "tx 1 of client/0 took effect twice: both times in commit 2, on cards#1.");
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
