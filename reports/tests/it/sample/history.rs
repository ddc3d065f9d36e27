//! Builds a plan and its history, event by event.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{Row, Value};
use sim_core::history::{
    Apply, Barrier, Change, Commit, ConflictRecord, DeviceName, Event, Header, LocalOp, LocalTx, Op, OpAnswer, Origin,
    Outcome, Phase, RowId, RowName, Scope, TxOutcome, Upload, What, Who,
};
use sim_core::plan::{Action, Device, DeviceKind, EPOCH_US, Expr, Fault, Intent, Link, SeedRow, Step};
use sim_core::{History, Plan, Seed};

use super::app::CLOCK;

/// Columns with their values.
type Columns = Vec<(usize, Value)>;

/// A plan and its history, under construction.
pub(crate) struct HistoryBuilder {
    pub(crate) plan: Plan,
    pub(crate) history: History,
    /// The rows on the server.
    pub(crate) rows: BTreeMap<RowId, Row>,
    /// The number of the last commit.
    seq: u64,
    /// The next operation id of each device.
    next_op_id: BTreeMap<u32, i64>,
    /// The key of the last step.
    key: u32,
}

impl HistoryBuilder {
    /// Devices of these platforms, and rows with these titles on the server.
    pub(crate) fn new(kinds: &[DeviceKind], titles: &[&str]) -> Self {
        let seed = Seed(0x5eed);
        let user = "ann";
        let plan = Plan {
            version: sim_core::plan::VERSION,
            app: "notebook".to_owned(),
            scenario: "same-field".to_owned(),
            seed,
            identity: None,
            devices: kinds.iter().map(|kind| Device { kind: *kind, user: user.to_owned(), clock_skew_us: 0 }).collect(),
            link: Link { latency_min_us: 5_000, latency_max_us: 80_000 },
            token_lifetime_s: 3600,
            rows: vec!["notes".to_owned(); titles.len()],
            seed_rows: (0..)
                .zip(titles)
                .map(|(row, title)| SeedRow {
                    row,
                    set: vec![
                        ("title".to_owned(), Expr::Value((*title).into())),
                        ("stars".to_owned(), Expr::Value(1.into())),
                    ],
                })
                .collect(),
            steps: Vec::new(),
            resume: Vec::new(),
        };
        let devices = (0..)
            .zip(kinds)
            .map(|(device, kind)| DeviceName {
                kind: *kind,
                user: user.to_owned(),
                client_id: plan.client_id(device),
                after: None,
                copy: None,
            })
            .collect();
        let names = (0..).zip(titles).map(|(row, _)| RowName { table: 0, id: Arc::from(plan.row_id(row)) }).collect();
        let header = Header {
            v: sim_core::history::VERSION,
            app: plan.app.clone(),
            scenario: plan.scenario.clone(),
            seed,
            world: "deterministic".to_owned(),
            time: sim_core::history::Time::Virtual,
            policy: "field-merge".to_owned(),
            devices,
        };
        let mut builder = Self {
            plan,
            history: History { header, rows: names, events: Vec::new() },
            rows: BTreeMap::new(),
            seq: 0,
            next_op_id: BTreeMap::new(),
            key: 0,
        };
        let changes = (0..)
            .zip(titles)
            .map(|(row, title)| {
                let image: Row = vec![Value::text(title), Value::Int(1), Value::Time(EPOCH_US)].into();
                builder.rows.insert(row, Arc::clone(&image));
                Change { row, before: None, after: Some(image), op_id: None }
            })
            .collect();
        builder.commit_as(0.0, None, changes, Vec::new());
        for device in 0..u32::try_from(kinds.len()).expect("a sample has few devices") {
            let rows = builder.rows.iter().map(|(row, image)| (*row, Some(Arc::clone(image)))).collect();
            builder.apply_rows(0.0, device, rows, true);
        }
        builder
    }

    /// Records an event and returns its index.
    pub(crate) fn event(&mut self, at_s: f64, who: Who, what: What) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "samples are short")]
        let at_us = (at_s * 1e6).round() as i64;
        self.history.events.push(Event { at_us, who, what });
        self.history.events.len() - 1
    }

    /// A fault begins; returns its key.
    pub(crate) fn begin_fault(&mut self, at_s: f64, fault: &Fault) -> u32 {
        self.key += 1;
        let key = self.key;
        self.event(at_s, Who::Run, What::Fault { phase: Phase::Invoke, key, fault: fault.clone() });
        #[expect(clippy::cast_possible_truncation, reason = "samples are short")]
        self.plan.steps.push(Step { at_us: (at_s * 1e6) as i64, key, action: Action::Fault(fault.clone()) });
        key
    }

    /// The fault is undone.
    pub(crate) fn end_fault(&mut self, at_s: f64, key: u32, fault: &Fault) {
        self.event(at_s, Who::Run, What::Fault { phase: Phase::Ok, key, fault: fault.clone() });
    }

    /// A local transaction that updates one row from what the device had seen; returns (event, transaction).
    pub(crate) fn edit(
        &mut self,
        at_s: f64,
        device: u32,
        activity: &str,
        row: RowId,
        set: &[(usize, Value, Value)],
    ) -> (usize, i64) {
        let clock_us = EPOCH_US + (at_s * 1e6) as i64;
        let mut data: Vec<(usize, Value)> = set.iter().map(|(column, _, new)| (*column, new.clone())).collect();
        data.push((CLOCK, Value::Time(clock_us)));
        let old = set.iter().map(|(column, old, _)| (*column, old.clone())).collect();
        self.transaction(at_s, device, activity, vec![(Op::Patch, row, data, old)])
    }

    /// A local transaction.
    pub(crate) fn transaction(
        &mut self,
        at_s: f64,
        device: u32,
        activity: &str,
        ops: Vec<(Op, RowId, Columns, Columns)>,
    ) -> (usize, i64) {
        self.key += 1;
        let next = self.next_op_id.entry(device).or_insert(1);
        let tx_id = *next;
        let intents = ops.iter().map(|(_, row, ..)| Intent::Delete { row: *row }).collect();
        let ops: Vec<LocalOp> = ops
            .into_iter()
            .map(|(op, row, data, old)| {
                let op_id = *next;
                *next += 1;
                LocalOp { op_id, op, row, data, old, unknown: Vec::new() }
            })
            .collect();
        let tx = LocalTx {
            step: self.key,
            activity: activity.to_owned(),
            tx_id: Some(tx_id),
            intents: u32::try_from(ops.len()).expect("a sample has few operations"),
            ops,
            skipped: 0,
            failed: None,
            clock_us: EPOCH_US + (at_s * 1e6) as i64,
        };
        let action = Action::Tx { device, activity: activity.to_owned(), intents };
        self.plan.steps.push(Step { at_us: (at_s * 1e6) as i64, key: self.key, action });
        (self.event(at_s, Who::Client(device), What::Tx(tx)), tx_id)
    }

    /// The beginning or end of one attempt, with the answers to its operations.
    pub(crate) fn upload(
        &mut self,
        at_s: f64,
        device: u32,
        tx_id: i64,
        attempt: u32,
        phase: Phase,
        ops: Vec<OpAnswer>,
    ) -> usize {
        let ok = phase == Phase::Ok;
        let upload = Upload {
            phase,
            tx_id,
            attempt,
            status: ok.then_some(200),
            outcome: ok.then_some(TxOutcome::Committed),
            ops,
            said: None,
        };
        self.event(at_s, Who::Client(device), What::Upload(upload))
    }

    /// Commits what a transaction wrote, as it was sent.
    pub(crate) fn commit(&mut self, at_s: f64, device: u32, tx_id: i64, conflicts: Vec<ConflictRecord>) -> usize {
        let ops = self
            .history
            .events
            .iter()
            .find_map(|event| match &event.what {
                What::Tx(tx) if tx.tx_id == Some(tx_id) && event.who == Who::Client(device) => Some(tx.ops.clone()),
                _ => None,
            })
            .expect("the transaction was recorded before its commit");
        let mut changes = Vec::new();
        for op in ops {
            let before = self.rows.get(&op.row).cloned();
            let after: Option<Row> = (op.op != Op::Delete).then(|| {
                let mut image = before.as_ref().map_or_else(|| vec![Value::Null; 3], |row| row.to_vec());
                for (column, value) in op.data {
                    image[column] = value;
                }
                image.into()
            });
            match &after {
                Some(image) => self.rows.insert(op.row, Arc::clone(image)),
                None => self.rows.remove(&op.row),
            };
            changes.push(Change { row: op.row, before, after, op_id: Some(op.op_id) });
        }
        self.commit_as(at_s, Some(Origin { device, tx_id }), changes, conflicts)
    }

    /// A commit with these changes.
    pub(crate) fn commit_as(
        &mut self,
        at_s: f64,
        origin: Option<Origin>,
        changes: Vec<Change>,
        conflicts: Vec<ConflictRecord>,
    ) -> usize {
        self.seq += 1;
        let commit = Commit {
            seq: self.seq,
            received_us: EPOCH_US + (at_s * 1e6) as i64,
            origin,
            foreign: false,
            changes,
            ledger: Vec::new(),
            conflicts,
            aliases: Vec::new(),
        };
        self.event(at_s, Who::Server, What::Commit(commit))
    }

    /// The device applies the rows as they are on the server now.
    pub(crate) fn apply(&mut self, at_s: f64, device: u32, rows: &[RowId]) -> usize {
        let rows = rows.iter().map(|row| (*row, self.rows.get(row).cloned())).collect();
        self.apply_rows(at_s, device, rows, false)
    }

    fn apply_rows(&mut self, at_s: f64, device: u32, rows: Vec<(RowId, Option<Row>)>, whole: bool) -> usize {
        let apply = Apply {
            priority: None,
            last_op_id: self.seq,
            write_checkpoint: None,
            target: None,
            queued: 0,
            rows,
            arrived_us: (at_s * 1e6) as i64,
            whole,
        };
        self.event(at_s, Who::Client(device), What::Apply(apply))
    }

    /// Heals, settles and reads everything; a device in `stale` still has the row that is given for it.
    pub(crate) fn finish(&mut self, at_s: f64, stale: &[(u32, RowId, Row)]) {
        for barrier in [Barrier::Heal, Barrier::Settle] {
            self.event(at_s, Who::Run, What::Barrier { barrier, phase: Phase::Invoke, open: Vec::new() });
            self.event(at_s, Who::Run, What::Barrier { barrier, phase: Phase::Ok, open: Vec::new() });
        }
        for device in (0..).take(self.plan.devices.len()) {
            let mut rows = self.rows.clone();
            for (_, row, image) in stale.iter().filter(|(other, ..)| *other == device) {
                rows.insert(*row, Arc::clone(image));
            }
            let rows = rows.into_iter().map(|(row, image)| (row, Some(image))).collect();
            self.event(at_s, Who::Client(device), What::Read { scope: Scope::Final, rows });
        }
    }
}

/// A text value.
pub(super) fn text(text: &str) -> Value {
    Value::text(text)
}

/// The answer of an operation that took effect.
pub(super) fn applied(op_id: i64) -> OpAnswer {
    OpAnswer { op_id, outcome: Outcome::Applied, reason: None, by: None, merged_into: None }
}
