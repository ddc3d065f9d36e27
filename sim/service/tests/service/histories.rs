//! Random histories: writes, stalls, disconnects at any line, kills, compactions, lost logs.
//!
//! Whenever a client completes a checkpoint, it holds exactly the rows that the rules gave it at some commit, and in
//! the end those of the last commit.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value as Json, json};
use sim_service::ReplicaIdentity;

use crate::client::Client;
use crate::rig::{Lines, Rig, shared_schema};

const RULES: &str = "
bucket_definitions:
  team:
    priority: 2
    parameters:
      - SELECT team FROM members WHERE person = request.user_id()
      - SELECT 'open' AS team
    data: SELECT * FROM boxes WHERE owner = bucket.team AND size > 0
  mine:
    priority: 1
    parameters: SELECT request.user_id() AS person
    data: SELECT id, body FROM notes WHERE owner = bucket.person
";

#[derive(Clone, Debug)]
enum Action {
    Box {
        id: u8,
        owner: u8,
        size: i64,
    },
    Note {
        id: u8,
        owner: u8,
    },
    Member {
        id: u8,
        person: u8,
        team: u8,
    },
    Delete {
        table: usize,
        id: u8,
    },
    Commit,
    CommitAndReplicate,
    Stall,
    Compact,
    LoseSlot,
    Kill,
    /// The client reads this many lines.
    Read {
        client: usize,
        lines: usize,
    },
    Disconnect {
        client: usize,
    },
}

const TEAMS: [&str; 3] = ["red", "blue", "open"];
const PEOPLE: [&str; 2] = ["u1", "u2"];

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..6u8, 0..3u8, 0..3i64).prop_map(|(id, owner, size)| Action::Box { id, owner, size }),
        3 => (0..6u8, 0..2u8).prop_map(|(id, owner)| Action::Note { id, owner }),
        2 => (0..4u8, 0..2u8, 0..2u8).prop_map(|(id, person, team)| Action::Member { id, person, team }),
        3 => (0..3usize, 0..6u8).prop_map(|(table, id)| Action::Delete { table, id }),
        3 => Just(Action::Commit),
        4 => Just(Action::CommitAndReplicate),
        1 => Just(Action::Stall),
        1 => Just(Action::Compact),
        1 => Just(Action::LoseSlot),
        1 => Just(Action::Kill),
        5 => (0..3usize, 0..6usize).prop_map(|(client, lines)| Action::Read { client, lines }),
        1 => (0..3usize).prop_map(|client| Action::Disconnect { client }),
    ]
}

/// What the tables hold, and a second statement of the rules to compare with.
#[derive(Default)]
struct Model {
    tables: [BTreeMap<u8, Json>; 3],
}

const TABLES: [&str; 3] = ["boxes", "notes", "members"];

impl Model {
    fn rows_of(&self, person: &str) -> Vec<String> {
        let mut teams = vec!["open"];
        let members = self.tables[2].values().filter(|member| member["person"] == person);
        teams.extend(members.map(|member| member["team"].as_str().expect("a team")));
        let boxes = self.tables[0].iter().filter(|(_, row)| {
            teams.contains(&row["owner"].as_str().expect("an owner")) && row["size"].as_i64() > Some(0)
        });
        let notes = self.tables[1].iter().filter(|(_, row)| row["owner"] == person);
        let boxes = boxes.map(|(id, row)| {
            let (owner, label, size) = (&row["owner"], &row["label"], &row["size"]);
            format!(r#"boxes/r{id} {{"id":"r{id}","owner":{owner},"label":{label},"size":{size}}}"#)
        });
        let notes = notes.map(|(id, row)| format!(r#"notes/r{id} {{"id":"r{id}","body":{}}}"#, row["body"]));
        boxes.chain(notes).collect()
    }
}

/// The rows of each person, by the last operation id that replication had given out.
#[derive(Default)]
struct Past {
    committed: VecDeque<[Vec<String>; 2]>,
    replicated: BTreeMap<u64, Vec<[Vec<String>; 2]>>,
}

impl Past {
    fn commit(&mut self, rig: &mut Rig, model: &Model) {
        rig.commit();
        self.committed.push_back(PEOPLE.map(|person| model.rows_of(person)));
    }

    fn replicate(&mut self, rig: &mut Rig) {
        while rig.replicate_one() {
            let rows = self.committed.pop_front().expect("it was committed");
            self.replicated.entry(rig.storage.last_op_id()).or_default().push(rows);
        }
    }

    /// The commits in between were in a log that is lost.
    fn skip_to_last(&mut self, rig: &Rig) {
        let rows = self.committed.pop_back().expect("something was committed");
        self.committed.clear();
        self.replicated.entry(rig.storage.last_op_id()).or_default().push(rows);
    }

    /// Hands the client a line, and checks its rows when that completes a checkpoint.
    fn take(&self, device: &mut Device, line: &str) {
        let before = device.client.completions.len();
        device.client.take(line);
        let new = &device.client.completions[before..];
        if let Some(op_id) = new.iter().find_map(|completion| completion.strip_prefix("complete ")) {
            let op_id: u64 = op_id.parse().expect("a number");
            let rows = device.client.rows();
            let states = self.replicated.get(&op_id).map_or(&[] as &[_], Vec::as_slice);
            let held = states.iter().any(|state| state[device.person] == rows);
            assert!(held || (op_id == 0 && rows.is_empty()), "{rows:?} at {op_id} of {states:?}");
        }
    }
}

struct Device {
    person: usize,
    client: Client,
    stream: Option<Lines>,
}

impl Device {
    async fn connect(&mut self, rig: &Rig, index: usize) {
        if self.stream.is_none() {
            let buckets = self.client.request_buckets();
            let body = json!({"raw_data": true, "client_id": format!("c{index}"), "buckets": buckets});
            self.stream = Some(rig.open_as(PEOPLE[self.person], body).await);
        }
    }
}

async fn run(actions: &[Action], identity: ReplicaIdentity) {
    let mut rig = Rig::with(shared_schema(), RULES, |config| config.replica_identity = vec![identity; 3]);
    let mut model = Model::default();
    let mut written = 0;
    let mut past = Past::default();
    let mut devices = [0, 1, 1].map(|person| Device { person, client: Client::default(), stream: None });
    for action in actions {
        match action {
            Action::Box { id, owner, size } => {
                written += 1;
                let row = json!({"owner": TEAMS[usize::from(*owner)], "label": format!("w{written}"), "size": size});
                write(&mut rig, &mut model, 0, *id, row);
            }
            Action::Note { id, owner } => {
                written += 1;
                let row = json!({"owner": PEOPLE[usize::from(*owner)], "body": format!("w{written}")});
                write(&mut rig, &mut model, 1, *id, row);
            }
            Action::Member { id, person, team } => {
                let row = json!({"person": PEOPLE[usize::from(*person)], "team": TEAMS[usize::from(*team)]});
                write(&mut rig, &mut model, 2, *id, row);
            }
            Action::Delete { table, id } => {
                if model.tables[*table].remove(id).is_some() {
                    rig.delete(TABLES[*table], &format!("r{id}"));
                }
            }
            Action::Commit => past.commit(&mut rig, &model),
            Action::CommitAndReplicate => {
                past.commit(&mut rig, &model);
                past.replicate(&mut rig);
            }
            Action::Stall => tokio::time::sleep(Duration::from_secs(25)).await,
            Action::Compact => rig.service.compact(),
            Action::LoseSlot => {
                past.commit(&mut rig, &model);
                rig.lose_slot();
                past.skip_to_last(&rig);
            }
            Action::Kill => {
                for device in &mut devices {
                    device.stream = None;
                }
                rig.restart(None);
            }
            Action::Read { client, lines } => {
                let device = &mut devices[*client];
                device.connect(&rig, *client).await;
                for _ in 0..*lines {
                    let stream = device.stream.as_mut().expect("connected");
                    match stream.next_within(Duration::from_millis(20)).await {
                        Some(line) => past.take(device, &line),
                        None => break,
                    }
                }
            }
            Action::Disconnect { client } => devices[*client].stream = None,
        }
    }
    past.commit(&mut rig, &model);
    past.replicate(&mut rig);
    for (index, device) in devices.iter_mut().enumerate() {
        device.connect(&rig, index).await;
        for line in device.stream.as_mut().expect("connected").settle().await {
            past.take(device, &line);
        }
        let mut fresh = Client::default();
        let lines = rig.open_as(PEOPLE[device.person], json!({"raw_data": true})).await.settle().await;
        fresh.take_all(&lines);
        let expect = model.rows_of(PEOPLE[device.person]);
        assert_eq!(device.client.rows(), expect, "client {index}");
        assert_eq!(fresh.rows(), expect, "a fresh client of {}", PEOPLE[device.person]);
    }
}

fn write(rig: &mut Rig, model: &mut Model, table: usize, id: u8, row: Json) {
    rig.put(TABLES[table], &format!("r{id}"), &row);
    model.tables[table].insert(id, row);
}

#[test]
fn clients_hold_what_the_rules_give_them() {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let histories = (vec(action(), 1..120), any::<bool>());
    let verdict = runner.run(&histories, |(actions, full)| {
        let identity = if full { ReplicaIdentity::Full } else { ReplicaIdentity::PrimaryKey };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime starts");
        runtime.block_on(run(&actions, identity));
        Ok(())
    });
    verdict.unwrap_or_else(|failure| panic!("{failure}"));
}
