//! The lines of streams, shortened for comparison, and the sync configurations of the tests that compare them.

use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::rig::Lines;

pub(crate) const ALL: &str = "bucket_definitions: {all: {data: [SELECT * FROM boxes, SELECT * FROM notes]}}";

pub(crate) const OWN: &str = "
bucket_definitions:
  own:
    parameters: SELECT request.user_id() AS person
    data: SELECT * FROM boxes WHERE owner = bucket.person
";

pub(crate) const BY_PRIORITY: &str = "
bucket_definitions:
  late: {priority: 3, data: SELECT * FROM notes}
  soon: {priority: 1, data: SELECT * FROM boxes}
";

pub(crate) const TEAMS: &str = "
bucket_definitions:
  team:
    parameters: SELECT team FROM members WHERE person = request.user_id()
    data: SELECT * FROM boxes WHERE owner = bucket.team
";

/// The body of a stream request that goes on from what the client has.
pub(crate) fn request_body(client: &Client, client_id: &str) -> Json {
    json!({"raw_data": true, "client_id": client_id, "buckets": client.request_buckets(), "parameters": {}})
}

/// Each line as a few words: its kind, positions and buckets, and the operations of data.
pub(crate) fn shapes(lines: &[String]) -> Vec<String> {
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

/// Reads until nothing more comes, and hands all lines to the client.
pub(crate) async fn settle(stream: &mut Lines, client: &mut Client) -> Vec<String> {
    let lines = stream.settle().await;
    client.take_all(&lines);
    shapes(&lines)
}
