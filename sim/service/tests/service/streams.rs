//! Checkpoints on a stream: their order, how they are cut into lines, interrupted and resumed.

use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::lines::{ALL, BY_PRIORITY, request_body, settle, shapes};
use crate::rig::{Rig, shared_schema};

#[tokio::test(start_paused = true)]
async fn priorities_complete_one_after_the_other() {
    let mut rig = Rig::new(shared_schema(), BY_PRIORITY);
    rig.put("boxes", "b1", &json!({})).put("notes", "n1", &json!({})).commit().replicate();
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    assert_eq!(
        settle(&mut stream, &mut client).await,
        [
            "checkpoint 2 w- [1#late[] 1#soon[]] -[]",
            "data 1#soon[] PUT1:b1",
            "partial 2 1",
            "data 1#late[] PUT2:n1",
            "complete 2",
        ]
    );
    // When all that is fetched has one priority there is no partial completion.
    rig.put("notes", "n2", &json!({})).commit().replicate();
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines, ["checkpoint_diff 3 w- [1#late[]] -[]", "data 1#late[] PUT3:n2", "complete 3"]);
    // Two transactions before the stream looks are one checkpoint.
    rig.put("notes", "n3", &json!({})).commit().replicate();
    rig.put("boxes", "b3", &json!({})).commit().replicate();
    let lines = settle(&mut stream, &mut client).await;
    let expect = [
        "checkpoint_diff 5 w- [1#late[] 1#soon[]] -[]",
        "data 1#soon[] PUT5:b3",
        "partial 5 1",
        "data 1#late[] PUT4:n3",
        "complete 5",
    ];
    assert_eq!(lines, expect);
}

#[tokio::test(start_paused = true)]
async fn diffs_coalesce_for_ten_milliseconds() {
    let mut rig = Rig::new(shared_schema(), ALL);
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    settle(&mut stream, &mut client).await;
    rig.put("boxes", "b1", &json!({})).commit().replicate();
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.extend(stream.next_within(Duration::ZERO).await);
    }
    assert_eq!(shapes(&lines)[2], "complete 1");
    rig.put("boxes", "b2", &json!({})).commit().replicate();
    assert_eq!(stream.next_within(Duration::from_millis(5)).await, None);
    rig.put("boxes", "b3", &json!({})).commit().replicate();
    let lines = shapes(&stream.settle().await);
    assert_eq!(lines, ["checkpoint_diff 3 w- [1#all[]] -[]", "data 1#all[] PUT2:b2 PUT3:b3", "complete 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_resumes_where_it_was() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({})).put("boxes", "b2", &json!({})).commit().replicate();
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    settle(&mut stream, &mut client).await;
    drop(stream);
    assert_eq!(rig.service.open_streams(), 0);
    rig.put("boxes", "b3", &json!({})).commit().replicate();
    let mut stream = rig.open(request_body(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines, ["checkpoint 3 w- [1#all[]] -[]", "data 1#all[] PUT3:b3", "complete 3"]);

    let odd = json!({"raw_data": true, "buckets": [
        {"name": "1#all[]", "after": "99"}, {"name": "9#gone[]", "after": "1"}]});
    let lines = shapes(&rig.open(odd).await.settle().await);
    assert_eq!(lines, ["checkpoint 3 w- [1#all[]] -[]", "complete 3"], "from the future, and unknown");
}

#[tokio::test(start_paused = true)]
async fn a_newer_checkpoint_interrupts_a_long_one() {
    let mut rig = Rig::new(shared_schema(), BY_PRIORITY);
    for row in 0..2500 {
        rig.put("notes", &format!("n{row}"), &json!({"body": "text"}));
    }
    rig.put("boxes", "b1", &json!({})).commit().replicate();
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.extend(stream.next_within(Duration::ZERO).await);
    }
    assert!(shapes(&lines)[3].starts_with("data 1#late[] PUT1:n0 "));
    assert!(lines[3].contains("\"has_more\":true"));
    assert_eq!(lines[3].matches("\"op_id\"").count(), 1000);
    rig.put("boxes", "b2", &json!({})).commit().replicate();
    lines.extend(stream.settle().await);
    client.take_all(&lines);
    let expect = ["partial 2501 1", "partial 2502 1", "complete 2502"];
    assert_eq!(client.completions, expect, "the superseded checkpoint is never complete");
    let shapes = shapes(&lines);
    assert_eq!(shapes[4], "checkpoint_diff 2502 w- [1#soon[]] -[]");
    assert_eq!(shapes[5], "data 1#soon[] PUT2502:b2");
    assert!(shapes[7].starts_with("data 1#late[] PUT1001:n1000 "), "what was pending goes on");
    assert_eq!(client.rows().len(), 2502);
}

#[tokio::test(start_paused = true)]
async fn a_short_checkpoint_is_not_interrupted() {
    let mut rig = Rig::new(shared_schema(), BY_PRIORITY);
    rig.put("notes", "n1", &json!({})).put("boxes", "b1", &json!({})).commit().replicate();
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    let mut lines = vec![stream.next_within(Duration::ZERO).await.expect("a checkpoint")];
    rig.put("notes", "n2", &json!({})).commit().replicate();
    lines.extend(stream.settle().await);
    client.take_all(&lines);
    assert_eq!(client.completions, ["partial 2 1", "complete 2", "complete 3"]);
}

#[tokio::test(start_paused = true)]
async fn large_rows_are_sent_in_lines_of_a_megabyte() {
    let mut rig = Rig::new(shared_schema(), ALL);
    let body = "x".repeat(400_000);
    for row in 0..5 {
        rig.put("notes", &format!("n{row}"), &json!({"body": body}));
    }
    rig.commit().replicate();
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    let expect = ["data 1#all[] PUT1:n0 PUT2:n1", "data 1#all[] PUT3:n2 PUT4:n3", "data 1#all[] PUT5:n4", "complete 5"];
    assert_eq!(lines[1..], expect);
}
