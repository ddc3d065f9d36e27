//! Unit histories: a small application, and a builder that writes the history of a sound run by default.
//!
//! A [`HistoryBuilder`] keeps a server and what each device shows. Its plain verbs ([`HistoryBuilder::tx`],
//! [`HistoryBuilder::upload`], [`HistoryBuilder::apply`], [`HistoryBuilder::finish`]) do what a sound stack does; the
//! others record a single event as given.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use fixtures::{App, Row, Value};
use serde_json::{Value as Json, json};

use super::timeline::written;
use super::{Context, Timeline};
use crate::history::{
    Apply, Barrier, Change, Commit, ConflictRecord, DeviceName, Event, Header, History, LocalOp, LocalTx, Op, OpAnswer,
    Origin, Outcome, Phase, RowId, RowName, Scope, TxOutcome, Upload, VERSION, What, Who,
};
use crate::plan::{DeviceKind, EPOCH_US};
use crate::promise::Promises;
use crate::seed::Seed;
use crate::verdict::{Finding, Verdict};

static SHELF: LazyLock<App> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checker/testing/shelf");
    App::load(&folder).expect("the application of the unit histories is sound")
});

/// The application of the unit histories: `boxes` hold `cards`, `labels` have a unique key, `memos` come back when
/// edited. Everybody sees everything.
pub(crate) fn app() -> App {
    SHELF.clone()
}

/// A history in the making.
#[derive(Clone, Debug)]
pub(crate) struct HistoryBuilder {
    pub(crate) app: App,
    pub(crate) history: History,
    pub(crate) promises: Promises,
    /// The server's rows.
    pub(crate) server: BTreeMap<RowId, Row>,
    /// What each device shows.
    pub(crate) shown: Vec<BTreeMap<RowId, Row>>,
    /// Transactions not yet completed.
    pub(crate) queued: Vec<Vec<LocalTx>>,
    now_us: i64,
    seq: u64,
    next_op: Vec<i64>,
    next_tx: Vec<i64>,
    checkpoints: Vec<u64>,
}

impl HistoryBuilder {
    /// Devices of the user `ann`, with empty databases.
    pub(crate) fn new(devices: usize) -> Self {
        let app = app();
        let names = (0..devices)
            .map(|device| DeviceName {
                kind: DeviceKind::Tauri,
                user: app.users[0].clone(),
                client_id: format!("client-{device}"),
                after: None,
                copy: None,
            })
            .collect();
        Self {
            history: History {
                header: Header {
                    v: VERSION,
                    app: app.name.clone(),
                    scenario: "unit".to_owned(),
                    seed: Seed(1),
                    world: "deterministic".to_owned(),
                    time: crate::history::Time::Virtual,
                    policy: "field-merge".to_owned(),
                    devices: names,
                },
                rows: Vec::new(),
                events: Vec::new(),
            },
            promises: Promises::default(),
            server: BTreeMap::new(),
            shown: vec![BTreeMap::new(); devices],
            queued: vec![Vec::new(); devices],
            now_us: 0,
            seq: 0,
            next_op: vec![1; devices],
            next_tx: vec![1; devices],
            checkpoints: vec![0; devices],
            app,
        }
    }

    /// The sync config that devices and checkers go by from here on.
    pub(crate) fn sync_config(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.app.sync_config);
        self
    }

    /// Names a row of the table.
    pub(crate) fn row(&mut self, table: &str) -> RowId {
        let table = self.app.schema.table_index(table).expect("the table is in the schema");
        let row = RowId::try_from(self.history.rows.len()).expect("a unit history has few rows");
        self.history.rows.push(RowName { table, id: Arc::from(format!("id-{row}")) });
        row
    }

    /// The id of a row, for references.
    pub(crate) fn id(&self, row: RowId) -> Json {
        Json::from(&*self.history.rows[row as usize].id)
    }

    /// Columns and values of a row, from a JSON object.
    pub(crate) fn data(&self, row: RowId, set: &Json) -> Vec<(usize, Value)> {
        let table = &self.app.schema.tables[self.history.rows[row as usize].table];
        let mut data: Vec<(usize, Value)> = set
            .as_object()
            .expect("columns are given as a JSON object")
            .iter()
            .map(|(name, value)| {
                let column = table.column_index(name).unwrap_or_else(|| panic!("{} has column {name}", table.name));
                (column, Value::from_json(table.columns[column].ty, value).expect("the value is of the column's type"))
            })
            .collect();
        data.sort_by_key(|(column, _)| *column);
        data
    }

    /// A whole row from a JSON object; columns not named are NULL.
    pub(crate) fn image(&self, row: RowId, set: &Json) -> Row {
        let mut image = vec![Value::Null; self.app.schema.tables[self.history.rows[row as usize].table].columns.len()];
        for (column, value) in self.data(row, set) {
            image[column] = value;
        }
        image.into()
    }

    /// The server's row with some columns changed.
    pub(crate) fn changed(&self, row: RowId, set: &Json) -> Row {
        let mut image = self.server[&row].to_vec();
        for (column, value) in self.data(row, set) {
            image[column] = value;
        }
        image.into()
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, micros: i64) {
        self.now_us += micros;
    }

    /// Records an event; a millisecond passes.
    pub(crate) fn event(&mut self, who: Who, what: What) -> usize {
        self.now_us += 1000;
        self.history.events.push(Event { at_us: self.now_us, who, what });
        self.history.events.len() - 1
    }

    /// The server writes rows by itself; `None` deletes.
    pub(crate) fn server_write(&mut self, rows: &[(RowId, Option<Json>)]) -> u64 {
        let rows: Vec<(RowId, Option<Row>)> =
            rows.iter().map(|(row, set)| (*row, set.as_ref().map(|set| self.image(*row, set)))).collect();
        self.commit(None, &rows, Vec::new(), Vec::new())
    }

    /// A local transaction that queues these operations. `old` is what the device shows.
    pub(crate) fn tx(&mut self, device: u32, ops: &[(Op, RowId, Json)]) -> i64 {
        let index = device as usize;
        let tx_id = self.next_tx[index];
        self.next_tx[index] += 1;
        let mut queued = Vec::new();
        for (op, row, set) in ops {
            let data = if set.is_null() { Vec::new() } else { self.data(*row, set) };
            let before = self.shown[index].get(row).cloned();
            let old = match (&before, op) {
                (_, Op::Put) | (None, _) => Vec::new(),
                (Some(before), Op::Patch) => {
                    data.iter().map(|(column, _)| (*column, before[*column].clone())).collect()
                }
                (Some(before), Op::Delete) => before.iter().cloned().enumerate().collect(),
            };
            let op = LocalOp { op_id: self.next_op[index], op: *op, row: *row, data, old, unknown: Vec::new() };
            self.next_op[index] += 1;
            self.show(index, *row, written(&op, before.as_ref(), self.width(*row)));
            queued.push(op);
        }
        let tx = LocalTx {
            step: 0,
            activity: "edit".to_owned(),
            tx_id: Some(tx_id),
            intents: u32::try_from(queued.len()).expect("a unit transaction is small"),
            ops: queued,
            skipped: 0,
            failed: None,
            clock_us: EPOCH_US + self.now_us,
        };
        self.queued[index].push(tx.clone());
        self.event(Who::Client(device), What::Tx(tx));
        tx_id
    }

    /// Uploads the device's first queued transaction: sent, committed as sent, answered, completed, and the write
    /// checkpoint asked for. Gives the commit.
    pub(crate) fn upload(&mut self, device: u32) -> u64 {
        let (tx_id, answers) =
            (self.queued[device as usize][0].tx_id.expect("it queued"), self.applied_answers(device));
        self.attempt(device, tx_id, 1, Phase::Invoke, None, Vec::new());
        let seq = self.commit_as_sent(device);
        self.attempt(device, tx_id, 1, Phase::Ok, Some(TxOutcome::Committed), answers);
        self.complete(device);
        self.write_checkpoint(device);
        seq
    }

    /// `applied` for each operation of the first queued transaction.
    pub(crate) fn applied_answers(&self, device: u32) -> Vec<OpAnswer> {
        self.queued[device as usize][0].ops.iter().map(|op| answer(op.op_id, Outcome::Applied)).collect()
    }

    /// An event of an upload attempt.
    pub(crate) fn attempt(
        &mut self,
        device: u32,
        tx_id: i64,
        attempt: u32,
        phase: Phase,
        outcome: Option<TxOutcome>,
        ops: Vec<OpAnswer>,
    ) -> usize {
        let status = matches!(phase, Phase::Ok).then_some(200);
        self.event(
            Who::Client(device),
            What::Upload(Upload { phase, tx_id, attempt, status, outcome, ops, said: None }),
        )
    }

    /// The server commits the device's first queued transaction as it was sent.
    pub(crate) fn commit_as_sent(&mut self, device: u32) -> u64 {
        let tx = self.queued[device as usize][0].clone();
        let mut after: BTreeMap<RowId, Option<Row>> = BTreeMap::new();
        let mut rows = Vec::new();
        for op in &tx.ops {
            let before = after.get(&op.row).cloned().unwrap_or_else(|| self.server.get(&op.row).cloned());
            let image = written(op, before.as_ref(), self.width(op.row));
            after.insert(op.row, image.clone());
            rows.push((op.row, image));
        }
        let answers = self.applied_answers(device);
        self.commit(Some((device, &tx)), &rows, answers, Vec::new())
    }

    /// The server commits these rows; with an origin, each change is the effect of an operation, where that is known.
    pub(crate) fn commit(
        &mut self,
        origin: Option<(u32, &LocalTx)>,
        rows: &[(RowId, Option<Row>)],
        ledger: Vec<OpAnswer>,
        conflicts: Vec<ConflictRecord>,
    ) -> u64 {
        self.seq += 1;
        let mut changes = Vec::new();
        for (index, (row, after)) in rows.iter().enumerate() {
            let before = self.server.get(row).cloned();
            match after {
                Some(image) => self.server.insert(*row, image.clone()),
                None => self.server.remove(row),
            };
            if before.is_some() || after.is_some() {
                let op_id = origin.and_then(|(_, tx)| effect_of(tx, rows, index));
                changes.push(Change { row: *row, before, after: after.clone(), op_id });
            }
        }
        let origin = origin.map(|(device, tx)| Origin { device, tx_id: tx.tx_id.expect("it queued") });
        let commit = Commit {
            seq: self.seq,
            received_us: EPOCH_US + self.now_us,
            origin,
            foreign: false,
            changes,
            ledger,
            conflicts,
            aliases: Vec::new(),
        };
        self.event(Who::Server, What::Commit(commit));
        self.seq
    }

    /// The device removes its first queued transaction from its queue.
    pub(crate) fn complete(&mut self, device: u32) -> LocalTx {
        let tx = self.queued[device as usize].remove(0);
        self.event(Who::Client(device), What::Complete { tx_id: tx.tx_id.expect("it queued") });
        tx
    }

    /// The device asks for a write checkpoint and is given the next number.
    pub(crate) fn write_checkpoint(&mut self, device: u32) -> u64 {
        let number = &mut self.checkpoints[device as usize];
        *number += 1;
        let number = *number;
        self.event(Who::Client(device), What::WriteCheckpoint { phase: Phase::Invoke, number: None, status: None });
        let what = What::WriteCheckpoint { phase: Phase::Ok, number: Some(number), status: Some(200) };
        self.event(Who::Client(device), what);
        number
    }

    /// A full apply after which the device shows the server's rows as they are now. (It goes by the server's rows,
    /// not by the sync config; with a sync config of its own a builder says what is applied.)
    pub(crate) fn apply(&mut self, device: u32) -> usize {
        let shown = &self.shown[device as usize];
        let mut rows: Vec<(RowId, Option<Row>)> = self
            .server
            .iter()
            .filter(|(row, image)| shown.get(row) != Some(image))
            .map(|(row, image)| (*row, Some(image.clone())))
            .collect();
        rows.extend(shown.keys().filter(|row| !self.server.contains_key(row)).map(|row| (*row, None)));
        rows.sort_by_key(|(row, _)| *row);
        self.apply_rows(device, &rows)
    }

    /// A full apply of these rows.
    pub(crate) fn apply_rows(&mut self, device: u32, rows: &[(RowId, Option<Row>)]) -> usize {
        let number = self.checkpoints[device as usize];
        let checkpoint = (number > 0).then_some(number);
        let apply = Apply {
            priority: None,
            last_op_id: self.seq,
            write_checkpoint: checkpoint,
            target: checkpoint,
            queued: 0,
            rows: rows.to_vec(),
            arrived_us: self.now_us,
            whole: false,
        };
        self.apply_event(device, apply)
    }

    /// This apply.
    pub(crate) fn apply_event(&mut self, device: u32, apply: Apply) -> usize {
        if apply.whole {
            self.shown[device as usize].clear();
        }
        for (row, image) in &apply.rows {
            self.show(device as usize, *row, image.clone());
        }
        self.event(Who::Client(device), What::Apply(apply))
    }

    /// Everything queued is uploaded, everybody applies, and everything is read: a sound end.
    pub(crate) fn finish(&mut self) {
        for device in 0..self.shown.len() {
            let device = u32::try_from(device).expect("a unit history has few devices");
            while !self.queued[device as usize].is_empty() {
                self.upload(device);
            }
        }
        for device in 0..self.shown.len() {
            self.apply(u32::try_from(device).expect("a unit history has few devices"));
        }
        self.end();
    }

    /// The barriers are reached and everything is read as it is.
    pub(crate) fn end(&mut self) {
        for barrier in [Barrier::Heal, Barrier::Settle, Barrier::Resume, Barrier::SettleAgain] {
            self.barrier(barrier, Phase::Invoke, &[]);
            self.barrier(barrier, Phase::Ok, &[]);
        }
        self.read_all();
    }

    /// The final reads.
    pub(crate) fn read_all(&mut self) {
        let read = |rows: &BTreeMap<RowId, Row>| What::Read {
            scope: Scope::Final,
            rows: rows.iter().map(|(row, image)| (*row, Some(image.clone()))).collect(),
        };
        for device in 0..self.shown.len() {
            let what = read(&self.shown[device]);
            self.event(Who::Client(u32::try_from(device).expect("a unit history has few devices")), what);
        }
        let what = read(&self.server);
        self.event(Who::Server, what);
    }

    /// An event of a barrier.
    pub(crate) fn barrier(&mut self, barrier: Barrier, phase: Phase, open: &[&str]) {
        let open = open.iter().map(|sentence| (*sentence).to_owned()).collect();
        self.event(Who::Run, What::Barrier { barrier, phase, open });
    }

    /// What a checker says of the history.
    pub(crate) fn judge(&self, checker: impl Fn(&Context<'_>, &Timeline<'_>) -> Finding) -> Finding {
        let ctx = Context { app: &self.app, history: &self.history, promises: &self.promises };
        checker(&ctx, &Timeline::build(&ctx))
    }

    /// Expects that a checker finds these codes, in this order, and nothing else; none: that it says valid.
    pub(crate) fn expect(&self, checker: impl Fn(&Context<'_>, &Timeline<'_>) -> Finding, codes: &[&str]) -> Finding {
        let finding = self.judge(checker);
        let found: Vec<&str> = finding.anomalies.iter().map(|anomaly| anomaly.code).collect();
        assert_eq!(found, codes, "{finding:#?}");
        let verdict = if codes.is_empty() { Verdict::Valid } else { Verdict::Invalid };
        assert_eq!(finding.verdict, verdict, "{finding:#?}");
        finding
    }

    fn width(&self, row: RowId) -> usize {
        self.app.schema.tables[self.history.rows[row as usize].table].columns.len()
    }

    fn show(&mut self, device: usize, row: RowId, image: Option<Row>) {
        match image {
            Some(image) => self.shown[device].insert(row, image),
            None => self.shown[device].remove(&row),
        };
    }
}

/// The operation whose effect a commit's change is: the row's first operation for its first change, and so on; a lone
/// operation for what follows from it. `None` where one change stands for several operations.
fn effect_of(tx: &LocalTx, rows: &[(RowId, Option<Row>)], index: usize) -> Option<i64> {
    if let [op] = tx.ops.as_slice() {
        return Some(op.op_id);
    }
    let row = rows[index].0;
    let on_row: Vec<&LocalOp> = tx.ops.iter().filter(|op| op.row == row).collect();
    let changes = rows.iter().filter(|(of, _)| *of == row).count();
    if changes != on_row.len() {
        return None;
    }
    let nth = rows[..index].iter().filter(|(of, _)| *of == row).count();
    on_row.get(nth).map(|op| op.op_id)
}

/// An answer without details.
pub(crate) fn answer(op_id: i64, outcome: Outcome) -> OpAnswer {
    OpAnswer { op_id, outcome, reason: None, by: None, merged_into: None }
}

/// A builder in which two devices show one box, one card, one label and one memo: rows 0, 1, 2, 3.
pub(crate) fn with_seed_rows() -> HistoryBuilder {
    with_seed_rows_of(2)
}

/// The same with so many devices.
pub(crate) fn with_seed_rows_of(devices: u32) -> HistoryBuilder {
    let mut builder = HistoryBuilder::new(devices as usize);
    let rows: Vec<RowId> = ["boxes", "cards", "labels", "memos"].iter().map(|table| builder.row(table)).collect();
    let box_id = builder.id(rows[0]);
    builder.server_write(&[
        (rows[0], Some(json!({"name": "box", "running": 0}))),
        (rows[1], Some(json!({"box_id": box_id, "title": "card", "hits": 0, "tags": "[]"}))),
        (rows[2], Some(json!({"key": "colour", "value": "red"}))),
        (rows[3], Some(json!({"text": "memo"}))),
    ]);
    for device in 0..devices {
        builder.apply(device);
    }
    builder
}
