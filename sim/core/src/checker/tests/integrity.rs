//! Histories that the checker `integrity` must accept or reject.

use fixtures::Row;
use serde_json::{Value as Json, json};

use super::{BOX, CARD, LABEL, MEMO, sound};
use crate::checker::integrity::check;
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::history::{Op, RowId};

/// The server writes rows by itself; then the run ends.
fn writes(rows: impl Fn(&mut HistoryBuilder) -> Vec<(RowId, Option<Json>)>) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    let rows = rows(&mut builder);
    builder.server_write(&rows);
    builder.finish();
    builder
}

#[test]
fn references_may_not_dangle() {
    sound().expect(check, &[]);
    writes(|_| vec![(CARD, None), (BOX, None)]).expect(check, &[]);
    let finding = writes(|_| vec![(BOX, None)]).expect(check, &["dangling-reference"]);
    assert_eq!(finding.anomalies[0].role, "cards.box_id");
    assert_eq!(
        finding.anomalies[0].what,
        "After commit 2, cards#1.box_id is left naming a row that this commit deletes: boxes#0."
    );
    writes(|builder| {
        let card = builder.row("cards");
        vec![(card, Some(json!({"box_id": "nowhere"})))]
    })
    .expect(check, &["dangling-reference"]);
    writes(|builder| {
        let card = builder.row("cards");
        vec![(card, Some(json!({"box_id": null})))]
    })
    .expect(check, &[]);
}

#[test]
fn a_reference_that_may_dangle_may() {
    let mut builder = writes(|_| vec![(BOX, None)]);
    builder.app.policy.references[0].on_parent_delete = fixtures::OnParentDelete::Keep;
    builder.expect(check, &[]);
    // An edit that leaves the reference as it is does not make it worse.
    builder.server_write(&[(CARD, Some(json!({"box_id": "id-0", "title": "edited"})))]);
    builder.expect(check, &[]);
}

#[test]
fn trees_have_no_cycle() {
    let boxes = |parent_of_first: &str| {
        writes(|builder| {
            let (second, third) = (builder.row("boxes"), builder.row("boxes"));
            vec![
                (second, Some(json!({"parent_id": "id-0"}))),
                (third, Some(json!({"parent_id": "id-4"}))),
                (BOX, Some(json!({"parent_id": parent_of_first}))),
            ]
        })
    };
    let mut alone = boxes("id-0");
    alone.app.policy.trees.clear();
    alone.expect(check, &[]);
    let finding = boxes("id-5").expect(check, &["cycle"]);
    assert_eq!(finding.anomalies[0].what, "Commit 2 closes a cycle: boxes#0 -> boxes#5 -> boxes#4 -> boxes#0.");
    boxes("id-0").expect(check, &["cycle"]);
}

#[test]
fn keys_are_unique_and_one_runs() {
    writes(|builder| {
        let label = builder.row("labels");
        vec![(label, Some(json!({"key": "size"})))]
    })
    .expect(check, &[]);
    writes(|builder| {
        let label = builder.row("labels");
        vec![(label, Some(json!({"key": "colour"})))]
    })
    .expect(check, &["duplicate-key"]);
    writes(|builder| {
        let label = builder.row("labels");
        vec![(LABEL, Some(json!({"key": null}))), (label, Some(json!({"key": null})))]
    })
    .expect(check, &[]);
    writes(|builder| {
        let other = builder.row("boxes");
        vec![(BOX, Some(json!({"running": 1}))), (other, Some(json!({"running": 1})))]
    })
    .expect(check, &["two-running"]);
    writes(|_| vec![(CARD, Some(json!({"box_id": "id-0", "hits": 101})))]).expect(check, &["out-of-range"]);
}

/// Device 0 deletes the row; then device 1, which still saw it, does this.
fn after_delete(row: RowId, op: Op, set: Json, image: &dyn Fn(&HistoryBuilder) -> Option<Row>) -> HistoryBuilder {
    let mut builder = with_seed_rows();
    builder.tx(0, &[(Op::Delete, row, Json::Null)]);
    builder.tx(1, &[(op, row, set)]);
    builder.upload(0);
    let tx = builder.queued[1][0].clone();
    let image = image(&builder);
    builder.commit(Some((1, &tx)), &[(row, image)], Vec::new(), Vec::new());
    builder.complete(1);
    builder.finish();
    builder
}

#[test]
fn deleted_rows_return_only_when_created_again() {
    let image = |row: RowId, set: Json| move |builder: &HistoryBuilder| Some(builder.image(row, &set));
    after_delete(LABEL, Op::Patch, json!({"value": "x"}), &|_| None).expect(check, &[]);
    after_delete(LABEL, Op::Put, json!({"key": "x"}), &image(LABEL, json!({"key": "x"}))).expect(check, &[]);
    after_delete(MEMO, Op::Patch, json!({"text": "x"}), &image(MEMO, json!({"text": "x"}))).expect(check, &[]);
    after_delete(LABEL, Op::Patch, json!({"value": "x"}), &image(LABEL, json!({"value": "x"})))
        .expect(check, &["returned-after-delete"]);
}

#[test]
fn a_repeated_insert_does_not_bring_a_row_back() {
    let mut builder = with_seed_rows();
    let memo = builder.row("memos");
    builder.tx(0, &[(Op::Put, memo, json!({"text": "x"}))]);
    builder.commit_as_sent(0);
    builder.server_write(&[(memo, None)]);
    builder.commit_as_sent(0);
    builder.complete(0);
    builder.finish();
    builder.expect(check, &["returned-after-delete"]);
}

#[test]
fn settled_devices_are_judged_too() {
    let mut builder = with_seed_rows();
    let other = builder.row("boxes");
    for (row, image) in [(BOX, json!({"running": 1})), (other, json!({"running": 1}))] {
        let image = builder.image(row, &image);
        builder.shown[1].insert(row, image);
    }
    builder.end();
    let finding = builder.expect(check, &["two-running"]);
    assert_eq!(finding.anomalies[0].what, "On client/1, settled, 2 rows run at once: boxes#0, boxes#4.");
}
