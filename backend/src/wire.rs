//! The upload format: what a device posts and what it is answered, before any name is resolved.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

/// The greatest length of a row id, a client id or a subject, in bytes: PostgreSQL refuses index entries over 2,700.
pub const NAME_BYTES_MAX: usize = 1_000;

/// Whether a database can store this as a row id, a client id or a subject.
#[must_use]
pub fn is_storable(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && !name.contains('\0')
}

/// The body of `POST /upload`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct UploadRequest {
    /// The device's installation.
    pub client_id: String,
    /// Its queued transactions, oldest first.
    pub transactions: Vec<WireTransaction>,
}

/// One client transaction.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WireTransaction {
    /// The client's number for it.
    pub tx_id: i64,
    /// Its operations, in order.
    pub ops: Vec<WireOp>,
}

/// One operation as recorded by the client's triggers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WireOp {
    /// The client's number for it, ascending.
    pub op_id: i64,
    /// `PUT`, `PATCH` or `DELETE`.
    pub op: String,
    /// The table.
    pub table: String,
    /// The row.
    pub id: String,
    /// Columns written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Json>>,
    /// Columns before the write, as the device had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Map<String, Json>>,
}

/// The answer to `POST /upload`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct UploadAnswer {
    /// One entry for each transaction, in the order of the request.
    pub transactions: Vec<TransactionAnswer>,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionOutcome {
    /// It was committed.
    Committed,
    /// It will never be committed: an operation was rejected.
    Refused,
    /// Its result is unknown: send it again.
    NotAttempted,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The row holds what was sent.
    Applied,
    /// The row holds part of it, or combines it with other writes.
    Merged,
    /// Another write stays in its place.
    Superseded,
    /// It can never be applied; its whole transaction is refused.
    Rejected,
    /// Another operation of its transaction was rejected.
    RolledBack,
}

/// The answer about one transaction.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TransactionAnswer {
    /// The client's number for it.
    pub tx_id: i64,
    /// How it ended.
    pub outcome: TransactionOutcome,
    /// One entry for each operation, in order; empty when it was not attempted.
    pub ops: Vec<OpAnswer>,
}

/// The answer about one operation.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct OpAnswer {
    /// The client's number for it.
    pub op_id: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, if it is not plainly applied. The first word is stable: see the crate documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// The operation that stays in its place: `client/op`, or `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// The row that it was applied to, if not the one that it named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<Arc<str>>,
}

impl OpAnswer {
    /// An answer without an explanation.
    #[must_use]
    pub fn plain(op_id: i64, outcome: Outcome) -> Self {
        Self { op_id, outcome, reason: None, by: None, merged_into: None }
    }
}

/// The body of the first upload handler's requests: `{"batch":[…]}`.
#[derive(Clone, Debug, Deserialize)]
pub struct BaselineRequest {
    /// Entries, in order.
    pub batch: Vec<BaselineOp>,
}

/// One entry of a baseline batch. Everything may be absent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BaselineOp {
    /// The operation; unknown ones are ignored.
    #[serde(default)]
    pub op: Option<String>,
    /// The table.
    #[serde(default)]
    pub table: Option<String>,
    /// The table, by its other name.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The row.
    #[serde(default)]
    pub id: Option<String>,
    /// Columns written.
    #[serde(default)]
    pub data: Option<Map<String, Json>>,
    /// Columns written, by their other name.
    #[serde(default, rename = "opData")]
    pub op_data: Option<Map<String, Json>>,
}

impl WireOp {
    /// SHA-256 of (op, table, id, data, old). The order of JSON members does not matter.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.op, &self.table, &self.id] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut text = Vec::with_capacity(256);
        for part in [&self.data, &self.old] {
            match part {
                None => text.push(b'-'),
                Some(members) => write_sorted(members, &mut text),
            }
        }
        hash.update(&text);
        hash.finalize().into()
    }
}

fn write_sorted(members: &Map<String, Json>, text: &mut Vec<u8>) {
    let mut sorted: Vec<(&String, &Json)> = members.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    text.push(b'{');
    for (name, value) in sorted {
        serde_json::to_writer(&mut *text, name).expect("writing to memory cannot fail");
        text.push(b':');
        match value {
            Json::Object(inner) => write_sorted(inner, text),
            other => serde_json::to_writer(&mut *text, other).expect("writing to memory cannot fail"),
        }
        text.push(b',');
    }
    text.push(b'}');
}
