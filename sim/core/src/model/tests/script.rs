//! Decision tables in words: a script of uploads, each with what should come of it.
//!
//! ```text
//! seed p1 {"label":"a"}                                   the server has the row
//! 0@10 PATCH p1 {"label":"b"} old {"label":"a"} => applied
//! 1@5>20 PATCH p1 {"label":"c"} old {"label":"a"} => superseded by 0/1; owes p1.label latest 1/1<0/1
//! row p1 {"label":"b"}                                    some columns of the row; or `absent`
//! ```
//!
//! `1@5>20` is device 1, clock 5 (sent in the clock column, if the table has one), received at 20; without `>` at
//! its clock. Instants are microseconds. Operations of one transaction are parted by ` ; `. The first letter of a
//! row names its table. What is expected is the fate of each operation, then the records that are owed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use fixtures::{App, Row, Type, Value};
use serde_json::Value as Json;

use crate::history::{
    Change, Commit, ConflictRecord, DeviceName, Event, Header, History, LocalOp, LocalTx, Op, OpAnswer, Origin,
    Outcome, RowId, RowName, VERSION, What, Who, Writer,
};
use crate::model::facts::Discipline;
use crate::model::{Expected, Model, Party, Prediction, Upload};
use crate::plan::DeviceKind;
use crate::seed::Seed;

static APP: LazyLock<App> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/tests/script");
    App::load(&folder).expect("the application of the decision tables is sound")
});

/// The application of the decision tables.
pub(crate) fn app() -> &'static App {
    &APP
}

/// One line of a script.
enum Line {
    Seed(RowId, Option<Json>),
    Tx { device: u32, received_us: i64, ops: Vec<LocalOp>, expect: String },
    Row(RowId, Option<Json>),
}

/// Runs a script under a policy, and holds what the model says against what the script says. Gives the history of
/// a server that does what the model says.
pub(crate) fn play(policy: &str, script: &str) -> History {
    let history = play_with(policy, script);
    assert!(!script.contains("=> ?"), "a decision table says what comes of each upload");
    history
}

/// As [`play`], for scripts that leave open what comes of an upload: `=> ?`.
pub(crate) fn play_with(policy: &str, script: &str) -> History {
    let mut names = Names::default();
    let mut next_op = BTreeMap::new();
    let lines: Vec<Line> = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| read(line, &mut names, &mut next_op))
        .collect();
    let mut history = History {
        header: Header {
            v: VERSION,
            app: "script".to_owned(),
            scenario: "unit".to_owned(),
            seed: Seed(1),
            world: "deterministic".to_owned(),
            time: crate::history::Time::Virtual,
            policy: policy.to_owned(),
            devices: (0..3)
                .map(|device| DeviceName {
                    kind: DeviceKind::Tauri,
                    user: "ann".to_owned(),
                    client_id: format!("c{device}"),
                    after: None,
                    copy: None,
                })
                .collect(),
        },
        rows: names.rows,
        events: Vec::new(),
    };
    let events = server(&history, &lines, script);
    history.events = events;
    history
}

fn server(history: &History, lines: &[Line], script: &str) -> Vec<Event> {
    let discipline = Discipline::named(&history.header.policy).expect("the script names a policy");
    let mut model = Model::new(app(), discipline, &history.header, &history.rows);
    let mut events: Vec<Event> = Vec::new();
    let mut seq = 0;
    let mut next_tx = BTreeMap::new();
    for line in lines {
        match line {
            Line::Seed(row, set) => {
                let before = model.live(*row).cloned();
                let image = set.as_ref().map(|set| image(history.rows[*row as usize].table, set));
                model.server_write(*row, image.as_ref());
                seq += 1;
                let change = Change { row: *row, before, after: image, op_id: None };
                events.push(committed(seq, 0, None, vec![change], &Prediction::default()));
            }
            Line::Row(row, wanted) => {
                let found = model.live(*row);
                let label = history.row_label(app(), *row);
                match (wanted, found) {
                    (None, found) => assert!(found.is_none(), "{label} should be absent in\n{script}"),
                    (Some(_), None) => panic!("{label} should be there in\n{script}"),
                    (Some(wanted), Some(found)) => {
                        for (column, value) in data(history.rows[*row as usize].table, wanted) {
                            let label = history.column_label(app(), *row, column);
                            assert_eq!(found[column], value, "{label} in\n{script}");
                        }
                    }
                }
            }
            Line::Tx { device, received_us, ops, expect } => {
                let tx_id = next_tx.entry(*device).and_modify(|next| *next += 1).or_insert(1);
                let generated = |_, _| Some(Value::Time(*received_us));
                let upload = Upload { device: *device, ops, received_us: *received_us, generated: &generated };
                let prediction = model.predict(&upload);
                if expect != "?" {
                    let said = say(history, &prediction);
                    assert_eq!(said, *expect, "client/{device}'s transaction {tx_id} in\n{script}");
                }
                let changes = model
                    .touched()
                    .iter()
                    .filter(|(row, before)| before.live.as_ref() != model.live(*row))
                    .map(|(row, before)| Change {
                        row: *row,
                        before: before.live.clone(),
                        after: model.live(*row).cloned(),
                        op_id: None,
                    })
                    .collect();
                events.push(Event { at_us: 0, who: Who::Client(*device), what: What::Tx(local(*tx_id, ops)) });
                let baseline = discipline == Discipline::ArrivalOrder;
                if baseline && prediction.refusal.is_some() {
                    continue;
                }
                seq += 1;
                let origin = Some(Origin { device: *device, tx_id: *tx_id });
                let shown = if baseline { Prediction::default() } else { prediction };
                events.push(committed(seq, *received_us, origin, changes, &shown));
            }
        }
    }
    events
}

fn committed(
    seq: u64,
    received_us: i64,
    origin: Option<Origin>,
    changes: Vec<Change>,
    prediction: &Prediction<'_>,
) -> Event {
    let ledger = prediction.ops.iter().map(|op| OpAnswer {
        op_id: op.op_id,
        outcome: op.outcome,
        reason: op.reason.map(str::to_owned),
        by: op.winners.first().cloned(),
        merged_into: op.merged_into,
    });
    let someone = |party: &Party| match party {
        Party::Anyone => Writer::Server,
        Party::OneOf(writers) => writers[0].clone(),
    };
    let records = prediction.records.iter().filter(|expected| expected.owed).map(|expected| ConflictRecord {
        row: expected.row,
        column: expected.columns.as_ref().and_then(|columns| columns[0]).map(str::to_owned),
        rule: expected.rule.unwrap_or("any").to_owned(),
        loser: someone(&expected.loser),
        winner: someone(&expected.winner),
    });
    let commit = Commit {
        seq,
        received_us,
        origin,
        foreign: false,
        changes,
        ledger: ledger.collect(),
        conflicts: records.collect(),
        aliases: prediction.aliases.clone(),
    };
    Event { at_us: 0, who: Who::Server, what: What::Commit(commit) }
}

fn local(tx_id: i64, ops: &[LocalOp]) -> LocalTx {
    LocalTx {
        step: 0,
        activity: "script".to_owned(),
        tx_id: Some(tx_id),
        ops: ops.to_vec(),
        skipped: 0,
        intents: 1,
        failed: None,
        clock_us: 0,
    }
}

/// The prediction as a script has it.
fn say(history: &History, prediction: &Prediction<'_>) -> String {
    let id = |row: RowId| history.rows[row as usize].id.to_string();
    let by = |writer: &Writer| match writer {
        Writer::Client { device, op_id } => format!("{device}/{op_id}"),
        Writer::Server => "server".to_owned(),
        Writer::Other(text) => text.clone(),
    };
    let list = |writers: &[Writer]| writers.iter().map(by).collect::<Vec<_>>().join("|");
    let party = |party: &Party| match party {
        Party::Anyone => "*".to_owned(),
        Party::OneOf(writers) => list(writers),
    };
    let mut parts: Vec<String> = Vec::new();
    for op in &prediction.ops {
        let outcome = match op.outcome {
            Outcome::Applied => "applied",
            Outcome::Merged => "merged",
            Outcome::Superseded => "superseded",
            Outcome::Rejected => "rejected",
            Outcome::RolledBack => "rolled back",
        };
        let refusal = prediction.refusal.as_ref().filter(|_| op.outcome == Outcome::Rejected);
        let reason = refusal.map(|refusal| refusal.reason).or(op.reason);
        let mut text = outcome.to_owned();
        text += &reason.map_or(String::new(), |reason| format!(" ({reason})"));
        text += &op.merged_into.map_or(String::new(), |row| format!(" into {}", id(row)));
        if !op.winners.is_empty() {
            text += &format!(" by {}", list(&op.winners));
        }
        parts.push(text);
    }
    let owes = |expected: &Expected<'_>| {
        let column = expected
            .columns
            .as_ref()
            .map_or(".*".to_owned(), |columns| columns[0].map_or(String::new(), |name| format!(".{name}")));
        let rule = expected.rule.unwrap_or("*");
        format!("owes {}{column} {rule} {}<{}", id(expected.row), party(&expected.loser), party(&expected.winner))
    };
    parts.extend(prediction.records.iter().filter(|expected| expected.owed).map(owes));
    parts.join("; ")
}

/// Rows by the names that a script gives them.
#[derive(Default)]
struct Names {
    rows: Vec<RowName>,
    known: BTreeMap<String, RowId>,
}

impl Names {
    fn row(&mut self, name: &str) -> RowId {
        if let Some(row) = self.known.get(name) {
            return *row;
        }
        // `b` is beds, so badges go by `g`.
        let table = match &name[..1] {
            "b" => "beds",
            "p" => "plants",
            "l" => "leaves",
            "v" => "veins",
            "s" => "stakes",
            "o" => "options",
            "g" => "badges",
            "u" => "pumps",
            "n" => "notes",
            other => panic!("no table for rows named {other}…"),
        };
        let row = RowId::try_from(self.rows.len()).expect("a script has few rows");
        let table = app().schema.table_index(table).expect("the table is in the schema");
        self.rows.push(RowName { table, id: Arc::from(name) });
        self.known.insert(name.to_owned(), row);
        row
    }
}

fn read(line: &str, names: &mut Names, next_op: &mut BTreeMap<u32, i64>) -> Line {
    let set = |text: &str| match text {
        "absent" => None,
        text => Some(serde_json::from_str(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))),
    };
    let (first, rest) = line.split_once(' ').expect("a line has several words");
    if let "seed" | "row" = first {
        let (row, text) = rest.split_once(' ').expect("a row and its columns");
        let row = names.row(row);
        return if first == "seed" { Line::Seed(row, set(text)) } else { Line::Row(row, set(text)) };
    }
    let (rest, expect) = rest.split_once(" => ").expect("an upload says what comes of it");
    let (device, times) = first.split_once('@').expect("an upload begins with device@clock");
    let number = |text: &str| text.parse::<i64>().unwrap_or_else(|error| panic!("`{text}`: {error}"));
    let (clock_us, received_us) = match times.split_once('>') {
        Some((clock, received)) => (number(clock), number(received)),
        None => (number(times), number(times)),
    };
    let device = u32::try_from(number(device)).expect("devices are small numbers");
    let ops = rest.split(" ; ").map(|op| read_op(op, clock_us, names, next_op.entry(device).or_default())).collect();
    Line::Tx { device, received_us, ops, expect: expect.to_owned() }
}

fn read_op(text: &str, clock_us: i64, names: &mut Names, last_op: &mut i64) -> LocalOp {
    let mut words = text.splitn(3, ' ');
    let kind = words.next().expect("an operation has a kind");
    let row = names.row(words.next().expect("an operation has a row"));
    let rest = words.next().unwrap_or("{}");
    let (sent, old) = match rest.strip_prefix("old ") {
        Some(old) => ("{}", old),
        None => rest.split_once(" old ").unwrap_or((rest, "{}")),
    };
    let json = |text: &str| serde_json::from_str::<Json>(text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
    let (mut sent, old) = (json(sent), json(old));
    let unknown = sent.as_object_mut().and_then(|sent| sent.remove("?")).is_some();
    let table = names.rows[row as usize].table;
    let op = match kind {
        "PUT" => Op::Put,
        "PATCH" => Op::Patch,
        "DELETE" => Op::Delete,
        other => panic!("`{other}` is no kind of operation"),
    };
    let mut sent = data(table, &sent);
    if let Some(clock) = app().policy.tables[table].clock.filter(|_| op != Op::Delete && !sent.is_empty()) {
        sent.push((clock, Value::Time(clock_us)));
    }
    *last_op += 1;
    let unknown = if unknown { vec!["?".to_owned()] } else { Vec::new() };
    LocalOp { op_id: *last_op, op, row, data: sent, old: data(table, &old), unknown }
}

fn data(table: usize, set: &Json) -> Vec<(usize, Value)> {
    let table = &app().schema.tables[table];
    let columns = set.as_object().expect("columns are a JSON object").iter();
    columns
        .map(|(name, value)| {
            let column = table.column_index(name).unwrap_or_else(|| panic!("{} has a column {name}", table.name));
            let ty = table.columns[column].ty;
            let value = match (ty, value.as_i64()) {
                (Type::Timestamptz, Some(micros)) => Value::Time(micros),
                _ => Value::from_json(ty, value).expect("the value is of the column's type"),
            };
            (column, value)
        })
        .collect()
}

fn image(table: usize, set: &Json) -> Row {
    let mut image = vec![Value::Null; app().schema.tables[table].columns.len()];
    for (column, value) in data(table, set) {
        image[column] = value;
    }
    image.into()
}
