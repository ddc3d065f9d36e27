//! When a write checkpoint is acknowledged, and that it survives the service.

use serde_json::json;

use crate::client::Client;
use crate::lines::{ALL, OWN, request_body, settle};
use crate::rig::{Rig, shared_schema};

#[tokio::test(start_paused = true)]
async fn a_write_checkpoint_is_acknowledged_once_its_data_is_there() {
    let mut rig = Rig::new(shared_schema(), ALL);
    let (mut client, mut other) = (Client::default(), Client::default());
    let mut stream = rig.open(request_body(&client, "c")).await;
    let mut other_stream = rig.open(request_body(&other, "d")).await;
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

    rig.put("boxes", "b2", &json!({})).commit().replicate();
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
    let mut stream = rig.open(request_body(&client, "c")).await;
    assert_eq!(settle(&mut stream, &mut client).await, ["checkpoint 4 w3 [1#all[]] -[]", "complete 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_reaches_no_bucket_acknowledges_too() {
    let mut rig = Rig::new(shared_schema(), OWN);
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    settle(&mut stream, &mut client).await;
    rig.put("notes", "n1", &json!({})).commit();
    assert_eq!(rig.write_checkpoint("c").await, "1");
    assert_eq!(settle(&mut stream, &mut client).await, [""; 0]);
    rig.replicate();
    assert_eq!(settle(&mut stream, &mut client).await, ["checkpoint_diff 0 w1 [] -[]", "complete 0"]);
}

#[tokio::test(start_paused = true)]
async fn replication_survives_the_service_and_repeats_nothing() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({})).commit().replicate();
    let mut client = Client::default();
    let mut stream = rig.open(request_body(&client, "c")).await;
    settle(&mut stream, &mut client).await;
    drop(stream);
    assert_eq!(rig.write_checkpoint("c").await, "1");
    rig.restart(None);
    let change = sim_service::RowChange { table: 0, id: "b9".into(), before: None, after: None };
    rig.service.replicate(&sim_service::SourceTransaction { lsn: 1, changes: vec![change] });
    assert_eq!((rig.storage.last_op_id(), rig.storage.replicated_lsn()), (1, 1));
    rig.put("boxes", "b1", &json!({"label": "new"})).commit().replicate();
    let mut stream = rig.open(request_body(&client, "c")).await;
    let lines = settle(&mut stream, &mut client).await;
    assert_eq!(lines, ["checkpoint 3 w1 [1#all[]] -[]", "data 1#all[] REMOVE2:b1 PUT3:b1", "complete 3"]);
    assert_eq!(client.rows().len(), 1);
}
