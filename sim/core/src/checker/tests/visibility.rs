//! Which rows each user should see, and histories in which a device shows others.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::checker::testing::HistoryBuilder;
use crate::checker::visibility::Visibility;
use crate::checker::{Context, Timeline};
use crate::history::RowId;

/// Ann's and Bob's rows after each commit.
fn check(config: &str, commits: &[&[(&str, RowId, Json)]], expected: &[(&[RowId], &[RowId])]) {
    let mut builder = HistoryBuilder::new(2).sync_config(config);
    builder.history.header.devices[1].user = "bob".to_owned();
    for writes in commits {
        let mut rows = Vec::new();
        for (table, row, set) in *writes {
            while builder.history.rows.len() <= *row as usize {
                builder.row(table);
            }
            rows.push((*row, (!set.is_null()).then(|| set.clone())));
        }
        builder.server_write(&rows);
    }
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let timeline = Timeline::build(&ctx);
    assert_eq!(timeline.blind(), None);
    for (seq, (ann, bob)) in (1..).zip(expected) {
        for (device, rows) in [(0, ann), (1, bob)] {
            let seen: Vec<RowId> = timeline.view(device).rows_at(seq).map(|(row, _)| row).collect();
            assert_eq!(seen, rows.to_vec(), "device {device} after commit {seq}");
        }
    }
}

#[test]
fn one_bucket_for_all() {
    check(
        "bucket_definitions: {all: {priority: 1, data: [SELECT * FROM boxes, \"select id, title from cards where hits > 1 or title in ('x', 'y')\"]}}",
        &[
            &[
                ("boxes", 0, json!({})),
                ("cards", 1, json!({"hits": 1})),
                ("cards", 2, json!({"hits": 2})),
                ("cards", 3, json!({"title": "y"})),
            ],
            &[("cards", 1, json!({"hits": 5})), ("cards", 2, Json::Null)],
        ],
        &[(&[0, 2, 3], &[0, 2, 3]), (&[0, 1, 3], &[0, 1, 3])],
    );
}

#[test]
fn a_bucket_a_user() {
    check(
        "bucket_definitions: {mine: {parameters: SELECT token_parameters.user_id AS me, data: [SELECT * FROM cards WHERE cards.owner = bucket.me AND NOT title IS NULL]}}",
        &[
            &[
                ("cards", 0, json!({"owner": "ann", "title": "a"})),
                ("cards", 1, json!({"owner": "bob", "title": "b"})),
                ("cards", 2, json!({"owner": "ann"})),
            ],
            &[("cards", 0, json!({"owner": "bob", "title": "a"})), ("cards", 2, json!({"owner": "ann", "title": "c"}))],
        ],
        &[(&[0], &[1]), (&[2], &[0, 1])],
    );
}

#[test]
fn buckets_that_rows_give() {
    // Who is named by a box of the name sees the box and its cards.
    let config = "
bucket_definitions:
  shared:
    parameters:
      - SELECT id AS box FROM boxes WHERE name = request.user_id()
      - SELECT parent_id AS box FROM boxes WHERE boxes.name = request.user_id() AND parent_id IS NOT NULL
    data:
      - SELECT * FROM boxes WHERE id = bucket.box
      - SELECT * FROM cards WHERE bucket.box = box_id
";
    check(
        config,
        &[
            &[
                ("boxes", 0, json!({"name": "ann"})),
                ("boxes", 1, json!({"name": "bob", "parent_id": "id-0"})),
                ("cards", 2, json!({"box_id": "id-0"})),
                ("cards", 3, json!({"box_id": "id-1"})),
            ],
            // Ann hands her box to nobody: it stays Bob's by his own box.
            &[("boxes", 0, json!({"name": "nobody"}))],
            &[("boxes", 1, json!({"name": "ann"}))],
            &[("boxes", 1, Json::Null)],
        ],
        &[(&[0, 2], &[0, 1, 2, 3]), (&[], &[0, 1, 2, 3]), (&[1, 3], &[]), (&[], &[])],
    );
}

#[test]
fn streams_that_everybody_has() {
    check(
        "
config: {edition: 2}
streams:
  own: {auto_subscribe: true, query: SELECT * FROM cards WHERE owner = auth.user_id()}
  boxes: {auto_subscribe: true, queries: [SELECT * FROM boxes]}
  later: {query: SELECT * FROM memos}
",
        &[&[
            ("boxes", 0, json!({})),
            ("cards", 1, json!({"owner": "ann"})),
            ("cards", 2, json!({"owner": "bob"})),
            ("memos", 3, json!({})),
        ]],
        &[(&[0, 1], &[0, 2])],
    );
}

#[test]
fn columns_that_are_not_selected_are_null_on_devices() {
    let mut builder =
        HistoryBuilder::new(1).sync_config("bucket_definitions: {all: {data: [\"SELECT id, title FROM cards\"]}}");
    let card = builder.row("cards");
    builder.server_write(&[(card, Some(json!({"title": "t", "body": "secret"})))]);
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let timeline = Timeline::build(&ctx);
    assert_eq!(timeline.view(0).row_at(card, 1), Some(&builder.image(card, &json!({"title": "t"}))));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let mut reasons = BTreeSet::new();
    for (data, named) in [
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT * FROM cards JOIN boxes", "join"),
        ("SELECT count(*) FROM cards", "count"),
        ("SELECT * FROM cards WHERE owner = bucket.other", "bucket parameter"),
        ("SELECT * FROM cards WHERE owner LIKE 'a%'", "%"),
        ("SELECT * FROM cards WHERE updated_at > '2026'", "updated_at"),
        ("SELECT title FROM cards", "must select id"),
        ("SELECT * FROM cards WHERE owner IN (SELECT id FROM boxes)", "select"),
    ] {
        let builder =
            HistoryBuilder::new(1).sync_config(&format!("bucket_definitions: {{all: {{data: [\"{data}\"]}}}}"));
        let reason = Visibility::parse(&builder.app).expect_err("the query is not known");
        assert!(reason.contains(named), "{data}: {reason}");
        reasons.insert(reason);
    }
    assert_eq!(reasons.len(), 8);
}
