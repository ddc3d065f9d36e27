//! The lines of `/sync/stream` and the request that asks for them.
//!
//! Lines are written by hand into a buffer: they are few shapes and very many.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::bucket::Op;
use crate::row::{write_string, write_u64};

/// Greatest number of operations in one data line.
pub const DATA_LINE_OPS: usize = 1000;
/// About the greatest size of one data line.
pub const DATA_LINE_BYTES: usize = 1 << 20;

/// The body of a stream request. Unknown keys are allowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamRequest {
    /// The client's buckets, with the operation id that it has.
    pub buckets: Vec<(String, u64)>,
    /// Half of the write checkpoint key.
    pub client_id: Option<String>,
    /// The client's parameters: an object.
    pub parameters: Json,
    /// Whether `data` is sent as JSON text; otherwise as nested JSON (legacy).
    pub raw_data: bool,
    /// Whether to send streams that everybody is subscribed to.
    pub include_defaults: bool,
    /// Explicit subscriptions.
    pub subscriptions: Vec<Subscription>,
}

/// An explicit subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The stream's name.
    pub stream: String,
    /// Its parameters: an object.
    pub parameters: Json,
    /// A priority in place of the stream's.
    pub override_priority: Option<u8>,
}

impl StreamRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// What is wrong with it, as the official service words it.
    pub fn parse(body: &Json) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut request = Self { include_defaults: true, parameters: empty_object(), ..Self::default() };
        match body.get("buckets") {
            None => {}
            Some(Json::Array(buckets)) => {
                for (index, bucket) in buckets.iter().enumerate() {
                    match bucket_position(bucket, index) {
                        Ok(position) => request.buckets.push(position),
                        Err(problem) => problems.push(problem),
                    }
                }
            }
            Some(_) => problems.push("/buckets: type must be array".to_owned()),
        }
        let mut flag = |key: &str| match body.get(key) {
            None => false,
            Some(Json::Bool(flag)) => *flag,
            Some(_) => {
                problems.push(format!("/{key}: type must be boolean"));
                false
            }
        };
        flag("include_checksum");
        request.raw_data = flag("raw_data");
        match body.get("app_metadata") {
            None => {}
            Some(Json::Object(all)) if all.values().all(Json::is_string) => {}
            Some(_) => problems.push("/app_metadata: type must be object".to_owned()),
        }
        match body.get("parameters") {
            // The official service refuses null, but the client core sends it.
            None | Some(Json::Null) => {}
            Some(parameters @ Json::Object(_)) => request.parameters = parameters.clone(),
            Some(_) => problems.push("/parameters: type must be object".to_owned()),
        }
        match body.get("client_id") {
            None => {}
            Some(Json::String(id)) => request.client_id = Some(id.clone()),
            Some(_) => problems.push("/client_id: type must be string".to_owned()),
        }
        match body.get("streams") {
            None => {}
            Some(Json::Object(streams)) => {
                match streams.get("include_defaults") {
                    None => {}
                    Some(Json::Bool(flag)) => request.include_defaults = *flag,
                    Some(_) => problems.push("/streams/include_defaults: type must be boolean".to_owned()),
                }
                match streams.get("subscriptions") {
                    Some(Json::Array(all)) => {
                        for (index, one) in all.iter().enumerate() {
                            match subscription(one, index) {
                                Ok(subscription) => request.subscriptions.push(subscription),
                                Err(problem) => problems.push(problem),
                            }
                        }
                    }
                    None => problems.push("/streams must have required property 'subscriptions'".to_owned()),
                    Some(_) => problems.push("/streams/subscriptions: type must be array".to_owned()),
                }
            }
            Some(_) => problems.push("/streams: type must be object".to_owned()),
        }
        if problems.is_empty() { Ok(request) } else { Err(problems) }
    }
}

fn empty_object() -> Json {
    Json::Object(serde_json::Map::new())
}

fn bucket_position(bucket: &Json, index: usize) -> Result<(String, u64), String> {
    let place = format!("/buckets/{index}");
    let Json::Object(bucket) = bucket else {
        return Err(format!("{place}: type must be object"));
    };
    let keys = ["name", "after"];
    if let Some(key) = keys.iter().find(|key| !bucket.contains_key(**key)) {
        return Err(format!("{place} must have required property '{key}'"));
    }
    if let Some(key) = keys.iter().find(|key| !bucket[**key].is_string()) {
        return Err(format!("{place}/{key}: type must be string"));
    }
    let text = |key: &str| bucket.get(key).and_then(Json::as_str).expect("checked to be a string");
    match text("after").parse() {
        Ok(after) => Ok((text("name").to_owned(), after)),
        Err(_) => Err(format!("{place}/after: must be a decimal number")),
    }
}

fn subscription(json: &Json, index: usize) -> Result<Subscription, String> {
    let place = format!("/streams/subscriptions/{index}");
    let Json::Object(json) = json else {
        return Err(format!("{place}: type must be object"));
    };
    for key in ["stream", "parameters", "override_priority"] {
        if !json.contains_key(key) {
            return Err(format!("{place} must have required property '{key}'"));
        }
    }
    let Some(stream) = json["stream"].as_str() else {
        return Err(format!("{place}/stream: type must be string"));
    };
    let parameters = match &json["parameters"] {
        Json::Null => empty_object(),
        object @ Json::Object(_) => object.clone(),
        _ => return Err(format!("{place}/parameters: type must be object")),
    };
    let override_priority = match &json["override_priority"] {
        Json::Null => None,
        Json::Number(number) => match number.as_u64().and_then(|level| u8::try_from(level).ok()) {
            Some(level @ 0..=3) => Some(level),
            _ => return Err(format!("{place}/override_priority: must be 0, 1, 2 or 3")),
        },
        _ => return Err(format!("{place}/override_priority: type must be number")),
    };
    Ok(Subscription { stream: stream.to_owned(), parameters, override_priority })
}

/// Why a client gets a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Everybody does: an index into the checkpoint line's `streams`.
    Default(usize),
    /// An explicit subscription: an index into the request's.
    Subscription(usize),
}

/// A bucket as checkpoint lines state it.
#[derive(Clone, Debug)]
pub struct BucketLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// The sum over its operations.
    pub checksum: u32,
    /// The number of its operations.
    pub count: usize,
    /// 0 to 3.
    pub priority: u8,
    /// Why the client gets it.
    pub reasons: &'a [Reason],
}

impl BucketLine<'_> {
    fn write(&self, out: &mut String) {
        out.push_str("{\"bucket\":");
        write_string(out, self.name);
        let (checksum, count, priority) = (self.checksum.cast_signed(), self.count, self.priority);
        let _ = write!(out, ",\"checksum\":{checksum},\"count\":{count},\"priority\":{priority},\"subscriptions\":[");
        for (index, reason) in self.reasons.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            let _ = match reason {
                Reason::Default(stream) => write!(out, "{{\"default\":{stream}}}"),
                Reason::Subscription(index) => write!(out, "{{\"sub\":{index}}}"),
            };
        }
        out.push_str("]}");
    }
}

fn write_head(out: &mut String, kind: &str, last_op_id: u64, write_checkpoint: Option<u64>) {
    out.push_str("{\"");
    out.push_str(kind);
    out.push_str("\":{\"last_op_id\":\"");
    write_u64(out, last_op_id);
    out.push('"');
    if let Some(counter) = write_checkpoint {
        out.push_str(",\"write_checkpoint\":\"");
        write_u64(out, counter);
        out.push('"');
    }
}

fn write_buckets<'a>(out: &mut String, buckets: impl Iterator<Item = BucketLine<'a>>) {
    for (index, bucket) in buckets.enumerate() {
        if index > 0 {
            out.push(',');
        }
        bucket.write(out);
    }
}

/// `{"checkpoint":…}`: the whole list of buckets. `streams` are (name, is_default).
#[must_use]
pub fn checkpoint_line<'a, 's>(
    last_op_id: u64,
    write_checkpoint: Option<u64>,
    buckets: impl Iterator<Item = BucketLine<'a>>,
    streams: impl Iterator<Item = (&'s str, bool)>,
) -> String {
    let mut out = String::with_capacity(256);
    write_head(&mut out, "checkpoint", last_op_id, write_checkpoint);
    out.push_str(",\"buckets\":[");
    write_buckets(&mut out, buckets);
    out.push_str("],\"streams\":[");
    for (index, (name, default)) in streams.enumerate() {
        out.push_str(if index > 0 { ",{\"name\":" } else { "{\"name\":" });
        write_string(&mut out, name);
        let _ = write!(out, ",\"is_default\":{default},\"errors\":[]}}");
    }
    out.push_str("]}}\n");
    out
}

/// `{"checkpoint_diff":…}`: what changed since the last checkpoint line.
#[must_use]
pub fn diff_line<'a, 'r>(
    last_op_id: u64,
    write_checkpoint: Option<u64>,
    removed: impl Iterator<Item = &'r Arc<str>>,
    updated: impl Iterator<Item = BucketLine<'a>>,
) -> String {
    let mut out = String::with_capacity(256);
    write_head(&mut out, "checkpoint_diff", last_op_id, write_checkpoint);
    out.push_str(",\"removed_buckets\":[");
    for (index, name) in removed.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(&mut out, name);
    }
    out.push_str("],\"updated_buckets\":[");
    write_buckets(&mut out, updated);
    out.push_str("]}}\n");
    out
}

/// `{"data":…}`: operations of one bucket, at least one.
#[must_use]
pub fn data_line(bucket: &str, after: u64, ops: &[Op], has_more: bool, raw_data: bool) -> String {
    let size: usize = ops.iter().map(|op| op.wire_len() + 1).sum();
    let mut out = String::with_capacity(128 + bucket.len() + size);
    out.push_str("{\"data\":{\"bucket\":");
    write_string(&mut out, bucket);
    out.push_str(",\"after\":\"");
    write_u64(&mut out, after);
    out.push_str(if has_more { "\",\"has_more\":true,\"data\":[" } else { "\",\"has_more\":false,\"data\":[" });
    for (index, op) in ops.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if raw_data {
            op.write(&mut out);
        } else {
            write_nested(&mut out, op);
        }
    }
    out.push_str("],\"next_after\":\"");
    write_u64(&mut out, ops.last().map_or(after, |op| op.op_id));
    out.push_str("\"}}\n");
    out
}

/// The legacy form: row data as an object rather than as text.
fn write_nested(out: &mut String, op: &Op) {
    let mut text = String::new();
    op.write(&mut text);
    let mut json: Json = serde_json::from_str(&text).expect("an operation's wire form is JSON");
    if let Some(data) = json.get_mut("data")
        && let Some(nested) = data.as_str().and_then(|text| serde_json::from_str(text).ok())
    {
        *data = nested;
    }
    out.push_str(&json.to_string());
}

/// `{"checkpoint_complete":…}`.
#[must_use]
pub fn complete_line(last_op_id: u64) -> String {
    format!("{{\"checkpoint_complete\":{{\"last_op_id\":\"{last_op_id}\"}}}}\n")
}

/// `{"partial_checkpoint_complete":…}`.
#[must_use]
pub fn partial_complete_line(last_op_id: u64, priority: u8) -> String {
    format!("{{\"partial_checkpoint_complete\":{{\"last_op_id\":\"{last_op_id}\",\"priority\":{priority}}}}}\n")
}

/// `{"token_expires_in":…}`, in seconds.
#[must_use]
pub fn keepalive_line(seconds: i64) -> String {
    format!("{{\"token_expires_in\":{seconds}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(body: Json, expect: Result<StreamRequest, &[&str]>) {
        let expect = expect.map_err(|problems| problems.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(StreamRequest::parse(&body), expect, "{body}");
    }

    #[test]
    fn request_bodies() {
        let plain = StreamRequest { include_defaults: true, parameters: json!({}), ..StreamRequest::default() };
        check(json!({}), Ok(plain.clone()));
        check(json!({"parameters": null, "only": 3, "binary_data": true}), Ok(plain.clone()));
        check(
            json!({"raw_data": true, "client_id": "c", "parameters": {"a": 1}, "buckets": [{"name": "b", "after": "7"}],
                "streams": {"include_defaults": false, "subscriptions": [
                    {"stream": "s", "parameters": null, "override_priority": 1}]}}),
            Ok(StreamRequest {
                raw_data: true,
                client_id: Some("c".to_owned()),
                parameters: json!({"a": 1}),
                buckets: vec![("b".to_owned(), 7)],
                include_defaults: false,
                subscriptions: vec![Subscription {
                    stream: "s".to_owned(),
                    parameters: json!({}),
                    override_priority: Some(1),
                }],
            }),
        );
        check(
            json!({"raw_data": "yes", "buckets": [{"name": 1}, {"name": 1, "after": "0"}]}),
            Err(&[
                "/buckets/0 must have required property 'after'",
                "/buckets/1/name: type must be string",
                "/raw_data: type must be boolean",
            ]),
        );
        check(json!({"parameters": 1}), Err(&["/parameters: type must be object"]));
        check(
            json!({"streams": {"subscriptions": [{"stream": "s", "parameters": {}}]}}),
            Err(&["/streams/subscriptions/0 must have required property 'override_priority'"]),
        );
    }
}
