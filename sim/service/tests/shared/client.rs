//! A second implementation of a sync client: it takes lines, checks checksums, and holds rows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

/// What a client has downloaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    buckets: BTreeMap<String, LocalBucket>,
    /// (checksum, priority) by bucket, as the last checkpoint said.
    expected: BTreeMap<String, (u32, u64)>,
    last_op_id: u64,
    pub(crate) write_checkpoint: Option<String>,
    /// Completions seen, `partial …` and `complete`, with their operation id.
    pub(crate) completions: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct LocalBucket {
    last_op: u64,
    added: u32,
    /// (checksum, data, op id) by (type, id, subkey).
    rows: BTreeMap<(String, String, String), (u32, String, u64)>,
}

impl Client {
    /// Takes a line. Panics when the service breaks the protocol.
    pub(crate) fn take(&mut self, line: &str) {
        let line: Json = serde_json::from_str(line).expect("a line is JSON");
        let (kind, body) = line.as_object().and_then(|all| all.iter().next()).expect("a line has one key");
        match kind.as_str() {
            "checkpoint" => {
                self.expected.clear();
                self.update(body, "buckets");
                let listed: BTreeSet<&String> = self.expected.keys().collect();
                self.buckets.retain(|name, _| listed.contains(name));
            }
            "checkpoint_diff" => {
                for name in body["removed_buckets"].as_array().expect("a list") {
                    let name = name.as_str().expect("a name");
                    assert!(self.expected.remove(name).is_some(), "{name} was there to be removed");
                    self.buckets.remove(name);
                }
                self.update(body, "updated_buckets");
            }
            "data" => self.data(body),
            "checkpoint_complete" => {
                self.validate(3);
                for name in self.expected.keys() {
                    let bucket = self.buckets.entry(name.clone()).or_default();
                    bucket.last_op = bucket.last_op.max(self.last_op_id);
                }
                self.completions.push(format!("complete {}", text(&body["last_op_id"])));
            }
            "partial_checkpoint_complete" => {
                self.validate(body["priority"].as_u64().expect("a priority"));
                self.completions.push(format!("partial {} {}", text(&body["last_op_id"]), body["priority"]));
            }
            "token_expires_in" => {}
            other => panic!("unknown line {other}"),
        }
    }

    pub(crate) fn take_all(&mut self, lines: &[String]) -> &mut Self {
        lines.iter().for_each(|line| self.take(line));
        self
    }

    /// `buckets` of the next request.
    pub(crate) fn request_buckets(&self) -> Json {
        let positions = self.buckets.iter().filter(|(_, bucket)| bucket.last_op > 0);
        positions.map(|(name, bucket)| json!({"name": name, "after": bucket.last_op.to_string()})).collect()
    }

    /// The visible rows, as `type/id data`.
    pub(crate) fn rows(&self) -> Vec<String> {
        let mut visible: BTreeMap<(&str, &str), (u64, &str)> = BTreeMap::new();
        for bucket in self.buckets.values() {
            for ((object_type, id, _), (_, data, op_id)) in &bucket.rows {
                let slot = visible.entry((object_type, id)).or_default();
                *slot = (*slot).max((*op_id, data));
            }
        }
        visible.iter().map(|((object_type, id), (_, data))| format!("{object_type}/{id} {data}")).collect()
    }

    fn update(&mut self, body: &Json, key: &str) {
        self.last_op_id = text(&body["last_op_id"]).parse().expect("a number");
        self.write_checkpoint = body["write_checkpoint"].as_str().map(ToOwned::to_owned);
        for bucket in body[key].as_array().expect("a list") {
            let checksum =
                i32::try_from(bucket["checksum"].as_i64().expect("a number")).expect("32 bits").cast_unsigned();
            let priority = bucket["priority"].as_u64().expect("a number");
            self.expected.insert(text(&bucket["bucket"]).to_owned(), (checksum, priority));
        }
    }

    fn data(&mut self, body: &Json) {
        let name = text(&body["bucket"]);
        assert!(self.expected.contains_key(name), "{name} is in the checkpoint");
        let bucket = self.buckets.entry(name.to_owned()).or_default();
        let ops = body["data"].as_array().expect("a list");
        assert!(!ops.is_empty(), "an empty data line");
        for op in ops {
            let op_id: u64 = text(&op["op_id"]).parse().expect("a number");
            assert!(op_id > bucket.last_op, "operation {op_id} again, after {}", bucket.last_op);
            bucket.last_op = op_id;
            let checksum = u32::try_from(op["checksum"].as_u64().expect("a number")).expect("32 bits");
            let kind = text(&op["op"]);
            if kind == "CLEAR" {
                bucket.rows.clear();
                bucket.added = checksum;
                continue;
            }
            if kind == "MOVE" {
                bucket.added = bucket.added.wrapping_add(checksum);
                continue;
            }
            let key = (
                text(&op["object_type"]).to_owned(),
                text(&op["object_id"]).to_owned(),
                text(&op["subkey"]).to_owned(),
            );
            if let Some((old, ..)) = bucket.rows.remove(&key) {
                bucket.added = bucket.added.wrapping_add(old);
            }
            if kind == "PUT" {
                let data = text(&op["data"]);
                let expect = sim_service::operation::put_checksum(&key.0, &key.1, data);
                assert_eq!(checksum, expect, "checksum of {op}");
                bucket.rows.insert(key, (checksum, data.to_owned(), op_id));
            } else {
                assert_eq!(checksum, sim_service::operation::remove_checksum(&key.2), "checksum of {op}");
                assert!(op["data"].is_null());
                bucket.added = bucket.added.wrapping_add(checksum);
            }
        }
        assert_eq!(text(&body["next_after"]), bucket.last_op.to_string());
    }

    fn validate(&self, priority: u64) {
        for (name, (checksum, _)) in self.expected.iter().filter(|(_, (_, own))| *own <= priority) {
            let sum = self.buckets.get(name).map_or(0, |bucket| {
                bucket.rows.values().fold(bucket.added, |sum, (checksum, ..)| sum.wrapping_add(*checksum))
            });
            assert_eq!(sum, *checksum, "checksum of {name} at {}", self.last_op_id);
        }
    }
}

fn text(json: &Json) -> &str {
    json.as_str().expect("a text")
}
