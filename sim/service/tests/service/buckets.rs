//! Which buckets a client has, as rows change owners, grants come and go, buckets are compacted, and the sync
//! configuration changes.

use std::time::Duration;

use serde_json::json;
use sim_service::ReplicaIdentity;

use crate::client::Client;
use crate::lines::{ALL, BY_PRIORITY, OWN, TEAMS, request_body, settle, shapes};
use crate::rig::{Rig, identities, shared_schema};

#[tokio::test(start_paused = true)]
async fn a_row_that_changes_owner_moves_between_buckets() {
    for (identity, removal) in [(ReplicaIdentity::Full, 2), (ReplicaIdentity::PrimaryKey, 3)] {
        let identities = identities(&shared_schema(), identity);
        let mut rig = Rig::with(shared_schema(), OWN, |config| config.replica_identity = identities);
        rig.put("boxes", "b1", &json!({"owner": "u1", "label": "x"})).commit().replicate();
        let (mut one, mut two) = (Client::default(), Client::default());
        let mut stream_one = rig.open_as("u1", request_body(&one, "c")).await;
        let mut stream_two = rig.open_as("u2", request_body(&two, "c")).await;
        settle(&mut stream_one, &mut one).await;
        settle(&mut stream_two, &mut two).await;
        assert_eq!(one.rows(), [r#"boxes/b1 {"id":"b1","owner":"u1","label":"x","size":null}"#]);
        assert_eq!(two.rows(), [""; 0]);
        rig.put("boxes", "b1", &json!({"owner": "u2"})).commit().replicate();
        let put = 5 - removal;
        let lines = settle(&mut stream_one, &mut one).await;
        let bucket = |user: &str| format!("1#own[\"{user}\"]");
        assert_eq!(lines[1], format!("data {} REMOVE{removal}:b1", bucket("u1")));
        let lines = settle(&mut stream_two, &mut two).await;
        assert_eq!(lines[1], format!("data {} PUT{put}:b1", bucket("u2")));
        assert_eq!(one.rows(), [""; 0]);
        assert_eq!(two.rows(), [r#"boxes/b1 {"id":"b1","owner":"u2","label":"x","size":null}"#]);
        // A row that nobody owns is in no bucket.
        rig.put("boxes", "b1", &json!({"owner": null})).commit().replicate();
        settle(&mut stream_two, &mut two).await;
        assert_eq!(two.rows(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn buckets_come_and_go_with_the_rows_that_grant_them() {
    let mut rig = Rig::new(shared_schema(), TEAMS);
    rig.put("boxes", "b1", &json!({"owner": "red"})).put("boxes", "b2", &json!({"owner": "blue"})).commit().replicate();
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    assert_eq!(settle(&mut stream, &mut client).await, ["checkpoint 2 w- [] -[]", "complete 2"]);
    rig.put("members", "m1", &json!({"person": "u1", "team": "red"})).commit().replicate();
    let granted = ["checkpoint_diff 2 w- [1#team[\"red\"]] -[]", "data 1#team[\"red\"] PUT1:b1", "complete 2"];
    assert_eq!(settle(&mut stream, &mut client).await, granted);
    rig.put("members", "m2", &json!({"person": "u1", "team": "red"})).commit().replicate();
    assert_eq!(settle(&mut stream, &mut client).await, [""; 0], "granted twice is granted");
    rig.delete("members", "m1").commit().replicate();
    assert_eq!(settle(&mut stream, &mut client).await, [""; 0], "still granted once");
    rig.put("members", "m2", &json!({"team": "blue"})).commit().replicate();
    let moved =
        ["checkpoint_diff 2 w- [1#team[\"blue\"]] -[1#team[\"red\"]]", "data 1#team[\"blue\"] PUT2:b2", "complete 2"];
    assert_eq!(settle(&mut stream, &mut client).await, moved);
    rig.put("members", "m3", &json!({"person": "u1", "team": "red"})).commit().replicate();
    assert_eq!(settle(&mut stream, &mut client).await, granted, "what comes back is sent from its start");
    assert_eq!(client.rows().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn compaction_changes_nothing_that_a_client_sees() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({"label": "old"})).put("boxes", "b2", &json!({})).commit().replicate();
    let mut early = Client::default();
    let mut early_stream = rig.open(request_body(&early, "c")).await;
    settle(&mut early_stream, &mut early).await;
    rig.put("boxes", "b1", &json!({"label": "new"})).put("boxes", "b3", &json!({})).commit().replicate();
    rig.delete("boxes", "b2").commit().replicate();
    rig.service.compact();
    let mut fresh = Client::default();
    let mut stream = rig.open(request_body(&fresh, "d")).await;
    let lines = settle(&mut stream, &mut fresh).await;
    assert_eq!(lines[1], "data 1#all[] CLEAR3:- PUT4:b1 PUT5:b3 REMOVE6:b2");
    settle(&mut early_stream, &mut early).await;
    assert_eq!(early.rows(), fresh.rows());
    assert_eq!(fresh.rows().len(), 2);
    // A client from before the compaction reconnects after it.
    let mut back = rig.open(request_body(&early, "c")).await;
    settle(&mut back, &mut early).await;
    assert_eq!(early.rows(), fresh.rows());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_compaction_took_apart_is_not_completed() {
    // The rows of the checkpoint under way are written again (MOVE) or deleted (CLEAR), and compacted.
    for delete in [false, true] {
        let mut rig = Rig::new(shared_schema(), BY_PRIORITY);
        for id in ["n1", "n2", "n3"].into_iter().skip(usize::from(delete)) {
            rig.put("notes", id, &json!({}));
        }
        rig.put("boxes", "b1", &json!({})).commit().replicate();
        let first = rig.storage.last_op_id();
        let mut client = Client::default();
        let mut stream = rig.open(request_body(&client, "c")).await;
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
        rig.commit().replicate();
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
    rig.put("boxes", "b1", &json!({"owner": "u1"})).put("boxes", "b2", &json!({"owner": "u2"})).commit().replicate();
    rig.restart(Some(OWN));
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines[0], "checkpoint 4 w- [1#all[]] -[]", "the old ones first");
    rig.put("boxes", "b3", &json!({"owner": "u1"})).commit().replicate();
    assert_eq!(settle(&mut stream, &mut client).await.last().map(String::as_str), Some("complete 6"));
    assert_eq!(stream.next_within(Duration::from_secs(5)).await, None);
    assert!(stream.ended(), "then the stream is closed");
    let mut stream = rig.open(request_body(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    let expect = ["checkpoint 6 w- [2#own[\"u1\"]] -[]", "data 2#own[\"u1\"] PUT3:b1 PUT6:b3", "complete 6"];
    assert_eq!(lines, expect);
    assert_eq!(client.rows().len(), 2);
    // The same configuration again is no change.
    rig.restart(None);
    let mut stream = rig.open(request_body(&client, "c")).await;
    assert_eq!(settle(&mut stream, &mut client).await, ["checkpoint 6 w- [2#own[\"u1\"]] -[]", "complete 6"]);
}
