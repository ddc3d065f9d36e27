//! The lines of `/sync/stream`, written by hand into a buffer: there are few kinds of them, and very many of each.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::json::{write_string, write_u64};
use crate::operation::Op;

/// The greatest number of operations in one data line.
pub const DATA_LINE_OPS: usize = 1000;
/// The greatest size of one data line, about.
pub const DATA_LINE_BYTES: usize = 1 << 20;

/// Why a client gets a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Every client does: an index into the checkpoint line's `streams`.
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
