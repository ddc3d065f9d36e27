//! Hand-made runs and histories: what a small failing plan looks like, without running one.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{App, Column, Default, Policy, Row, Rule, Schema, Table, TablePolicy, Type, Value};
use reports::Failure;
use sim_core::history::{
    Apply, Barrier, Change, Commit, ConflictRecord, DeviceName, Event, Header, LocalOp, LocalTx, Op, OpAnswer, Origin,
    Outcome, Phase, RowId, RowName, Scope, TxOutcome, Upload, What, Who, Writer,
};
use sim_core::plan::{Action, Device, DeviceKind, EPOCH_US, Expr, Fault, Intent, Link, SeedRow, Step};
use sim_core::run::{
    AnomalyText, CheckerCount, Division, FailureKind, MutantResult, Percentiles, Place, Run, ScenarioRun, Shrunk, Totals,
};
use sim_core::{Class, History, Plan, Seed, Verdict};

/// Column indices of the only table.
pub(crate) const TITLE: usize = 0;
/// A number.
pub(crate) const STARS: usize = 1;
const CLOCK: usize = 2;

/// An application with one table of made-up columns.
pub(crate) fn app() -> App {
    let column = |name: &str, ty, default| Column { name: name.to_owned(), ty, not_null: false, default };
    let columns = vec![
        column("title", Type::Text, Default::Null),
        column("stars", Type::Integer, Default::Literal(Value::Int(0))),
        column("changed_at", Type::Timestamptz, Default::Now),
    ];
    let mut app = App::builtin("flowstate").expect("FlowState is built in");
    app.name = "notebook".to_owned();
    app.schema = Schema { tables: vec![Table { name: "notes".to_owned(), columns, unique: Vec::new() }] };
    app.policy = Policy {
        tables: vec![TablePolicy {
            clock: Some(CLOCK),
            edit_revives: false,
            rules: vec![Rule::Latest, Rule::Latest, Rule::Max],
            groups: Vec::new(),
        }],
        references: Vec::new(),
        trees: Vec::new(),
        uniques: Vec::new(),
        exclusives: Vec::new(),
        invariants: Vec::new(),
    };
    app
}

/// Columns with their values.
type Columns = Vec<(usize, Value)>;

/// A plan and its history in the making.
pub(crate) struct Sample {
    pub(crate) plan: Plan,
    pub(crate) history: History,
    rows: BTreeMap<RowId, Row>,
    seq: u64,
    next: BTreeMap<u32, i64>,
    key: u32,
}

impl Sample {
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
            .map(|(device, kind)| DeviceName { kind: *kind, user: user.to_owned(), client_id: plan.client_id(device), after: None, copy: None })
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
        let mut sample = Self {
            plan,
            history: History { header, rows: names, events: Vec::new() },
            rows: BTreeMap::new(),
            seq: 0,
            next: BTreeMap::new(),
            key: 0,
        };
        let changes = (0..)
            .zip(titles)
            .map(|(row, title)| {
                let image: Row = vec![Value::text(title), Value::Int(1), Value::Time(EPOCH_US)].into();
                sample.rows.insert(row, Arc::clone(&image));
                Change { row, before: None, after: Some(image), op_id: None }
            })
            .collect();
        sample.commit_as(0.0, None, changes, Vec::new());
        for device in 0..u32::try_from(kinds.len()).expect("a sample has few devices") {
            let rows = sample.rows.iter().map(|(row, image)| (*row, Some(Arc::clone(image)))).collect();
            sample.apply_rows(0.0, device, rows, true);
        }
        sample
    }

    /// Records an event and answers its index.
    pub(crate) fn event(&mut self, at_s: f64, who: Who, what: What) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "samples are short")]
        let at_us = (at_s * 1e6).round() as i64;
        self.history.events.push(Event { at_us, who, what });
        self.history.events.len() - 1
    }

    /// A fault begins; answers its key.
    pub(crate) fn strike(&mut self, at_s: f64, fault: &Fault) -> u32 {
        self.key += 1;
        let key = self.key;
        self.event(at_s, Who::Run, What::Fault { phase: Phase::Invoke, key, fault: fault.clone() });
        #[expect(clippy::cast_possible_truncation, reason = "samples are short")]
        self.plan.steps.push(Step { at_us: (at_s * 1e6) as i64, key, action: Action::Fault(fault.clone()) });
        key
    }

    /// The fault is undone.
    pub(crate) fn lift(&mut self, at_s: f64, key: u32, fault: &Fault) {
        self.event(at_s, Who::Run, What::Fault { phase: Phase::Ok, key, fault: fault.clone() });
    }

    /// A local transaction that updates one row from what the device had seen; answers (event, transaction).
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
        let next = self.next.entry(device).or_insert(1);
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

    /// One attempt's beginning or end, with the answers to its operations.
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

    /// The device applies the server's present rows.
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

    /// Heals, settles and reads everything; a device in `stale` still shows what is given for it.
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
pub(crate) fn text(text: &str) -> Value {
    Value::text(text)
}

/// The answer of an operation that took effect.
pub(crate) fn applied(op_id: i64) -> OpAnswer {
    OpAnswer { op_id, outcome: Outcome::Applied, reason: None, by: None, merged_into: None }
}

/// A write is overridden by one that had not seen it, and nobody tells its author.
pub(crate) fn lost_update(app: &App) -> Failure<'_> {
    let mut sample = Sample::new(&[DeviceKind::Web, DeviceKind::Tauri], &["Plan trip"]);
    let offline = Fault::Offline { device: 1, for_us: 20_000_000 };
    let key = sample.strike(1.0, &offline);
    let (first, tx0) =
        sample.edit(4.0, 0, "rename-note", 0, &[(TITLE, text("Plan trip"), text("Plan the trip to Rome"))]);
    sample.upload(4.012, 0, tx0, 1, Phase::Invoke, vec![]);
    sample.commit(4.055, 0, tx0, vec![]);
    sample.upload(4.090, 0, tx0, 1, Phase::Ok, vec![applied(1)]);
    sample.event(4.090, Who::Client(0), What::Complete { tx_id: tx0 });
    sample.apply(4.130, 0, &[0]);
    let (second, tx1) = sample.edit(
        9.0,
        1,
        "rename-note",
        0,
        &[(TITLE, text("Plan trip"), text("Trip 2026")), (STARS, Value::Int(1), Value::Int(2))],
    );
    sample.lift(21.0, key, &offline);
    let lossy = Fault::Lossy {
        device: 1,
        server: sim_core::plan::Server::Backend,
        request_lost: 0,
        reply_lost: 100,
        duplicated: 0,
        for_us: 3_000_000,
    };
    let key = sample.strike(21.010, &lossy);
    sample.upload(21.100, 1, tx1, 1, Phase::Invoke, vec![]);
    let third = sample.commit(21.142, 1, tx1, vec![]);
    sample.apply(21.190, 0, &[0]);
    sample.upload(21.200, 1, tx1, 1, Phase::Info, vec![]);
    sample.lift(24.010, key, &lossy);
    sample.upload(26.200, 1, tx1, 2, Phase::Invoke, vec![]);
    sample.upload(26.260, 1, tx1, 2, Phase::Ok, vec![applied(1)]);
    sample.event(26.260, Who::Client(1), What::Complete { tx_id: tx1 });
    sample.apply(26.310, 1, &[0]);
    sample.finish(30.0, &[]);
    let records = sample.event(30.0, Who::Run, What::Conflicts { user: "ann".to_owned(), records: vec![] });
    let anomalies = vec![AnomalyText {
        checker: "durability".to_owned(),
        code: "override-without-record".to_owned(),
        what: "notes#0 title: the write of client/0 op 1 was overridden by one that had not seen it, and there is no record of it."
            .to_owned(),
        because: "Client/1 had seen \"Plan trip\" when it wrote; the rule `latest` lets its later write stay, but then a \
                  conflict record must name loser, winner, column and rule, so that the author can learn of it."
            .to_owned(),
        evidence: vec![
            "4.000 s client/0 writes \"Plan the trip to Rome\"".to_owned(),
            "9.000 s client/1, which still shows \"Plan trip\", writes \"Trip 2026\"".to_owned(),
            "21.142 s commit 3 puts \"Trip 2026\" in its place".to_owned(),
            "30.000 s the conflicts on record are none".to_owned(),
        ],
        passes_plain_convergence: true,
        events: vec![first, second, third, records],
    }];
    Failure {
        scenario: "same-field".to_owned(),
        plan: sample.plan,
        history: sample.history,
        anomalies,
        replay: "syncstorm replay runs/5eed/same-field".to_owned(),
        app,
    }
}

/// A device that was killed never shows what the others agree on.
pub(crate) fn divergence(app: &App) -> Failure<'_> {
    let kinds = [DeviceKind::Web, DeviceKind::Tauri, DeviceKind::Mobile, DeviceKind::Web, DeviceKind::Mobile];
    let mut sample = Sample::new(&kinds, &["Shopping", "Packing list"]);
    let crash = Fault::Crash { device: 3, after_steps: 1, down_us: 8_000_000 };
    let slow = Fault::Slow { device: 0, latency_us: 300_000, jitter_us: 50_000, bandwidth: 0, for_us: 6_000_000 };
    let slow_key = sample.strike(1.5, &slow);
    let (_, tx2) = sample.edit(2.0, 2, "star-note", 1, &[(STARS, Value::Int(1), Value::Int(5))]);
    let key = sample.strike(2.5, &crash);
    sample.upload(2.510, 2, tx2, 1, Phase::Invoke, vec![]);
    sample.event(
        2.520,
        Who::Client(3),
        What::Lifecycle(sim_core::history::Lifecycle::Killed(sim_core::history::Moment::Idle)),
    );
    sample.commit(2.560, 2, tx2, vec![]);
    sample.upload(2.600, 2, tx2, 1, Phase::Ok, vec![applied(1)]);
    for device in [1, 4, 2] {
        sample.apply(2.640 + f64::from(device) / 100.0, device, &[1]);
    }
    let (_, tx0) = sample.transaction(
        3.0,
        0,
        "tidy-up",
        vec![
            (Op::Delete, 0, vec![], vec![]),
            (Op::Patch, 1, vec![(TITLE, text("Packing"))], vec![(TITLE, text("Packing list"))]),
        ],
    );
    sample.upload(3.010, 0, tx0, 1, Phase::Invoke, vec![]);
    sample.upload(33.010, 0, tx0, 1, Phase::Info, vec![]);
    sample.lift(33.2, slow_key, &slow);
    sample.upload(38.010, 0, tx0, 2, Phase::Invoke, vec![]);
    let commit = sample.commit(
        38.050,
        0,
        tx0,
        vec![ConflictRecord {
            row: 0,
            column: None,
            rule: "delete".to_owned(),
            loser: Writer::Client { device: 4, op_id: 1 },
            winner: Writer::Client { device: 0, op_id: 1 },
        }],
    );
    sample.upload(38.090, 0, tx0, 2, Phase::Ok, vec![applied(1), applied(2)]);
    for device in [1, 2, 4] {
        sample.apply(38.1 + f64::from(device) / 100.0, device, &[0, 1]);
    }
    sample.lift(40.5, key, &crash);
    sample.event(40.5, Who::Client(3), What::Lifecycle(sim_core::history::Lifecycle::Started));
    let old: Row = vec![text("Packing list"), Value::Int(1), Value::Time(EPOCH_US)].into();
    sample.finish(60.0, &[(3, 1, old)]);
    let last = sample.history.events.len() - 2;
    let anomalies = vec![AnomalyText {
        checker: "convergence".to_owned(),
        code: "device-differs".to_owned(),
        what: "client/3 shows notes#1 title \"Packing list\", the server has \"Packing\".".to_owned(),
        because: "After settling, every device shows the server's rows.".to_owned(),
        evidence: vec!["60.000 s client/3 reads notes#1".to_owned()],
        passes_plain_convergence: false,
        events: vec![commit, last],
    }];
    Failure {
        scenario: "everything".to_owned(),
        plan: sample.plan,
        history: sample.history,
        anomalies,
        replay: "syncstorm replay runs/5eed/everything".to_owned(),
        app,
    }
}

/// A run with every kind of result in it.
pub(crate) fn run() -> Run {
    let counts = |entries: &[(&str, u64)]| entries.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let checkers = |invalid: &[(&str, u32)], plans: u32| -> BTreeMap<String, CheckerCount> {
        [
            "atomicity",
            "causal",
            "convergence",
            "durability",
            "exactly-once",
            "integrity",
            "policy",
            "progress",
            "protocol",
        ]
        .iter()
        .map(|name| {
            let invalid = invalid.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
            ((*name).to_owned(), CheckerCount { valid: plans - invalid, unknown: 0, invalid })
        })
        .collect()
    };
    let failure = |code: &str, role: &str, plans: &[u32]| FailureKind {
        checker: "durability".to_owned(),
        code: code.to_owned(),
        role: role.to_owned(),
        class: Class::Safety,
        plans: plans.to_vec(),
    };
    let percentiles = |p50, p95, p99, max| Percentiles { p50, p95, p99, max };
    let hops = || -> BTreeMap<String, Percentiles> {
        [
            ("commit-to-send", percentiles(820, 18_400, 24_000, 31_000)),
            ("send-to-server", percentiles(44, 96, 5_040, 5_120)),
            ("server-to-device", percentiles(52, 110, 180, 210)),
            ("arrival-to-apply", percentiles(1, 6, 14, 30)),
        ]
        .into_iter()
        .map(|(name, hop)| (name.to_owned(), hop))
        .collect()
    };
    let app = app();
    let lost = lost_update(&app);
    let differs = divergence(&app);
    let scenarios = vec![
        ScenarioRun {
            name: "different-fields".to_owned(),
            claim: "Edits of different columns of one row all stand, on every device.".to_owned(),
            plans: 200,
            conflicts: 1312,
            occurred: counts(&[("offline-edit", 812), ("concurrent:column", 1312), ("reply-lost-after-commit", 77)]),
            checkers: checkers(&[], 200),
            latency_ms: Some(percentiles(310, 19_200, 25_800, 32_000)),
            hops_ms: hops(),
            ..ScenarioRun::default()
        },
        ScenarioRun {
            name: "everything".to_owned(),
            claim: "Whatever happens, devices agree with the server in the end.".to_owned(),
            plans: 200,
            verdict: Verdict::Invalid,
            class: Some(Class::Safety),
            conflicts: 9210,
            overridden: counts(&[("latest", 3411), ("delete", 240), ("keep-server", 12)]),
            occurred: counts(&[("crash:after-commit-before-complete", 61), ("offline-edit", 5120)]),
            checkers: checkers(&[("convergence", 2)], 200),
            anomalies: differs.anomalies,
            latency_ms: Some(percentiles(940, 28_000, 41_000, 66_000)),
            hops_ms: hops(),
            failed_plans: 2,
            shrunk: Some(Shrunk { searched: true, operations: 3, faults: 2, devices: 5, path: "runs/5eed/everything".to_owned() }),
            ..ScenarioRun::default()
        },
        ScenarioRun {
            name: "key-rotation".to_owned(),
            claim: "Rotating the token key loses no write.".to_owned(),
            not_run: Some("this world cannot inject the fault key-rotated".to_owned()),
            ..ScenarioRun::default()
        },
        ScenarioRun {
            name: "same-field".to_owned(),
            claim: "Of two edits of one field the later stays, and the other is on record.".to_owned(),
            plans: 200,
            verdict: Verdict::Invalid,
            class: Some(Class::Safety),
            conflicts: 2044,
            overridden: counts(&[("latest", 1022)]),
            occurred: counts(&[("unseen-override:column", 1022)]),
            checkers: checkers(&[("durability", 131)], 200),
            anomalies: lost.anomalies,
            latency_ms: Some(percentiles(290, 18_000, 24_000, 30_500)),
            hops_ms: hops(),
            failed_plans: 131,
            failures: vec![
                failure("lost-update", "notes.title", &[0, 1, 4]),
                failure("wrong-record", "notes", &[17]),
            ],
            shrunk: Some(Shrunk { searched: true, operations: 2, faults: 2, devices: 2, path: "runs/5eed/same-field".to_owned() }),
            ..ScenarioRun::default()
        },
        ScenarioRun {
            name: "timer-leader".to_owned(),
            claim: "At most one timer runs at a time.".to_owned(),
            plans: 200,
            verdict: Verdict::Unknown,
            unknown: vec!["vacuous: no plan had two devices start a timer within one lease".to_owned()],
            checkers: checkers(&[], 200),
            latency_ms: Some(percentiles(280, 900, 1_400, 2_000)),
            ..ScenarioRun::default()
        },
    ];
    Run {
        version: sim_core::run::VERSION,
        seed: "0000000000005eed".to_owned(),
        world: "deterministic".to_owned(),
        app: "notebook".to_owned(),
        policy: "field-merge".to_owned(),
        commit: "2c9efb3".to_owned(),
        scenarios,
        totals: Totals {
            plans: 800,
            transactions: 16_410,
            operations: 41_230,
            simulated_seconds: 33_120.0,
            wall_seconds: 9.4,
            plans_per_second: 85.1,
            time: Division { sqlite_seconds: 14.9, checkers_seconds: 1.4, other_seconds: 2.2 },
        },
    }
}

/// A canary that was caught, and a liar that was not.
pub(crate) fn mutants() -> Vec<MutantResult> {
    vec![
        MutantResult {
            name: "record-names-wrong-winner".to_owned(),
            place: Place::Policy,
            caught: true,
            checker: Some("durability".to_owned()),
            plans: 3,
        },
        MutantResult {
            name: "queue-dropped-before-upload".to_owned(),
            place: Place::Engine,
            caught: false,
            checker: None,
            plans: 1500,
        },
    ]
}
