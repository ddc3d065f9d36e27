//! Histories that the checker `atomicity` must accept or reject.

use fixtures::Row;
use serde_json::json;

use super::{CARD, LABEL, MEMO, sound};
use crate::checker::atomicity::check;
use crate::checker::testing::{HistoryBuilder, answer, with_seed_rows};
use crate::history::{Apply, Op, Outcome, RowId};

/// Another device changes card and memo in one transaction.
fn both_changed() -> HistoryBuilder {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "x"})), (Op::Patch, MEMO, json!({"text": "y"}))]);
    builder.upload(0);
    builder
}

#[test]
fn accepts_whole_transactions() {
    sound().expect(check, &[]);
    let mut builder = both_changed();
    builder.apply(1);
    builder.expect(check, &[]);
}

#[test]
fn rejects_half_a_transaction_on_a_device() {
    let mut builder = both_changed();
    let half = builder.server.get(&CARD).cloned();
    builder.apply_rows(1, &[(CARD, half)]);
    let finding = builder.expect(check, &["torn-transaction"]);
    assert_eq!(
        finding.anomalies[0].what,
        "client/1 shows what commit 2 did to cards#1, but not what it did to memos#3."
    );
    // Healed by the next apply, it is told once.
    builder.apply(1);
    builder.expect(check, &["torn-transaction"]);
}

#[test]
fn rejects_a_row_that_was_left_out() {
    let mut builder = with_seed_rows();
    builder.server_write(&[(CARD, Some(json!({"title": "lost"})))]);
    builder.server_write(&[(LABEL, Some(json!({"key": "colour", "value": "blue"})))]);
    let image = builder.server.get(&LABEL).cloned();
    builder.apply_rows(1, &[(LABEL, image)]);
    let finding = builder.expect(check, &["torn-state"]);
    assert_eq!(
        finding.anomalies[0].what,
        "client/1 shows cards#1 as after commit 1, and everything else as after commit 3."
    );
    builder.server_write(&[(LABEL, Some(json!({"key": "colour", "value": "green"})))]);
    let image = builder.server.get(&LABEL).cloned();
    builder.apply_rows(1, &[(LABEL, image)]);
    builder.expect(check, &["torn-state"]);
}

#[test]
fn rejects_a_row_that_never_was() {
    let mut builder = with_seed_rows();
    let ghost = builder.changed(CARD, &json!({"title": "ghost"}));
    builder.apply_rows(1, &[(CARD, Some(ghost))]);
    let finding = builder.expect(check, &["unknown-state"]);
    assert_eq!(finding.anomalies[0].role, "cards.title");
}

#[test]
fn a_refused_write_that_stays_is_a_row_that_never_was() {
    let mut builder = with_seed_rows();
    builder.tx(1, &[(Op::Patch, CARD, json!({"title": "refused"}))]);
    builder.complete(1);
    builder.apply_rows(1, &[]);
    builder.expect(check, &["unknown-state"]);
}

#[test]
fn rejects_half_a_transaction_on_the_server() {
    let commit = |ledger: &[(i64, Outcome)]| {
        let mut builder = with_seed_rows();
        builder.tx(0, &[(Op::Patch, CARD, json!({"title": "x"})), (Op::Patch, MEMO, json!({"text": "y"}))]);
        let tx = builder.queued[0][0].clone();
        let image = builder.changed(CARD, &json!({"title": "x"}));
        let ledger = ledger.iter().map(|(op, outcome)| answer(*op, *outcome)).collect();
        builder.commit(Some((0, &tx)), &[(CARD, Some(image))], ledger, Vec::new());
        builder.complete(0);
        builder.apply(0);
        builder
    };
    commit(&[(1, Outcome::Applied), (2, Outcome::Superseded)]).expect(check, &[]);
    commit(&[(1, Outcome::Applied)]).expect(check, &["partial-transaction"]);
    commit(&[(1, Outcome::RolledBack), (2, Outcome::Rejected)])
        .expect(check, &["partial-transaction", "partial-transaction"]);
    // Without a ledger every operation must have had its effect.
    let finding = commit(&[]).expect(check, &["partial-transaction"]);
    assert_eq!(finding.anomalies[0].operations, [(0, 2)]);
}

const ONE_BUCKET: &str = "bucket_definitions: {urgent: {priority: 1, data: [SELECT * FROM cards, SELECT * FROM memos]}, \
                          rest: {data: [SELECT * FROM boxes, SELECT * FROM labels]}}";
const TWO_BUCKETS: &str = "bucket_definitions: {urgent: {priority: 1, data: [SELECT * FROM cards]}, \
                           rest: {data: [SELECT * FROM memos, SELECT * FROM boxes, SELECT * FROM labels]}}";

/// An apply of priority 1 that lists these rows.
fn partial_apply(rows: Vec<(RowId, Option<Row>)>) -> Apply {
    Apply {
        priority: Some(1),
        last_op_id: 2,
        write_checkpoint: None,
        target: None,
        queued: 0,
        rows,
        arrived_us: 0,
        whole: false,
    }
}

/// Another device changes card and memo in one transaction, and a partial apply of priority 1 shows these rows of it.
fn partly_applied(sync_config: &str, rows: &[RowId]) -> HistoryBuilder {
    let mut builder = both_changed().sync_config(sync_config);
    let rows = rows.iter().map(|row| (*row, builder.server.get(row).cloned())).collect();
    builder.apply_event(1, partial_apply(rows));
    builder
}

#[test]
fn rejects_half_a_transaction_of_one_bucket_in_a_partial_apply() {
    let mut builder = partly_applied(ONE_BUCKET, &[CARD]);
    let finding = builder.expect(check, &["torn-transaction"]);
    assert_eq!(
        finding.anomalies[0].what,
        "client/1 shows what commit 2 did to cards#1, but not what it did to memos#3."
    );
    builder.apply(1);
    builder.expect(check, &["torn-transaction"]);
    // The other half alone is no better.
    partly_applied(ONE_BUCKET, &[MEMO]).expect(check, &["torn-transaction"]);
}

#[test]
fn rejects_a_partial_apply_that_leaves_out_an_earlier_commit_of_its_buckets() {
    let mut builder = with_seed_rows().sync_config(ONE_BUCKET);
    builder.server_write(&[(CARD, Some(json!({"title": "left out"})))]);
    builder.server_write(&[(MEMO, Some(json!({"text": "later"})))]);
    let rows = vec![(MEMO, builder.server.get(&MEMO).cloned())];
    builder.apply_event(1, partial_apply(rows));
    let finding = builder.expect(check, &["torn-state"]);
    assert_eq!(
        finding.anomalies[0].what,
        "client/1 shows cards#1 as after commit 1, and the other rows of these buckets as after commit 3."
    );
}

#[test]
fn a_partial_apply_may_come_before_what_is_in_other_buckets() {
    partly_applied(ONE_BUCKET, &[CARD, MEMO]).expect(check, &[]);
    partly_applied(TWO_BUCKETS, &[CARD]).expect(check, &[]);
    // A parameter query may name the priority instead.
    let by_query = "bucket_definitions: {urgent: {parameters: SELECT 1 AS _priority, data: [SELECT * FROM cards]}, \
                    rest: {data: [SELECT * FROM memos, SELECT * FROM boxes, SELECT * FROM labels]}}";
    partly_applied(by_query, &[CARD]).expect(check, &[]);
    let both = by_query.replace("SELECT * FROM memos, ", "").replace("cards]", "cards, SELECT * FROM memos]");
    partly_applied(&both, &[CARD]).expect(check, &["torn-transaction"]);
}

#[test]
fn a_delete_may_wait_for_the_full_apply() {
    let changed_and_deleted = |rows: &[RowId]| {
        let mut builder = with_seed_rows().sync_config(ONE_BUCKET);
        builder.tx(0, &[(Op::Patch, CARD, json!({"title": "x"})), (Op::Delete, MEMO, json!(null))]);
        builder.upload(0);
        let rows = rows.iter().map(|row| (*row, builder.server.get(row).cloned())).collect();
        builder.apply_event(1, partial_apply(rows));
        builder
    };
    changed_and_deleted(&[CARD]).expect(check, &[]);
    changed_and_deleted(&[CARD, MEMO]).expect(check, &[]);
    changed_and_deleted(&[MEMO]).expect(check, &["torn-transaction"]);
}
