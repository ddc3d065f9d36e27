//! What the database does by itself is nobody's loss: columns that it sets, rows that go with their parent.

use fixtures::{MadeBy, ServerSets};
use serde_json::{Value as Json, json};

use super::{BOX, CARD, context};
use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::checker::{check_all, durability, exactly_once};
use crate::history::{Op, Phase, RowId, TxOutcome};
use crate::verdict::Verdict;

/// Under a handler that applies what arrives, and leaves no notes.
fn handler() -> HistoryBuilder {
    let mut builder = with_seed_rows();
    "arrival-order".clone_into(&mut builder.history.header.policy);
    builder
}

fn set_by_database(builder: &mut HistoryBuilder, table: &str, column: &str) {
    let index = builder.app.schema.table_index(table).expect("the table is there");
    let columns = &builder.app.schema.tables[index].columns;
    let column = builder.app.schema.tables[index].column_index(column).expect("the column is there");
    let mut sets = vec![ServerSets::Never; columns.len()];
    sets[column] = ServerSets::Overrides;
    builder.app.policy.tables[index].server_sets = sets;
}

/// The first queued transaction is committed as these rows, without notes.
fn commit_as(builder: &mut HistoryBuilder, device: u32, rows: &[(RowId, Option<Json>)]) {
    let tx = builder.queued[device as usize][0].clone();
    let rows: Vec<_> =
        rows.iter().map(|(row, set)| (*row, set.as_ref().map(|set| builder.changed(*row, set)))).collect();
    builder.attempt(device, tx.tx_id.expect("it queued"), 1, Phase::Invoke, None, Vec::new());
    builder.commit(Some((device, &tx)), &rows, Vec::new(), Vec::new());
    builder.attempt(device, tx.tx_id.expect("it queued"), 1, Phase::Ok, Some(TxOutcome::Committed), Vec::new());
    builder.complete(device);
    builder.write_checkpoint(device);
}

#[track_caller]
fn expect(builder: &HistoryBuilder, verdict: Verdict) {
    let report = check_all(&context(builder), None);
    let anomalies: Vec<_> = report.anomalies().map(|one| (one.checker, one.code, &one.what)).collect();
    assert_eq!(
        report.verdict(),
        verdict,
        "{anomalies:#?} {:#?}",
        report.findings.iter().flat_map(|one| &one.1.unknown).collect::<Vec<_>>()
    );
}

/// A trigger writes `owner` whenever a card changes.
fn with_trigger(is_declared: bool, sent: &Json) -> HistoryBuilder {
    let mut builder = handler();
    if is_declared {
        set_by_database(&mut builder, "cards", "owner");
    }
    builder.tx(0, &[(Op::Patch, CARD, sent.clone())]);
    let mut stored = sent.clone();
    stored["owner"] = json!("the trigger, first");
    commit_as(&mut builder, 0, &[(CARD, Some(stored))]);
    builder.apply(0);
    builder.apply(1);
    // Another device writes the row, and its value of the column is replaced as well.
    builder.tx(1, &[(Op::Patch, CARD, json!({"body": "more", "owner": "sent"}))]);
    commit_as(&mut builder, 1, &[(CARD, Some(json!({"body": "more", "owner": "the trigger, again"})))]);
    builder.apply(0);
    builder.apply(1);
    builder.end();
    builder
}

#[test]
fn a_column_that_a_trigger_sets_is_no_lost_write() {
    expect(&with_trigger(true, &json!({"title": "mine"})), Verdict::Valid);
    expect(&with_trigger(true, &json!({"title": "mine", "owner": "sent"})), Verdict::Valid);
    expect(&with_trigger(false, &json!({"title": "mine", "owner": "sent"})), Verdict::Invalid);
    // What it does not set is owed as ever.
    let mut builder = handler();
    set_by_database(&mut builder, "cards", "owner");
    builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine", "body": "of mine"}))]);
    commit_as(&mut builder, 0, &[(CARD, Some(json!({"title": "mine", "owner": "the trigger"})))]);
    builder.apply(0);
    builder.apply(1);
    builder.end();
    expect(&builder, Verdict::Invalid);
    assert!(!builder.judge(durability::check).anomalies.is_empty());
}

#[test]
fn a_clock_that_a_trigger_sets_is_no_wrong_row() {
    let play = |is_declared: bool| {
        let mut builder = handler();
        if is_declared {
            set_by_database(&mut builder, "cards", "updated_at");
        }
        builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine", "updated_at": "2026-01-01T00:00:00Z"}))]);
        commit_as(&mut builder, 0, &[(CARD, Some(json!({"title": "mine", "updated_at": "2026-06-01T00:00:00Z"})))]);
        builder.apply(0);
        builder.apply(1);
        builder.end();
        builder
    };
    expect(&play(true), Verdict::Valid);
    expect(&play(false), Verdict::Invalid);
}

#[test]
fn a_repeat_that_only_fires_a_trigger_is_no_second_effect() {
    let play = |again: Json| {
        let mut builder = handler();
        set_by_database(&mut builder, "cards", "owner");
        let tx = builder.tx(0, &[(Op::Patch, CARD, json!({"title": "mine"}))]);
        let local = builder.queued[0][0].clone();
        for (attempt, set) in [(1, json!({"title": "mine", "owner": "first"})), (2, again)] {
            let image = builder.changed(CARD, &set);
            builder.attempt(0, tx, attempt, Phase::Invoke, None, Vec::new());
            builder.commit(Some((0, &local)), &[(CARD, Some(image))], Vec::new(), Vec::new());
        }
        builder.attempt(0, tx, 2, Phase::Ok, Some(TxOutcome::Committed), Vec::new());
        builder.complete(0);
        builder.write_checkpoint(0);
        builder.apply(0);
        builder.apply(1);
        builder.end();
        builder
    };
    play(json!({"owner": "again"})).expect(exactly_once::check, &[]);
    play(json!({"owner": "again", "title": "mine once more"})).expect(exactly_once::check, &["applied-twice"]);
}

/// A device deletes a box, and its card, which another device wrote unseen, goes in the same commit or loses its box.
fn cascade(made_by: MadeBy, card: Option<Json>) -> HistoryBuilder {
    let mut builder = handler();
    for reference in &mut builder.app.policy.references {
        reference.made_by = made_by;
        if card.is_some() {
            reference.on_parent_delete = fixtures::OnParentDelete::Null;
        }
    }
    builder.tx(1, &[(Op::Patch, CARD, json!({"title": "theirs", "box_id": "id-0"}))]);
    commit_as(&mut builder, 1, &[(CARD, Some(json!({"title": "theirs"})))]);
    builder.tx(0, &[(Op::Delete, BOX, Json::Null)]);
    commit_as(&mut builder, 0, &[(BOX, None), (CARD, card)]);
    builder.apply(0);
    builder.apply(1);
    builder.end();
    builder
}

#[test]
fn what_the_database_takes_along_with_a_parent_is_nobodys_loss() {
    for card in [None, Some(json!({"box_id": null}))] {
        expect(&cascade(MadeBy::Database, card.clone()), Verdict::Valid);
        expect(&cascade(MadeBy::Backend, card), Verdict::Invalid);
    }
    // Without its parent's deletion, a row that goes is lost.
    let mut builder = handler();
    for reference in &mut builder.app.policy.references {
        reference.made_by = MadeBy::Database;
    }
    builder.tx(1, &[(Op::Patch, CARD, json!({"title": "theirs"}))]);
    commit_as(&mut builder, 1, &[(CARD, None)]);
    builder.apply(0);
    builder.apply(1);
    builder.end();
    expect(&builder, Verdict::Invalid);
}
