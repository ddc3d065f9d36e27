//! What streams promise, tested over HTTP.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sim_service::ReplicaIdentity;

use crate::client::Client;
use crate::rig::{Lines, Rig, identities, shared_schema};

const ALL: &str = "bucket_definitions: {all: {data: [SELECT * FROM boxes, SELECT * FROM notes]}}";

const OWN: &str = "
bucket_definitions:
  own:
    parameters: SELECT request.user_id() AS person
    data: SELECT * FROM boxes WHERE owner = bucket.person
";

const BY_PRIORITY: &str = "
bucket_definitions:
  late: {priority: 3, data: SELECT * FROM notes}
  soon: {priority: 1, data: SELECT * FROM boxes}
";

const TEAMS: &str = "
bucket_definitions:
  team:
    parameters: SELECT team FROM members WHERE person = request.user_id()
    data: SELECT * FROM boxes WHERE owner = bucket.team
";

fn ask(client: &Client, client_id: &str) -> Json {
    json!({"raw_data": true, "client_id": client_id, "buckets": client.request_buckets(), "parameters": {}})
}

/// The shape of lines: what each is, with the operations of data.
fn shapes(lines: &[String]) -> Vec<String> {
    let shape = |line: &String| {
        let line: Json = serde_json::from_str(line).expect("a line is JSON");
        let (kind, body) = line.as_object().and_then(|all| all.iter().next()).expect("one key");
        let text = |key: &str| body[key].as_str().unwrap_or("-").to_owned();
        match kind.as_str() {
            "data" => {
                let ops = body["data"].as_array().expect("a list").iter().map(|op| {
                    format!(
                        " {}{}:{}",
                        op["op"].as_str().expect("an operation"),
                        op["op_id"].as_str().expect("an id"),
                        op["object_id"].as_str().unwrap_or("-")
                    )
                });
                format!("data {}{}", text("bucket"), ops.collect::<String>())
            }
            "checkpoint" | "checkpoint_diff" => {
                let list = |key: &str| {
                    let all = body[key].as_array().into_iter().flatten();
                    let name =
                        |bucket: &Json| bucket.as_str().or(bucket["bucket"].as_str()).expect("a name").to_owned();
                    all.map(name).collect::<Vec<_>>().join(" ")
                };
                let buckets = if kind == "checkpoint" { list("buckets") } else { list("updated_buckets") };
                format!(
                    "{kind} {} w{} [{buckets}] -[{}]",
                    text("last_op_id"),
                    text("write_checkpoint"),
                    list("removed_buckets")
                )
            }
            "token_expires_in" => format!("{kind} {body}"),
            "partial_checkpoint_complete" => format!("partial {} {}", text("last_op_id"), body["priority"]),
            _ => format!("complete {}", text("last_op_id")),
        }
    };
    lines.iter().map(shape).collect()
}

async fn settle(stream: &mut Lines, client: &mut Client) -> Vec<String> {
    let lines = stream.settle().await;
    client.take_all(&lines);
    shapes(&lines)
}

#[tokio::test(start_paused = true)]
async fn priorities_complete_one_after_the_other() {
    let mut rig = Rig::new(shared_schema(), BY_PRIORITY);
    rig.put("boxes", "b1", &json!({})).put("notes", "n1", &json!({})).flow();
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
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
    rig.put("notes", "n2", &json!({})).flow();
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines, ["checkpoint_diff 3 w- [1#late[]] -[]", "data 1#late[] PUT3:n2", "complete 3"]);
    // Two transactions before the stream looks are one checkpoint.
    rig.put("notes", "n3", &json!({})).flow();
    rig.put("boxes", "b3", &json!({})).flow();
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
    let mut stream = rig.open(ask(&client, "c")).await;
    settle(&mut stream, &mut client).await;
    rig.put("boxes", "b1", &json!({})).flow();
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.extend(stream.next_within(Duration::ZERO).await);
    }
    assert_eq!(shapes(&lines)[2], "complete 1");
    rig.put("boxes", "b2", &json!({})).flow();
    assert_eq!(stream.next_within(Duration::from_millis(5)).await, None);
    rig.put("boxes", "b3", &json!({})).flow();
    let lines = shapes(&stream.settle().await);
    assert_eq!(lines, ["checkpoint_diff 3 w- [1#all[]] -[]", "data 1#all[] PUT2:b2 PUT3:b3", "complete 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_changes_owner_moves_between_buckets() {
    for (identity, removal) in [(ReplicaIdentity::Full, 2), (ReplicaIdentity::PrimaryKey, 3)] {
        let identities = identities(&shared_schema(), identity);
        let mut rig = Rig::with(shared_schema(), OWN, |config| config.replica_identity = identities);
        rig.put("boxes", "b1", &json!({"owner": "u1", "label": "x"})).flow();
        let (mut one, mut two) = (Client::default(), Client::default());
        let mut stream_one = rig.open_as("u1", ask(&one, "c")).await;
        let mut stream_two = rig.open_as("u2", ask(&two, "c")).await;
        settle(&mut stream_one, &mut one).await;
        settle(&mut stream_two, &mut two).await;
        assert_eq!(one.rows(), [r#"boxes/b1 {"id":"b1","owner":"u1","label":"x","size":null}"#]);
        assert_eq!(two.rows(), [""; 0]);
        rig.put("boxes", "b1", &json!({"owner": "u2"})).flow();
        let put = 5 - removal;
        let lines = settle(&mut stream_one, &mut one).await;
        let bucket = |user: &str| format!("1#own[\"{user}\"]");
        assert_eq!(lines[1], format!("data {} REMOVE{removal}:b1", bucket("u1")));
        let lines = settle(&mut stream_two, &mut two).await;
        assert_eq!(lines[1], format!("data {} PUT{put}:b1", bucket("u2")));
        assert_eq!(one.rows(), [""; 0]);
        assert_eq!(two.rows(), [r#"boxes/b1 {"id":"b1","owner":"u2","label":"x","size":null}"#]);
        // A row that nobody owns is in no bucket.
        rig.put("boxes", "b1", &json!({"owner": null})).flow();
        settle(&mut stream_two, &mut two).await;
        assert_eq!(two.rows(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn buckets_come_and_go_with_the_rows_that_grant_them() {
    let mut rig = Rig::new(shared_schema(), TEAMS);
    rig.put("boxes", "b1", &json!({"owner": "red"})).put("boxes", "b2", &json!({"owner": "blue"})).flow();
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
    assert_eq!(settle(&mut stream, &mut client).await, ["checkpoint 2 w- [] -[]", "complete 2"]);
    rig.put("members", "m1", &json!({"person": "u1", "team": "red"})).flow();
    let granted = ["checkpoint_diff 2 w- [1#team[\"red\"]] -[]", "data 1#team[\"red\"] PUT1:b1", "complete 2"];
    assert_eq!(settle(&mut stream, &mut client).await, granted);
    rig.put("members", "m2", &json!({"person": "u1", "team": "red"})).flow();
    assert_eq!(settle(&mut stream, &mut client).await, [""; 0], "granted twice is granted");
    rig.delete("members", "m1").flow();
    assert_eq!(settle(&mut stream, &mut client).await, [""; 0], "still granted once");
    rig.put("members", "m2", &json!({"team": "blue"})).flow();
    let moved =
        ["checkpoint_diff 2 w- [1#team[\"blue\"]] -[1#team[\"red\"]]", "data 1#team[\"blue\"] PUT2:b2", "complete 2"];
    assert_eq!(settle(&mut stream, &mut client).await, moved);
    rig.put("members", "m3", &json!({"person": "u1", "team": "red"})).flow();
    assert_eq!(settle(&mut stream, &mut client).await, granted, "what comes back is sent from its start");
    assert_eq!(client.rows().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_checkpoint_is_acknowledged_once_its_data_is_there() {
    let mut rig = Rig::new(shared_schema(), ALL);
    let (mut client, mut other) = (Client::default(), Client::default());
    let mut stream = rig.open(ask(&client, "c")).await;
    let mut other_stream = rig.open(ask(&other, "d")).await;
    settle(&mut stream, &mut client).await;
    settle(&mut other_stream, &mut other).await;

    assert_eq!(rig.write_checkpoint("c").await, "1");
    let empty = ["checkpoint_diff 0 w1 [] -[]", "complete 0"];
    assert_eq!(settle(&mut stream, &mut client).await, empty, "nothing is outstanding at the source");

    rig.put("boxes", "b1", &json!({})).commit();
    assert_eq!(rig.write_checkpoint("c").await, "2");
    assert_eq!(settle(&mut stream, &mut client).await, [""; 0], "the upload is not replicated");
    rig.replicate();
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines, ["checkpoint_diff 1 w2 [1#all[]] -[]", "data 1#all[] PUT1:b1", "complete 1"]);

    rig.put("boxes", "b2", &json!({})).flow();
    assert_eq!(settle(&mut stream, &mut client).await[0], "checkpoint_diff 2 w2 [1#all[]] -[]", "it stays");

    // Two transactions; the write checkpoint waits for the second, and hides the older one meanwhile.
    rig.put("boxes", "b3", &json!({})).commit();
    rig.replicate();
    rig.put("boxes", "b4", &json!({})).commit();
    assert_eq!(rig.write_checkpoint("c").await, "3");
    assert_eq!(settle(&mut stream, &mut client).await[0], "checkpoint_diff 3 w- [1#all[]] -[]");
    rig.replicate();
    assert_eq!(settle(&mut stream, &mut client).await[0], "checkpoint_diff 4 w3 [1#all[]] -[]");

    settle(&mut other_stream, &mut other).await;
    assert_eq!(other.write_checkpoint, None, "it is the client's own");
    let mut stream = rig.open(ask(&client, "c")).await;
    assert_eq!(settle(&mut stream, &mut client).await, ["checkpoint 4 w3 [1#all[]] -[]", "complete 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_reaches_no_bucket_acknowledges_too() {
    let mut rig = Rig::new(shared_schema(), OWN);
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
    settle(&mut stream, &mut client).await;
    rig.put("notes", "n1", &json!({})).commit();
    assert_eq!(rig.write_checkpoint("c").await, "1");
    assert_eq!(settle(&mut stream, &mut client).await, [""; 0]);
    rig.replicate();
    assert_eq!(settle(&mut stream, &mut client).await, ["checkpoint_diff 0 w1 [] -[]", "complete 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_resumes_where_it_was() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({})).put("boxes", "b2", &json!({})).flow();
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
    settle(&mut stream, &mut client).await;
    drop(stream);
    assert_eq!(rig.service.open_streams(), 0);
    rig.put("boxes", "b3", &json!({})).flow();
    let mut stream = rig.open(ask(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines, ["checkpoint 3 w- [1#all[]] -[]", "data 1#all[] PUT3:b3", "complete 3"]);

    let odd = json!({"raw_data": true, "buckets": [
        {"name": "1#all[]", "after": "99"}, {"name": "9#gone[]", "after": "1"}]});
    let lines = shapes(&rig.open(odd).await.settle().await);
    assert_eq!(lines, ["checkpoint 3 w- [1#all[]] -[]", "complete 3"], "from the future, and unknown");
}

#[tokio::test(start_paused = true)]
async fn replication_survives_the_service_and_repeats_nothing() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({})).flow();
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
    settle(&mut stream, &mut client).await;
    drop(stream);
    assert_eq!(rig.write_checkpoint("c").await, "1");
    rig.restart(None);
    let change = sim_service::RowChange { table: 0, id: "b9".into(), before: None, after: None };
    rig.service.replicate(&sim_service::SourceTransaction { lsn: 1, changes: vec![change] });
    assert_eq!((rig.storage.last_op_id(), rig.storage.replicated_lsn()), (1, 1));
    rig.put("boxes", "b1", &json!({"label": "new"})).flow();
    let mut stream = rig.open(ask(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines, ["checkpoint 3 w1 [1#all[]] -[]", "data 1#all[] REMOVE2:b1 PUT3:b1", "complete 3"]);
    assert_eq!(client.rows().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newer_checkpoint_interrupts_a_long_one() {
    let mut rig = Rig::new(shared_schema(), BY_PRIORITY);
    for row in 0..2500 {
        rig.put("notes", &format!("n{row}"), &json!({"body": "text"}));
    }
    rig.put("boxes", "b1", &json!({})).flow();
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.extend(stream.next_within(Duration::ZERO).await);
    }
    assert!(shapes(&lines)[3].starts_with("data 1#late[] PUT1:n0 "));
    assert!(lines[3].contains("\"has_more\":true"));
    assert_eq!(lines[3].matches("\"op_id\"").count(), 1000);
    rig.put("boxes", "b2", &json!({})).flow();
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
    rig.put("notes", "n1", &json!({})).put("boxes", "b1", &json!({})).flow();
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
    let mut lines = vec![stream.next_within(Duration::ZERO).await.expect("a checkpoint")];
    rig.put("notes", "n2", &json!({})).flow();
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
    rig.flow();
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    let expect = ["data 1#all[] PUT1:n0 PUT2:n1", "data 1#all[] PUT3:n2 PUT4:n3", "data 1#all[] PUT5:n4", "complete 5"];
    assert_eq!(lines[1..], expect);
}

#[tokio::test(start_paused = true)]
async fn compaction_changes_nothing_that_a_client_sees() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({"label": "old"})).put("boxes", "b2", &json!({})).flow();
    let mut early = Client::default();
    let mut early_stream = rig.open(ask(&early, "c")).await;
    settle(&mut early_stream, &mut early).await;
    rig.put("boxes", "b1", &json!({"label": "new"})).put("boxes", "b3", &json!({})).flow();
    rig.delete("boxes", "b2").flow();
    rig.service.compact();
    let mut fresh = Client::default();
    let mut stream = rig.open(ask(&fresh, "d")).await;
    let lines = settle(&mut stream, &mut fresh).await;
    assert_eq!(lines[1], "data 1#all[] CLEAR3:- PUT4:b1 PUT5:b3 REMOVE6:b2");
    settle(&mut early_stream, &mut early).await;
    assert_eq!(early.rows(), fresh.rows());
    assert_eq!(fresh.rows().len(), 2);
    // A client from before the compaction, back after it.
    let mut back = rig.open(ask(&early, "c")).await;
    settle(&mut back, &mut early).await;
    assert_eq!(early.rows(), fresh.rows());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_compaction_took_apart_is_not_completed() {
    // The rows of the checkpoint under way are written anew (MOVE), or deleted (CLEAR), and compacted.
    for delete in [false, true] {
        let mut rig = Rig::new(shared_schema(), BY_PRIORITY);
        for id in ["n1", "n2", "n3"].into_iter().skip(usize::from(delete)) {
            rig.put("notes", id, &json!({}));
        }
        rig.put("boxes", "b1", &json!({})).flow();
        let first = rig.storage.last_op_id();
        let mut client = Client::default();
        let mut stream = rig.open(ask(&client, "c")).await;
        let mut lines = Vec::new();
        for _ in 0..2 {
            lines.extend(stream.next_within(Duration::ZERO).await);
        }
        assert_eq!(shapes(&lines)[1], format!("data 1#soon[] PUT{first}:b1"));
        for id in ["n2", "n3"] {
            if delete {
                rig.delete("notes", id);
            } else {
                rig.put("notes", id, &json!({"body": "new"}));
            }
        }
        rig.flow();
        rig.service.compact();
        lines.extend(stream.settle().await);
        client.take_all(&lines);
        let expect = [format!("partial {first} 1"), format!("complete {}", rig.storage.last_op_id())];
        assert_eq!(client.completions, expect, "{:?}", shapes(&lines));
        assert_eq!(client.rows().len(), if delete { 1 } else { 4 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_sync_config_takes_over_after_the_old_buckets_were_served() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({"owner": "u1"})).put("boxes", "b2", &json!({"owner": "u2"})).flow();
    rig.restart(Some(OWN));
    let mut client = Client::default();
    let mut stream = rig.open(ask(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines[0], "checkpoint 4 w- [1#all[]] -[]", "the old ones first");
    rig.put("boxes", "b3", &json!({"owner": "u1"})).flow();
    assert_eq!(settle(&mut stream, &mut client).await.last().map(String::as_str), Some("complete 6"));
    assert_eq!(stream.next_within(Duration::from_secs(5)).await, None);
    assert!(stream.ended(), "then the stream is closed");
    let mut stream = rig.open(ask(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    let expect = ["checkpoint 6 w- [2#own[\"u1\"]] -[]", "data 2#own[\"u1\"] PUT3:b1 PUT6:b3", "complete 6"];
    assert_eq!(lines, expect);
    assert_eq!(client.rows().len(), 2);
    // The same configuration again is no change.
    rig.restart(None);
    let mut stream = rig.open(ask(&client, "c")).await;
    assert_eq!(settle(&mut stream, &mut client).await, ["checkpoint 6 w- [2#own[\"u1\"]] -[]", "complete 6"]);
}
