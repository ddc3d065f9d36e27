use serde_json::json;

use super::{CARD, LABEL, MEMO, sound};
use crate::checker::atomicity::check;
use crate::checker::testing::{Story, answer, furnished};
use crate::history::{Op, Outcome};

/// Another device changes card and memo in one transaction.
fn both_changed() -> Story {
    let mut story = furnished();
    story.tx(0, &[(Op::Patch, CARD, json!({"title": "x"})), (Op::Patch, MEMO, json!({"text": "y"}))]);
    story.upload(0);
    story
}

#[test]
fn accepts_whole_transactions() {
    sound().expect(check, &[]);
    let mut story = both_changed();
    story.apply(1);
    story.expect(check, &[]);
}

#[test]
fn rejects_half_a_transaction_on_a_device() {
    let mut story = both_changed();
    let half = story.server.get(&CARD).cloned();
    story.apply_rows(1, &[(CARD, half)]);
    let finding = story.expect(check, &["torn-transaction"]);
    assert_eq!(finding.anomalies[0].what, "client/1 shows what commit 2 did to cards#1, but not what it did to memos#3.");
    // Healed by the next apply, it is told once.
    story.apply(1);
    story.expect(check, &["torn-transaction"]);
}

#[test]
fn rejects_a_row_that_was_left_out() {
    let mut story = furnished();
    story.server_write(&[(CARD, Some(json!({"title": "lost"})))]);
    story.server_write(&[(LABEL, Some(json!({"key": "colour", "value": "blue"})))]);
    let image = story.server.get(&LABEL).cloned();
    story.apply_rows(1, &[(LABEL, image)]);
    let finding = story.expect(check, &["torn-state"]);
    assert_eq!(finding.anomalies[0].what, "client/1 shows cards#1 as after commit 1, and everything else as after commit 3.");
    story.server_write(&[(LABEL, Some(json!({"key": "colour", "value": "green"})))]);
    let image = story.server.get(&LABEL).cloned();
    story.apply_rows(1, &[(LABEL, image)]);
    story.expect(check, &["torn-state"]);
}

#[test]
fn rejects_a_row_that_never_was() {
    let mut story = furnished();
    let ghost = story.changed(CARD, &json!({"title": "ghost"}));
    story.apply_rows(1, &[(CARD, Some(ghost))]);
    let finding = story.expect(check, &["unknown-state"]);
    assert_eq!(finding.anomalies[0].role, "cards.title");
}

#[test]
fn a_refused_write_that_stays_is_a_row_that_never_was() {
    let mut story = furnished();
    story.tx(1, &[(Op::Patch, CARD, json!({"title": "refused"}))]);
    story.complete(1);
    story.apply_rows(1, &[]);
    story.expect(check, &["unknown-state"]);
}

#[test]
fn rejects_half_a_transaction_on_the_server() {
    let commit = |ledger: &[(i64, Outcome)]| {
        let mut story = furnished();
        story.tx(0, &[(Op::Patch, CARD, json!({"title": "x"})), (Op::Patch, MEMO, json!({"text": "y"}))]);
        let tx = story.queued[0][0].clone();
        let image = story.changed(CARD, &json!({"title": "x"}));
        let ledger = ledger.iter().map(|(op, outcome)| answer(*op, *outcome)).collect();
        story.commit(Some((0, &tx)), &[(CARD, Some(image))], ledger, Vec::new());
        story.complete(0);
        story.apply(0);
        story
    };
    commit(&[(1, Outcome::Applied), (2, Outcome::Superseded)]).expect(check, &[]);
    commit(&[(1, Outcome::Applied)]).expect(check, &["partial-transaction"]);
    commit(&[(1, Outcome::RolledBack), (2, Outcome::Rejected)]).expect(check, &["partial-transaction", "partial-transaction"]);
    // Without a ledger every operation must have had its effect.
    let finding = commit(&[]).expect(check, &["partial-transaction"]);
    assert_eq!(finding.anomalies[0].operations, [(0, 2)]);
}
