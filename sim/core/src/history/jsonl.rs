//! The written form of a history: one JSON object a line, rows in our names (docs/semantics.md, section 5).
//!
//! `{"v","i","t_us","who","kind","f","tx","rows":[{"row","op","set","old","version"}]}`; keys that say nothing are
//! left out, and each kind of event has keys of its own beside these. The same history gives the same bytes.

use std::fmt::Write as _;

use fixtures::{App, Row, Value};
use serde_json::{Map, Value as Json, json};

use super::label::{who, writer};
use super::{
    Commit, ConflictRecord, Event, History, InvariantAnswer, Lifecycle, LocalOp, LocalTx, Op, OpAnswer, Phase, RowId,
    Scope, Upload, VERSION, What,
};

/// An object in the making whose keys keep their order.
struct Line<'a> {
    history: &'a History,
    app: &'a App,
    text: String,
    /// What each row has been on the server so far.
    versions: Vec<Vec<Version<'a>>>,
}

/// A commit and operation that made a row what it is.
struct Version<'a> {
    seq: u64,
    op_id: Option<i64>,
    row: Option<&'a Row>,
}

impl Version<'_> {
    fn json(&self) -> Json {
        self.op_id.map_or(json!([self.seq]), |op_id| json!([self.seq, op_id]))
    }
}

impl History {
    /// The JSONL form: the header, then an event a line.
    #[must_use]
    pub fn to_jsonl(&self, app: &App) -> String {
        let mut out = String::new();
        let header = serde_json::to_value(&self.header).expect("a header is plain data");
        let rows: Vec<Json> =
            (0..).zip(&self.rows).map(|(row, name)| json!([self.row_label(app, row), &*name.id])).collect();
        let versions = self.rows.iter().map(|_| Vec::new()).collect();
        let mut line = Line { history: self, app, text: String::new(), versions };
        line.open("header");
        line.put("header", &header);
        line.put("rows", &Json::Array(rows));
        line.close(&mut out);
        for (index, event) in self.events.iter().enumerate() {
            line.event(index, event);
            line.close(&mut out);
        }
        out
    }
}

impl<'a> Line<'a> {
    fn open(&mut self, f: &str) {
        let _ = write!(self.text, "{{\"v\":{VERSION},\"f\":\"{f}\"");
    }

    fn close(&mut self, out: &mut String) {
        out.push_str(&self.text);
        out.push_str("}\n");
        self.text.clear();
    }

    fn put(&mut self, key: &str, value: &Json) {
        let _ = write!(self.text, ",\"{key}\":{value}");
    }

    fn put_some<T: Into<Json>>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(key, &value.into());
        }
    }

    fn event(&mut self, index: usize, event: &'a Event) {
        let (kind, f) = kind(&event.what);
        let _ = write!(
            self.text,
            "{{\"v\":{VERSION},\"i\":{index},\"t_us\":{},\"who\":\"{}\"",
            event.at_us,
            who(event.who)
        );
        let _ = write!(self.text, ",\"kind\":\"{}\",\"f\":\"{f}\"", phase_name(kind));
        match &event.what {
            What::Tx(tx) => self.local_tx(tx),
            What::Upload(upload) => self.upload(upload),
            What::Complete { tx_id } => self.put("tx", &json!(tx_id)),
            What::WriteCheckpoint { number, status, .. } => {
                self.put_some("number", *number);
                self.put_some("status", *status);
            }
            What::Stream { status, reason, .. } => {
                self.put_some("status", *status);
                if !reason.is_empty() {
                    self.put("reason", &json!(reason));
                }
            }
            What::Apply(apply) => {
                self.put_some("priority", apply.priority);
                self.put("last_op_id", &json!(apply.last_op_id));
                self.put_some("write_checkpoint", apply.write_checkpoint);
                self.put_some("target", apply.target);
                self.put("queued", &json!(apply.queued));
                self.put("arrived_us", &json!(apply.arrived_us));
                if apply.whole {
                    self.put("whole", &json!(true));
                }
                self.images(&apply.rows);
            }
            What::Protocol { message } => self.put("message", &json!(message)),
            What::Read { scope, rows } => {
                self.put(
                    "scope",
                    &json!(match scope {
                        Scope::Look => "look",
                        Scope::Final => "final",
                    }),
                );
                self.images(rows);
            }
            What::Lifecycle(lifecycle) => self.lifecycle(*lifecycle),
            What::Commit(commit) => self.commit(commit),
            What::Conflicts { user, records } => {
                self.put("user", &json!(user));
                self.put("conflicts", &Json::Array(records.iter().map(|record| self.conflict(record)).collect()));
            }
            What::Invariants { answers } => {
                let answers = answers.iter().map(|(name, answer)| match answer {
                    InvariantAnswer::Holds => json!({ "name": name }),
                    InvariantAnswer::Broken(rows) => json!({ "name": name, "returned": rows }),
                    InvariantAnswer::NotAsked(why) => json!({ "name": name, "not_asked": why }),
                });
                self.put("invariants", &Json::Array(answers.collect()));
            }
            What::Fault { key, fault, .. } => {
                self.put("key", &json!(key));
                self.put("fault", &serde_json::to_value(fault).expect("a fault is plain data"));
            }
            What::Barrier { barrier, open, .. } => {
                self.put("barrier", &serde_json::to_value(barrier).expect("a barrier is plain data"));
                if !open.is_empty() {
                    self.put("open", &json!(open));
                }
            }
        }
    }

    fn local_tx(&mut self, tx: &LocalTx) {
        self.put_some("tx", tx.tx_id);
        self.put("step", &json!(tx.step));
        self.put("activity", &json!(tx.activity));
        self.put("clock_us", &json!(tx.clock_us));
        self.put("intents", &json!(tx.intents));
        if tx.skipped > 0 {
            self.put("skipped", &json!(tx.skipped));
        }
        self.put_some("failed", tx.failed.clone());
        let rows = tx.ops.iter().map(|op| self.local_op(op)).collect();
        self.put("rows", &Json::Array(rows));
    }

    fn local_op(&self, op: &LocalOp) -> Json {
        let mut row = Map::new();
        row.insert("row".to_owned(), json!(self.label(op.row)));
        row.insert("op_id".to_owned(), json!(op.op_id));
        row.insert("op".to_owned(), json!(op_name(op.op)));
        if !op.data.is_empty() {
            row.insert("set".to_owned(), self.columns(op.row, op.data.iter().map(|(column, value)| (*column, value))));
        }
        if !op.old.is_empty() {
            row.insert("old".to_owned(), self.columns(op.row, op.old.iter().map(|(column, value)| (*column, value))));
        }
        if !op.unknown.is_empty() {
            row.insert("unknown".to_owned(), json!(op.unknown));
        }
        Json::Object(row)
    }

    fn upload(&mut self, upload: &Upload) {
        self.put("tx", &json!(upload.tx_id));
        self.put("attempt", &json!(upload.attempt));
        self.put_some("status", upload.status);
        self.put_some(
            "outcome",
            upload.outcome.map(|outcome| serde_json::to_value(outcome).expect("an outcome is plain data")),
        );
        self.answers("answers", &upload.ops);
    }

    fn answers(&mut self, key: &str, answers: &[OpAnswer]) {
        if !answers.is_empty() {
            let answers = answers.iter().map(|answer| self.answer(answer)).collect();
            self.put(key, &Json::Array(answers));
        }
    }

    fn answer(&self, answer: &OpAnswer) -> Json {
        let mut object = Map::new();
        object.insert("op_id".to_owned(), json!(answer.op_id));
        object.insert("outcome".to_owned(), json!(answer.outcome));
        if let Some(reason) = &answer.reason {
            object.insert("reason".to_owned(), json!(reason));
        }
        if let Some(by) = &answer.by {
            object.insert("by".to_owned(), json!(writer(by)));
        }
        if let Some(row) = answer.merged_into {
            object.insert("merged_into".to_owned(), json!(self.label(row)));
        }
        Json::Object(object)
    }

    fn lifecycle(&mut self, lifecycle: Lifecycle) {
        match lifecycle {
            Lifecycle::Killed(moment) => {
                self.put("state", &json!("killed"));
                self.put("at", &serde_json::to_value(moment).expect("a moment is plain data"));
            }
            other => self.put("state", &serde_json::to_value(other).expect("a lifecycle is plain data")),
        }
    }

    fn commit(&mut self, commit: &'a Commit) {
        for change in &commit.changes {
            if let Some(versions) = self.versions.get_mut(change.row as usize) {
                versions.push(Version { seq: commit.seq, op_id: change.op_id, row: change.after.as_ref() });
            }
        }
        self.put("seq", &json!(commit.seq));
        self.put("received_us", &json!(commit.received_us));
        if let Some(origin) = commit.origin {
            self.put("origin", &json!(format!("client/{}", origin.device)));
            self.put("tx", &json!(origin.tx_id));
        }
        if commit.foreign {
            self.put("foreign", &json!(true));
        }
        let rows = commit.changes.iter().map(|change| {
            let mut row = Map::new();
            row.insert("row".to_owned(), json!(self.label(change.row)));
            let op = match (&change.before, &change.after) {
                (_, None) => Op::Delete,
                (None, Some(_)) => Op::Put,
                (Some(_), Some(_)) => Op::Patch,
            };
            row.insert("op".to_owned(), json!(op_name(op)));
            match (&change.before, &change.after) {
                (Some(before), Some(after)) => {
                    let changed =
                        || before.iter().zip(after.iter()).enumerate().filter(|(_, (before, after))| before != after);
                    row.insert(
                        "set".to_owned(),
                        self.columns(change.row, changed().map(|(column, (_, after))| (column, after))),
                    );
                    row.insert(
                        "old".to_owned(),
                        self.columns(change.row, changed().map(|(column, (before, _))| (column, before))),
                    );
                }
                (Some(before), None) => {
                    row.insert("old".to_owned(), self.image(change.row, before));
                }
                (None, Some(after)) => {
                    row.insert("set".to_owned(), self.image(change.row, after));
                }
                (None, None) => {}
            }
            row.insert("version".to_owned(), Version { seq: commit.seq, op_id: change.op_id, row: None }.json());
            Json::Object(row)
        });
        let rows = rows.collect();
        self.put("rows", &Json::Array(rows));
        self.answers("ledger", &commit.ledger);
        if !commit.conflicts.is_empty() {
            let records = commit.conflicts.iter().map(|record| self.conflict(record)).collect();
            self.put("conflicts", &Json::Array(records));
        }
        if !commit.aliases.is_empty() {
            let aliases: Vec<Json> =
                commit.aliases.iter().map(|(from, to)| json!([self.label(*from), self.label(*to)])).collect();
            self.put("aliases", &Json::Array(aliases));
        }
    }

    fn conflict(&self, record: &ConflictRecord) -> Json {
        let mut object = Map::new();
        object.insert("row".to_owned(), json!(self.label(record.row)));
        if let Some(column) = &record.column {
            object.insert("column".to_owned(), json!(column));
        }
        object.insert("rule".to_owned(), json!(record.rule));
        object.insert("loser".to_owned(), json!(writer(&record.loser)));
        object.insert("winner".to_owned(), json!(writer(&record.winner)));
        Json::Object(object)
    }

    fn images(&mut self, rows: &[(RowId, Option<Row>)]) {
        let rows = rows.iter().map(|(row, image)| {
            let mut object = Map::new();
            object.insert("row".to_owned(), json!(self.label(*row)));
            match image {
                Some(image) => object.insert("set".to_owned(), self.image(*row, image)),
                None => object.insert("op".to_owned(), json!(op_name(Op::Delete))),
            };
            // The version is the last that looks like this; a device's own write has none yet.
            let versions = self.versions.get(*row as usize).map_or(&[][..], Vec::as_slice);
            if let Some(version) = versions.iter().rev().find(|version| version.row == image.as_ref()) {
                object.insert("version".to_owned(), version.json());
            }
            Json::Object(object)
        });
        let rows = rows.collect();
        self.put("rows", &Json::Array(rows));
    }

    fn image(&self, row: RowId, image: &Row) -> Json {
        self.columns(row, image.iter().enumerate().filter(|(_, value)| !value.is_null()))
    }

    fn columns<'v>(&self, row: RowId, values: impl Iterator<Item = (usize, &'v Value)>) -> Json {
        let table = self.history.table_of(row).and_then(|table| self.app.schema.tables.get(table));
        let name = |column: usize| {
            table
                .and_then(|table| table.columns.get(column))
                .map_or_else(|| format!("?{column}"), |column| column.name.clone())
        };
        Json::Object(values.map(|(column, value)| (name(column), value.to_json())).collect())
    }

    fn label(&self, row: RowId) -> String {
        self.history.row_label(self.app, row)
    }
}

fn op_name(op: Op) -> &'static str {
    match op {
        Op::Put => "PUT",
        Op::Patch => "PATCH",
        Op::Delete => "DELETE",
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Invoke => "invoke",
        Phase::Ok => "ok",
        Phase::Fail => "fail",
        Phase::Info => "info",
    }
}

/// The kind and the function of an event, as the field names them.
fn kind(what: &What) -> (Phase, &'static str) {
    match what {
        What::Tx(tx) if tx.failed.is_some() => (Phase::Fail, "tx"),
        What::Tx(_) => (Phase::Ok, "tx"),
        What::Upload(upload) => (upload.phase, "upload"),
        What::Complete { .. } => (Phase::Ok, "complete"),
        What::WriteCheckpoint { phase, .. } => (*phase, "write-checkpoint"),
        What::Stream { phase, .. } => (*phase, "stream"),
        What::Apply(_) => (Phase::Ok, "apply"),
        What::Protocol { .. } => (Phase::Fail, "protocol"),
        What::Read { .. } => (Phase::Ok, "read"),
        What::Lifecycle(_) => (Phase::Info, "lifecycle"),
        What::Commit(_) => (Phase::Ok, "commit"),
        What::Conflicts { .. } => (Phase::Ok, "conflicts"),
        What::Invariants { .. } => (Phase::Ok, "invariants"),
        What::Fault { phase, .. } => (*phase, "fault"),
        What::Barrier { phase, .. } => (*phase, "barrier"),
    }
}
