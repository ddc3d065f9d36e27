//! A row that nobody is given is lost to its writer, unless the writer hid it.

use serde_json::{Value as Json, json};

use crate::checker::durability::check;
use crate::checker::testing::HistoryBuilder;
use crate::history::Op;

const OWN_CARDS: &str = "
bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS uid
    data:
      - SELECT * FROM cards WHERE owner = bucket.uid
  all:
    data:
      - SELECT * FROM labels
";

/// A device inserts a row, which is committed as sent.
fn insert(table: &str, set: Json) -> HistoryBuilder {
    let mut builder = HistoryBuilder::new(2).sync_config(OWN_CARDS);
    let row = builder.row(table);
    builder.tx(0, &[(Op::Put, row, set)]);
    builder.finish();
    builder
}

#[test]
fn a_row_that_no_query_reads_is_delivered_to_nobody() {
    let finding = insert("memos", json!({"text": "mine"})).expect(check, &["delivered-to-nobody"]);
    assert_eq!(finding.anomalies[0].because, "No query of the sync config reads its table.");
    insert("labels", json!({"key": "k"})).expect(check, &[]);
}

#[test]
fn an_owner_that_is_left_to_the_server_gives_the_row_to_nobody() {
    let finding = insert("cards", json!({"title": "mine"})).expect(check, &["delivered-to-nobody"]);
    assert!(finding.anomalies[0].because.contains("selects by owner"), "{finding:#?}");
    insert("cards", json!({"title": "mine", "owner": "ann"})).expect(check, &[]);
    // Given away, or hidden, by its writer.
    insert("cards", json!({"title": "theirs", "owner": "bob"})).expect(check, &[]);
    insert("cards", json!({"title": "hidden", "owner": "nobody"})).expect(check, &[]);
}

#[test]
fn an_owner_that_the_server_fills_in_gives_the_row_to_its_writer() {
    let mut builder = HistoryBuilder::new(2).sync_config(OWN_CARDS);
    let row = builder.row("cards");
    builder.tx(0, &[(Op::Put, row, json!({"title": "mine"}))]);
    let tx = builder.queued[0][0].clone();
    let image = builder.image(row, &json!({"title": "mine", "owner": "ann"}));
    let answers = builder.applied_answers(0);
    builder.commit(Some((0, &tx)), &[(row, Some(image))], answers, Vec::new());
    builder.complete(0);
    let finding = builder.judge(check);
    assert!(finding.anomalies.iter().all(|anomaly| anomaly.code != "delivered-to-nobody"), "{finding:#?}");
}
