//! The written form of a history: one JSON object a line, rows in our names (docs/semantics.md, section 5).
//!
//! `{"v","f","i","t_us","who","kind","tx","rows":[{"row","op","set","old","version"}]}`; keys that say nothing are
//! left out, and each kind of event has keys of its own beside these. The same history gives the same bytes.

mod names;
mod text;
mod versions;

use fixtures::{App, Row};
use serde::Serialize;

use super::label::{who, writer};
use super::{
    Apply, Change, Commit, ConflictRecord, Event, History, InvariantAnswer, Lifecycle, LocalOp, LocalTx, Op, OpAnswer,
    Phase, RowId, Scope, Upload, VERSION, What,
};
use names::Names;
use text::Text;
use versions::{Version, Versions};

impl History {
    /// The JSONL form: the header, then an event a line.
    #[must_use]
    pub fn to_jsonl(&self, app: &App) -> String {
        let mut lines =
            Lines { names: Names::new(self, app), versions: Versions::new(self.rows.len()), text: Text::default() };
        lines.header(self);
        for (index, event) in self.events.iter().enumerate() {
            lines.event(index, event);
        }
        lines.text.finish()
    }
}

/// The lines in the making.
struct Lines<'a> {
    names: Names<'a>,
    versions: Versions<'a>,
    text: Text,
}

impl<'a> Lines<'a> {
    fn header(&mut self, history: &History) {
        let names = &self.names;
        self.text.object(|text| {
            text.key("v").value(&VERSION);
            text.key("f").value("header");
            text.key("header").value(&history.header);
            text.key("rows").array((0..).zip(&history.rows), |text, (row, name)| {
                text.array(
                    [true, false],
                    |text, is_label| {
                        if is_label { names.row(text, row) } else { text.value(&*name.id) }
                    },
                );
            });
        });
        self.text.end_line();
    }

    fn event(&mut self, index: usize, event: &'a Event) {
        if let What::Commit(commit) = &event.what {
            for change in &commit.changes {
                self.versions.add(commit.seq, change);
            }
        }
        let (kind, f) = kind(&event.what);
        let (names, versions) = (&self.names, &self.versions);
        self.text.object(|text| {
            text.key("v").value(&VERSION);
            text.key("f").value(f);
            text.key("i").value(&index);
            text.key("t_us").value(&event.at_us);
            text.key("who").value(&who(event.who));
            text.key("kind").value(phase_name(kind));
            Line { names, versions, text }.what(&event.what);
        });
        self.text.end_line();
    }
}

/// One event in the making.
struct Line<'l, 'a> {
    names: &'l Names<'a>,
    versions: &'l Versions<'a>,
    text: &'l mut Text,
}

impl Line<'_, '_> {
    fn what(&mut self, what: &What) {
        match what {
            What::Tx(tx) => self.local_tx(tx),
            What::Upload(upload) => self.upload(upload),
            What::Complete { tx_id } => self.put("tx", tx_id),
            What::WriteCheckpoint { number, status, .. } => {
                self.put_some("number", number.as_ref());
                self.put_some("status", status.as_ref());
            }
            What::Stream { status, reason, .. } => {
                self.put_some("status", status.as_ref());
                self.put_some("reason", Some(reason).filter(|reason| !reason.is_empty()));
            }
            What::Apply(apply) => self.apply(apply),
            What::Protocol { message } => self.put("message", message),
            What::Read { scope, rows } => {
                self.put(
                    "scope",
                    match scope {
                        Scope::Look => "look",
                        Scope::Final => "final",
                    },
                );
                self.images(rows);
            }
            What::Lifecycle(lifecycle) => self.lifecycle(*lifecycle),
            What::Commit(commit) => self.commit(commit),
            What::Conflicts { user, records } => {
                self.put("user", user);
                self.conflicts(records);
            }
            What::Invariants { answers } => self.invariants(answers),
            What::Fault { key, fault, .. } => {
                self.put("key", key);
                self.put("fault", fault);
            }
            What::Barrier { barrier, open, .. } => {
                self.put("barrier", barrier);
                self.put_some("open", Some(open).filter(|open| !open.is_empty()));
            }
        }
    }

    fn put(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        self.text.key(key).value(value);
    }

    fn put_some(&mut self, key: &str, value: Option<&(impl Serialize + ?Sized)>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn local_tx(&mut self, tx: &LocalTx) {
        self.put_some("tx", tx.tx_id.as_ref());
        self.put("step", &tx.step);
        self.put("activity", &tx.activity);
        self.put("clock_us", &tx.clock_us);
        self.put("intents", &tx.intents);
        self.put_some("skipped", Some(&tx.skipped).filter(|skipped| **skipped > 0));
        self.put_some("failed", tx.failed.as_ref());
        let names = self.names;
        self.text.key("rows").array(&tx.ops, |text, op| local_op(names, text, op));
    }

    fn upload(&mut self, upload: &Upload) {
        self.put("tx", &upload.tx_id);
        self.put("attempt", &upload.attempt);
        self.put_some("status", upload.status.as_ref());
        self.put_some("outcome", upload.outcome.as_ref());
        self.answers("answers", &upload.ops);
        self.put_some("said", upload.said.as_ref());
    }

    fn answers(&mut self, key: &str, answers: &[OpAnswer]) {
        if answers.is_empty() {
            return;
        }
        let names = self.names;
        self.text.key(key).array(answers, |text, answer| {
            text.object(|text| {
                text.key("op_id").value(&answer.op_id);
                text.key("outcome").value(&answer.outcome);
                if let Some(reason) = &answer.reason {
                    text.key("reason").value(reason);
                }
                if let Some(by) = &answer.by {
                    text.key("by").value(&writer(by));
                }
                if let Some(row) = answer.merged_into {
                    names.row(text.key("merged_into"), row);
                }
            });
        });
    }

    fn apply(&mut self, apply: &Apply) {
        self.put_some("priority", apply.priority.as_ref());
        self.put("last_op_id", &apply.last_op_id);
        self.put_some("write_checkpoint", apply.write_checkpoint.as_ref());
        self.put_some("target", apply.target.as_ref());
        self.put("queued", &apply.queued);
        self.put("arrived_us", &apply.arrived_us);
        self.put_some("whole", Some(&apply.whole).filter(|whole| **whole));
        self.images(&apply.rows);
    }

    fn lifecycle(&mut self, lifecycle: Lifecycle) {
        match lifecycle {
            Lifecycle::Killed(moment) => {
                self.put("state", "killed");
                self.put("at", &moment);
            }
            other => self.put("state", &other),
        }
    }

    fn commit(&mut self, commit: &Commit) {
        self.put("seq", &commit.seq);
        self.put("received_us", &commit.received_us);
        if let Some(origin) = commit.origin {
            self.text.key("origin").plain(format_args!("client/{}", origin.device));
            self.put("tx", &origin.tx_id);
        }
        self.put_some("foreign", Some(&commit.foreign).filter(|foreign| **foreign));
        let names = self.names;
        self.text.key("rows").array(&commit.changes, |text, change| committed(names, text, commit.seq, change));
        self.answers("ledger", &commit.ledger);
        if !commit.conflicts.is_empty() {
            self.conflicts(&commit.conflicts);
        }
        if !commit.aliases.is_empty() {
            self.text.key("aliases").array(&commit.aliases, |text, (from, to)| {
                text.array([*from, *to], |text, row| names.row(text, row));
            });
        }
    }

    fn conflicts(&mut self, records: &[ConflictRecord]) {
        let names = self.names;
        self.text.key("conflicts").array(records, |text, record| {
            text.object(|text| {
                names.row(text.key("row"), record.row);
                if let Some(column) = &record.column {
                    text.key("column").value(column);
                }
                text.key("rule").value(&record.rule);
                text.key("loser").value(&writer(&record.loser));
                text.key("winner").value(&writer(&record.winner));
            });
        });
    }

    fn invariants(&mut self, answers: &[(String, InvariantAnswer)]) {
        self.text.key("invariants").array(answers, |text, (name, answer)| {
            text.object(|text| {
                text.key("name").value(name);
                match answer {
                    InvariantAnswer::Holds => {}
                    InvariantAnswer::Broken(rows) => text.key("returned").value(rows),
                    InvariantAnswer::NotAsked(why) => text.key("not_asked").value(why),
                }
            });
        });
    }

    fn images(&mut self, rows: &[(RowId, Option<Row>)]) {
        let (names, versions) = (self.names, self.versions);
        self.text.key("rows").array(rows, |text, (row, image)| {
            text.object(|text| {
                names.row(text.key("row"), *row);
                match image {
                    Some(image) => names.image(text.key("set"), *row, image),
                    None => text.key("op").value(op_name(Op::Delete)),
                }
                if let Some(version) = versions.of(*row, image.as_ref()) {
                    version.write(text.key("version"));
                }
            });
        });
    }
}

fn local_op(names: &Names<'_>, text: &mut Text, op: &LocalOp) {
    text.object(|text| {
        names.row(text.key("row"), op.row);
        text.key("op_id").value(&op.op_id);
        text.key("op").value(op_name(op.op));
        for (key, columns) in [("set", &op.data), ("old", &op.old)] {
            if !columns.is_empty() {
                names.columns(text.key(key), op.row, columns.iter().map(|(column, value)| (*column, value)));
            }
        }
        if !op.unknown.is_empty() {
            text.key("unknown").value(&op.unknown);
        }
    });
}

fn committed(names: &Names<'_>, text: &mut Text, seq: u64, change: &Change) {
    text.object(|text| {
        names.row(text.key("row"), change.row);
        let op = match (&change.before, &change.after) {
            (_, None) => Op::Delete,
            (None, Some(_)) => Op::Put,
            (Some(_), Some(_)) => Op::Patch,
        };
        text.key("op").value(op_name(op));
        match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                let changed =
                    || before.iter().zip(after.iter()).enumerate().filter(|(_, (before, after))| before != after);
                let (set, old) = (
                    changed().map(|(column, (_, after))| (column, after)),
                    changed().map(|(column, (before, _))| (column, before)),
                );
                names.columns(text.key("set"), change.row, set);
                names.columns(text.key("old"), change.row, old);
            }
            (Some(before), None) => names.image(text.key("old"), change.row, before),
            (None, Some(after)) => names.image(text.key("set"), change.row, after),
            (None, None) => {}
        }
        Version { seq, op_id: change.op_id }.write(text.key("version"));
    });
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
