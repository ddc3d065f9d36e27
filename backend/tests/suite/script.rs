//! Scripts of uploads and their expected results, both as text.
//!
//! A script holds transactions, separated by empty lines. A line is an operation:
//! `<time> <client> <PUT|PATCH|DELETE> <table> <id> [<data>] [was <old>]`, or a write that bypasses the backend:
//! `<time> server <SET|DELETE> <table> <id> [<data>]`. Times are seconds from an arbitrary start; `"@5"` in JSON is
//! the instant five seconds after it. Operation ids count from 1 per client; `<client>#7` states one.
//!
//! The result: the answers (`a/1 applied`), then the rows (without NULLs, `touched` and `made`), then the conflict
//! records (`! <table> <id> <column|*> <rule>: <loser> < <winner>`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use backend::wire::{TransactionOutcome, UploadAnswer, UploadRequest, WireOp, WireTransaction};
use backend::{
    Engine, MemoryStore, Policy, PolicyKind, RETENTION_US, Rules, ServerOp, Store, StoreError, Upload, UploadBody,
};
use fixtures::Value;
use serde_json::{Map, Value as Json};

use crate::app;

/// 2026-01-01T00:00:00Z.
pub(crate) const START_US: i64 = 1_767_225_600_000_000;

/// Runs scripts on a store in memory.
pub(crate) struct ScriptRunner {
    pub(crate) rules: Arc<Rules>,
    pub(crate) store: MemoryStore,
    pub(crate) engine: Engine,
    now_us: Arc<AtomicI64>,
    next_op: BTreeMap<String, i64>,
    next_tx: i64,
}

/// One transaction of a script.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at_s: i64,
    pub(crate) client: String,
    pub(crate) ops: Vec<WireOp>,
}

impl ScriptRunner {
    pub(crate) fn new(kind: PolicyKind) -> Self {
        Self::with(kind.policy())
    }

    pub(crate) fn with(policy: Arc<dyn Policy>) -> Self {
        let rules = app::rules();
        let now_us = Arc::new(AtomicI64::new(START_US));
        let clock = now_us.clone();
        let engine = Engine {
            rules: rules.clone(),
            policy,
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            retention_us: RETENTION_US,
        };
        let store = MemoryStore::new(rules.clone());
        Self { rules, store, engine, now_us, next_op: BTreeMap::new(), next_tx: 0 }
    }

    /// Uploads one transaction.
    pub(crate) fn upload(&mut self, step: &Step) -> Result<UploadAnswer, StoreError> {
        self.next_tx += 1;
        let received_us = START_US + step.at_s * 1_000_000;
        self.now_us.store(received_us, Ordering::Relaxed);
        let upload = Upload {
            subject: Arc::from("someone"),
            received_us,
            body: UploadBody::Transactions(UploadRequest {
                client_id: step.client.clone(),
                transactions: vec![WireTransaction { tx_id: self.next_tx, ops: step.ops.clone() }],
            }),
        };
        run_ready(self.store.apply(&self.engine, &upload))
    }

    /// Reads a transaction; operation ids continue from earlier ones.
    pub(crate) fn step(&mut self, text: &str) -> Step {
        let mut step = Step { at_s: 0, client: String::new(), ops: Vec::new() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.splitn(6, ' ');
            let mut word = || words.next().expect("time, client, operation, table, id");
            step.at_s = word().parse().expect("a time in seconds");
            let (client, stated) = match word() {
                given if given.contains('#') => {
                    let (client, op) = given.split_once('#').expect("just looked");
                    (client, Some(op.parse().expect("an operation id")))
                }
                given => (given, None),
            };
            step.client = client.to_owned();
            let next = self.next_op.entry(client.to_owned()).or_insert(1);
            let op_id = stated.unwrap_or(*next);
            *next = (*next).max(op_id + 1);
            let (op, table, id) = (word().to_owned(), word().to_owned(), word().to_owned());
            let rest = words.next().unwrap_or("");
            let (data, old) = match rest.split_once("was ") {
                Some((data, old)) => (data.trim(), Some(old.trim())),
                None => (rest.trim(), None),
            };
            let data = (!data.is_empty()).then(|| members(data));
            step.ops.push(WireOp { op_id, op, table, id, data, old: old.map(members) });
        }
        step
    }

    fn bypass(&self, step: &Step) {
        let ops: Vec<ServerOp> = step
            .ops
            .iter()
            .map(|op| {
                let rules = self.rules.table(&op.table).expect("a table of the application");
                let (table, id) = (rules.index, Arc::from(op.id.as_str()));
                if op.op == "DELETE" {
                    return ServerOp::Delete { table, id };
                }
                let values = op.data.iter().flatten().map(|(name, json)| {
                    let column = rules.column(name).expect("a column of the table");
                    (column, Value::from_json(rules.columns[column].ty, json).expect("a value of its type"))
                });
                ServerOp::Upsert { table, id, values: values.collect() }
            })
            .collect();
        self.store.server_transaction(START_US + step.at_s * 1_000_000, &ops).expect("the server's write is valid");
    }

    /// Runs a script and returns the answers as text.
    pub(crate) fn run(&mut self, script: &str) -> String {
        let mut output = String::new();
        let lines: Vec<&str> = script.lines().map(str::trim).collect();
        for text in lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()) {
            let step = self.step(&text.join("\n"));
            if step.client == "server" {
                self.bypass(&step);
                continue;
            }
            match self.upload(&step) {
                Ok(answer) => self.write_answers(&step.client, &answer, &mut output),
                Err(error) => writeln!(output, "{} failed: {error}", step.client).expect("memory takes text"),
            }
        }
        output
    }

    fn write_answers(&self, client: &str, answer: &UploadAnswer, output: &mut String) {
        for transaction in &answer.transactions {
            let refused = transaction
                .ops
                .iter()
                .any(|op| matches!(op.outcome, backend::wire::Outcome::Rejected | backend::wire::Outcome::RolledBack));
            let expected = if refused { TransactionOutcome::Refused } else { TransactionOutcome::Committed };
            assert_eq!(transaction.outcome, expected, "one rejected operation, and only that, refuses a transaction");
            for op in &transaction.ops {
                let outcome = serde_json::to_value(op.outcome).expect("an outcome has a name");
                write!(output, "{client}/{} {}", op.op_id, outcome.as_str().expect("a name"))
                    .expect("memory takes text");
                for (word, text) in [(" ", &op.reason), (" by ", &op.by), (" into ", &op.merged_into)] {
                    if let Some(text) = text {
                        write!(output, "{word}{text}").expect("memory takes text");
                    }
                }
                output.push('\n');
            }
        }
    }

    /// The rows as text.
    pub(crate) fn rows(&self) -> String {
        let mut output = String::new();
        for (table, rows) in self.rules.tables.iter().zip(self.store.snapshot()) {
            for (id, row) in rows {
                write!(output, "{} {id}", table.name).expect("memory takes text");
                for (column, value) in table.columns.iter().zip(row.iter()) {
                    if !value.is_null() && column.name != "touched" && column.name != "made" {
                        write!(output, " {}={}", column.name, show(value)).expect("memory takes text");
                    }
                }
                output.push('\n');
            }
        }
        output
    }

    /// The conflict records as text.
    pub(crate) fn records(&self) -> String {
        let mut output = String::new();
        for record in self.store.all_conflicts() {
            let table = &self.rules.tables[record.table].name;
            let column = record.column.as_deref().unwrap_or("*");
            let (id, rule, loser, winner) = (&record.id, &record.rule, &record.loser, &record.winner);
            if column != "touched" {
                writeln!(output, "! {table} {id} {column} {rule}: {loser} < {winner}").expect("memory takes text");
            }
        }
        output
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Time(at_us) => format!("@{}", (at_us - START_US) / 1_000_000),
        Value::Text(text) => text.to_string(),
        other => other.to_json().to_string(),
    }
}

/// JSON with `"@5"` for instants.
pub(crate) fn members(text: &str) -> Map<String, Json> {
    let json: Json = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let Json::Object(mut members) = json else { panic!("{text} is no object") };
    for value in members.values_mut() {
        if let Some(seconds) = value.as_str().and_then(|text| text.strip_prefix('@')).and_then(|text| text.parse().ok())
        {
            let seconds: i64 = seconds;
            *value = Json::from(fixtures::value::time_to_iso(START_US + seconds * 1_000_000));
        }
    }
    members
}

/// Runs a future that never waits.
pub(crate) fn run_ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the store in memory waited"),
    }
}

/// Runs a script under a policy and compares its result.
#[track_caller]
pub(crate) fn check(kind: PolicyKind, script: &str, expect: &str) {
    let mut runner = ScriptRunner::new(kind);
    let output = runner.run(script);
    let found = format!("{output}{}{}", runner.rows(), runner.records());
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(lines(&found), lines(expect), "under {kind}:\n{script}\nresult:\n{found}");
}
