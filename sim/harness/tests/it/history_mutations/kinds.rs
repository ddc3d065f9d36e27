//! The kinds of change, one function each. Each draws a place in the history, or says that there is none.

use fixtures::{App, Row, Value};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use sim_core::History;
use sim_core::history::{Change, Commit, Outcome, Phase, RowId, Scope, TxOutcome, What, Who, Writer};

use super::carry::{Cell, carry, with, writes};
use super::lawful;

/// A history with one change.
pub(super) struct Changed {
    pub(super) history: History,
    /// What was changed, in words.
    pub(super) what: String,
    /// Why a sound stack could have made it.
    pub(super) lawful: Option<&'static str>,
}

/// A kind of change.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) change: fn(&mut ChaCha8Rng, &App, &History) -> Option<Changed>,
}

pub(super) const KINDS: &[Kind] = &[
    Kind { name: "a write without effect", change: write_dropped },
    Kind { name: "another value than was written", change: value_swapped },
    Kind { name: "a change missing in the feed", change: change_dropped },
    Kind { name: "a delete without effect", change: delete_dropped },
    Kind { name: "an insert without effect", change: insert_dropped },
    Kind { name: "a server write that no device shows", change: server_write_inserted },
    Kind { name: "a commit in two parts", change: commit_split },
    Kind { name: "a counter counted twice", change: counted_twice },
    Kind { name: "two commits of a device in the other order", change: commits_swapped },
    Kind { name: "a conflict record missing", change: record_dropped },
    Kind { name: "a conflict record with another winner", change: winner_swapped },
    Kind { name: "an apply without one of its rows", change: apply_torn },
    Kind { name: "a read of an older state", change: read_older },
    Kind { name: "an answer that says refused", change: answer_refused },
    Kind { name: "an answer that says applied", change: answer_applied },
];

fn one<T: Clone>(rng: &mut ChaCha8Rng, all: &[T]) -> Option<T> {
    if all.is_empty() { None } else { Some(all[rng.random_range(0..all.len())].clone()) }
}

fn commits(history: &History) -> impl Iterator<Item = (usize, &Commit)> {
    history.events.iter().enumerate().filter_map(|(event, entry)| match &entry.what {
        What::Commit(commit) => Some((event, commit)),
        _ => None,
    })
}

fn commit_mut(history: &mut History, event: usize) -> Option<&mut Commit> {
    match &mut history.events[event].what {
        What::Commit(commit) => Some(commit),
        _ => None,
    }
}

/// Columns that devices' commits set on rows that were there, and that nothing else may set: (cell, value before, value after).
fn updates(app: &App, history: &History) -> Vec<(Cell, Value, Value)> {
    let mut all = Vec::new();
    for (event, commit) in commits(history).filter(|(_, commit)| commit.origin.is_some()) {
        for change in &commit.changes {
            let (Some(before), Some(after)) = (&change.before, &change.after) else { continue };
            if commit.changes.iter().filter(|other| other.row == change.row).count() > 1 {
                continue;
            }
            for column in (0..before.len()).filter(|column| writes(change, *column)) {
                let cell = Cell { event, row: change.row, column };
                if !lawful::may_be_other(app, history, cell) {
                    all.push((cell, before[column].clone(), after[column].clone()));
                }
            }
        }
    }
    all
}

fn label(app: &App, history: &History, cell: Cell) -> String {
    format!("{} at event {}", history.column_label(app, cell.row, cell.column), cell.event)
}

fn write_dropped(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    let (cell, before, _) = one(rng, &updates(app, history))?;
    let changed = carry(history, cell, &before)?;
    Some(Changed { history: changed, what: label(app, history, cell), lawful: None })
}

fn value_swapped(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    let all = updates(app, history);
    let (cell, before, after) = one(rng, &all)?;
    let table = history.table_of(cell.row)?;
    let same_column =
        |other: &&(Cell, Value, Value)| history.table_of(other.0.row) == Some(table) && other.0.column == cell.column;
    let values: Vec<Value> = all
        .iter()
        .filter(same_column)
        .flat_map(|(_, before, after)| [before.clone(), after.clone()])
        .filter(|value| *value != after && *value != before)
        .collect();
    let value = one(rng, &values)?;
    let changed = carry(history, cell, &value)?;
    let what = format!("{} is {value:?}", label(app, history, cell));
    Some(Changed { history: changed, what, lawful: None })
}

fn change_dropped(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    let places: Vec<(usize, usize)> = commits(history)
        .filter(|(_, commit)| commit.origin.is_some())
        .flat_map(|(event, commit)| {
            let edits = (0..).zip(&commit.changes).filter(|(_, change)| lawful::is_edit(app, history, change));
            edits.map(move |(index, _)| (event, index)).collect::<Vec<_>>()
        })
        .collect();
    let (event, index) = one(rng, &places)?;
    let mut changed = history.clone();
    commit_mut(&mut changed, event)?.changes.remove(index);
    Some(Changed { history: changed, what: format!("event {event} change {index}"), lawful: None })
}

/// Rows that one commit of a device changes in this way, and none after it.
fn last_changes(history: &History, is_wanted: fn(&Change) -> bool) -> Vec<(usize, RowId)> {
    let mut all = Vec::new();
    for (event, commit) in commits(history).filter(|(_, commit)| commit.origin.is_some()) {
        for change in commit.changes.iter().filter(|change| is_wanted(change)) {
            let touches = commits(history)
                .filter(|(other, _)| *other >= event)
                .flat_map(|(_, commit)| &commit.changes)
                .filter(|other| other.row == change.row);
            if touches.count() == 1 {
                all.push((event, change.row));
            }
        }
    }
    all
}

/// The row is from this commit on as `image` has it, on the server and wherever it is shown.
fn row_kept(history: &History, event: usize, row: RowId, image: Option<&Row>) -> Option<History> {
    let mut changed = history.clone();
    let commit = commit_mut(&mut changed, event)?;
    let author = commit.origin.map(|origin| origin.device);
    commit.changes.retain(|change| change.row != row);
    for entry in &mut changed.events[event + 1..] {
        match (&mut entry.what, entry.who) {
            // What the author shows goes back to what the server has; to others nothing happens.
            (What::Apply(apply), Who::Client(device)) if Some(device) == author => {
                apply.rows.iter_mut().filter(|(at, _)| *at == row).for_each(|(_, shown)| *shown = image.cloned());
            }
            (What::Apply(apply), _) => apply.rows.retain(|(at, _)| *at != row),
            (What::Read { scope: Scope::Final, rows }, _) => {
                rows.retain(|(at, _)| *at != row);
                if let Some(image) = image {
                    let place = rows.partition_point(|(at, _)| *at < row);
                    rows.insert(place, (row, Some(image.clone())));
                }
            }
            _ => {}
        }
    }
    Some(changed)
}

fn delete_dropped(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    let (event, row) = one(rng, &last_changes(history, |change| change.after.is_none()))?;
    let What::Commit(commit) = &history.events[event].what else { return None };
    let before = commit.changes.iter().find(|change| change.row == row)?.before.clone()?;
    let changed = row_kept(history, event, row, Some(&before))?;
    Some(Changed { history: changed, what: history.row_label(app, row), lawful: None })
}

fn insert_dropped(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    let (event, row) = one(rng, &last_changes(history, |change| change.before.is_none()))?;
    let changed = row_kept(history, event, row, None)?;
    Some(Changed { history: changed, what: history.row_label(app, row), lawful: None })
}

/// Numbers commits anew, from 1 in the order of events.
fn renumber(history: &mut History) {
    let mut seq = 0;
    for entry in &mut history.events {
        if let What::Commit(commit) = &mut entry.what {
            seq += 1;
            commit.seq = seq;
        }
    }
}

fn server_write_inserted(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    // On rows that nobody changes later: else it could be gone before any device had to show it.
    let mut last: std::collections::BTreeMap<RowId, (usize, Option<Row>)> = std::collections::BTreeMap::new();
    for (event, commit) in commits(history) {
        last.extend(commit.changes.iter().map(|change| (change.row, (event, change.after.clone()))));
    }
    let rows: Vec<(RowId, usize, Row)> =
        last.into_iter().filter_map(|(row, (event, image))| Some((row, event, image?))).collect();
    let (row, event, image) = one(rng, &rows)?;
    // Only what somebody sees must be shown.
    let is_shown = |(at, shown): &(RowId, Option<Row>)| *at == row && shown.is_some();
    let is_read = history.events.iter().any(|entry| {
        matches!((&entry.what, entry.who), (What::Read { scope: Scope::Final, rows }, Who::Client(_)) if rows.iter().any(is_shown))
    });
    let texts: Vec<usize> = (0..image.len()).filter(|column| matches!(image[*column], Value::Text(_))).collect();
    let column = one(rng, &texts).filter(|_| is_read)?;
    let after = with(&image, column, &Value::Text("written by the server".into()));
    let mut changed = history.clone();
    let mut entry = changed.events[event].clone();
    if let What::Commit(commit) = &mut entry.what {
        let change = Change { row, before: Some(image), after: Some(after), op_id: None };
        *commit = Commit {
            origin: None,
            changes: vec![change],
            ledger: Vec::new(),
            conflicts: Vec::new(),
            aliases: Vec::new(),
            ..commit.clone()
        };
    }
    changed.events.insert(event + 1, entry);
    renumber(&mut changed);
    Some(Changed { history: changed, what: format!("{} {column}", history.row_label(app, row)), lawful: None })
}

fn commit_split(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    // Each half has an edit of its own, of other rows than the other half.
    let places: Vec<(usize, usize)> = commits(history)
        .filter(|(_, commit)| commit.origin.is_some())
        .flat_map(|(event, commit)| {
            let cuts = 1..commit.changes.len();
            let is_cut = |cut: &usize| {
                let (first, second) = commit.changes.split_at(*cut);
                let edits = |half: &[Change]| half.iter().any(|change| lawful::is_edit(app, history, change));
                let apart = first.iter().all(|one| second.iter().all(|other| one.row != other.row));
                edits(first) && edits(second) && apart
            };
            cuts.filter(is_cut).map(|cut| (event, cut)).collect::<Vec<_>>()
        })
        .collect();
    let (event, cut) = one(rng, &places)?;
    let mut changed = history.clone();
    let mut second = changed.events[event].clone();
    let rest = commit_mut(&mut changed, event)?.changes.split_off(cut);
    if let What::Commit(commit) = &mut second.what {
        commit.changes = rest;
        (commit.conflicts, commit.aliases) = (Vec::new(), Vec::new());
    }
    changed.events.insert(event + 1, second);
    renumber(&mut changed);
    Some(Changed { history: changed, what: format!("event {event} at {cut}"), lawful: None })
}

fn counted_twice(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    let is_counter = |cell: &Cell| {
        let rules = history.table_of(cell.row).map(|table| &app.policy.tables[table].rules);
        rules.is_some_and(|rules| matches!(rules[cell.column], fixtures::Rule::Counter { .. }))
    };
    let all: Vec<(Cell, Value, Value)> =
        updates(app, history).into_iter().filter(|(cell, _, _)| is_counter(cell)).collect();
    let (cell, before, after) = one(rng, &all)?;
    let number = |value: &Value| match value {
        Value::Int(int) => Some(*int),
        Value::Null => Some(0),
        _ => None,
    };
    let (before, after) = (number(&before)?, number(&after)?);
    let changed = carry(history, cell, &Value::Int(after + (after - before)))?;
    Some(Changed { history: changed, what: label(app, history, cell), lawful: None })
}

fn commits_swapped(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    let all: Vec<(usize, &Commit)> = commits(history).collect();
    let places: Vec<(usize, usize)> = all
        .windows(2)
        .filter(|pair| {
            let [(_, one), (_, other)] = pair else { return false };
            let device = |commit: &Commit| commit.origin.map(|origin| origin.device);
            let edits = |commit: &Commit| commit.changes.iter().any(|change| lawful::is_edit(app, history, change));
            device(one).is_some()
                && device(one) == device(other)
                && edits(one)
                && edits(other)
                && lawful::is_disjoint(one, other)
        })
        .map(|pair| (pair[0].0, pair[1].0))
        .collect();
    let (one, other) = one(rng, &places)?;
    let mut changed = history.clone();
    let (first, second) = (changed.events[one].what.clone(), changed.events[other].what.clone());
    (changed.events[one].what, changed.events[other].what) = (second, first);
    renumber(&mut changed);
    Some(Changed { history: changed, what: format!("events {one} and {other}"), lawful: None })
}

/// Records in commits: (event, index).
fn records(history: &History) -> Vec<(usize, usize)> {
    commits(history).flat_map(|(event, commit)| (0..commit.conflicts.len()).map(move |index| (event, index))).collect()
}

fn record_dropped(rng: &mut ChaCha8Rng, _: &App, history: &History) -> Option<Changed> {
    let (event, index) = one(rng, &records(history))?;
    let mut changed = history.clone();
    let gone = commit_mut(&mut changed, event)?.conflicts.remove(index);
    for entry in &mut changed.events {
        if let What::Conflicts { records, .. } = &mut entry.what {
            records.retain(|record| *record != gone);
        }
    }
    let lawful = lawful::record_not_owed(history, &gone);
    Some(Changed { history: changed, what: format!("{gone:?}"), lawful })
}

fn winner_swapped(rng: &mut ChaCha8Rng, _: &App, history: &History) -> Option<Changed> {
    let (event, index) = one(rng, &records(history))?;
    let mut changed = history.clone();
    let record = &mut commit_mut(&mut changed, event)?.conflicts[index];
    let before = record.clone();
    record.winner = Writer::Other("nobody".to_owned());
    let after = record.clone();
    for entry in &mut changed.events {
        if let What::Conflicts { records, .. } = &mut entry.what {
            records.iter_mut().filter(|record| **record == before).for_each(|record| *record = after.clone());
        }
    }
    let lawful = lawful::record_not_owed(history, &before);
    Some(Changed { history: changed, what: format!("{before:?}"), lawful })
}

fn apply_torn(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    // What the device shows, followed naively: its applies alone.
    let mut shown: std::collections::BTreeMap<(u32, RowId), Option<Row>> = std::collections::BTreeMap::new();
    let mut places = Vec::new();
    for (event, entry) in history.events.iter().enumerate() {
        match (&entry.what, entry.who) {
            (What::Tx(tx), Who::Client(device)) => {
                // What a device wrote it shows already.
                tx.ops.iter().for_each(|op| drop(shown.remove(&(device, op.row))));
            }
            (What::Apply(apply), Who::Client(device)) if apply.priority.is_none() && !apply.whole => {
                let mut changes = Vec::new();
                for (index, (row, image)) in apply.rows.iter().enumerate() {
                    let before = shown.insert((device, *row), image.clone());
                    if before.as_ref() != Some(image) {
                        changes.push((index, before.is_some()));
                    }
                }
                // Without its only row it is an apply of an earlier checkpoint.
                if changes.len() > 1 {
                    places.extend(changes.iter().filter(|(_, known)| *known).map(|(index, _)| (event, *index)));
                }
            }
            (What::Apply(apply), Who::Client(device)) => {
                shown.extend(apply.rows.iter().map(|(row, image)| ((device, *row), image.clone())));
            }
            _ => {}
        }
    }
    let (event, index) = one(rng, &places)?;
    let mut changed = history.clone();
    let What::Apply(apply) = &mut changed.events[event].what else { return None };
    let (row, _) = apply.rows.remove(index);
    Some(Changed { history: changed, what: format!("{} at event {event}", history.row_label(app, row)), lawful: None })
}

fn read_older(rng: &mut ChaCha8Rng, app: &App, history: &History) -> Option<Changed> {
    let mut versions: std::collections::BTreeMap<RowId, Vec<Option<Row>>> = std::collections::BTreeMap::new();
    let mut places = Vec::new();
    for (event, entry) in history.events.iter().enumerate() {
        match (&entry.what, entry.who) {
            (What::Commit(commit), _) => {
                for change in &commit.changes {
                    versions.entry(change.row).or_default().push(change.before.clone());
                }
            }
            (What::Read { scope: Scope::Final, rows }, Who::Client(_)) => {
                for (index, (row, image)) in rows.iter().enumerate() {
                    let older = versions.get(row).into_iter().flatten().flatten();
                    let other = older.filter(|older| Some(*older) != image.as_ref());
                    places.extend(other.map(|older| (event, index, older.clone())));
                }
            }
            _ => {}
        }
    }
    let (event, index, older) = one(rng, &places)?;
    let mut changed = history.clone();
    let What::Read { rows, .. } = &mut changed.events[event].what else { return None };
    rows[index].1 = Some(older);
    let what = format!("{} at event {event}", history.row_label(app, rows[index].0));
    Some(Changed { history: changed, what, lawful: None })
}

/// Answered uploads of a device's transaction: (event, whether it was committed).
fn answers(history: &History) -> Vec<(usize, bool)> {
    let outcome = |what: &What| match what {
        What::Upload(upload) if upload.phase == Phase::Ok && !upload.ops.is_empty() => upload.outcome,
        _ => None,
    };
    let all = history.events.iter().enumerate().filter_map(|(event, entry)| Some((event, outcome(&entry.what)?)));
    all.map(|(event, outcome)| (event, outcome == TxOutcome::Committed)).collect()
}

fn answer_refused(rng: &mut ChaCha8Rng, _: &App, history: &History) -> Option<Changed> {
    let committed: Vec<usize> =
        answers(history).into_iter().filter(|(_, committed)| *committed).map(|(event, _)| event).collect();
    let event = one(rng, &committed)?;
    let mut changed = history.clone();
    let What::Upload(upload) = &mut changed.events[event].what else { return None };
    upload.outcome = Some(TxOutcome::Refused);
    upload.ops.iter_mut().for_each(|answer| answer.outcome = Outcome::Rejected);
    Some(Changed { history: changed, what: format!("event {event}"), lawful: None })
}

fn answer_applied(rng: &mut ChaCha8Rng, _: &App, history: &History) -> Option<Changed> {
    // An operation of which the answer said that another's write stays, or that it is refused.
    let places: Vec<(usize, usize)> = answers(history)
        .into_iter()
        .flat_map(|(event, _)| {
            let What::Upload(upload) = &history.events[event].what else { return Vec::new() };
            let gave_way = (0..upload.ops.len())
                .filter(|index| matches!(upload.ops[*index].outcome, Outcome::Superseded | Outcome::Rejected));
            gave_way.map(|index| (event, index)).collect()
        })
        .collect();
    let (event, index) = one(rng, &places)?;
    let mut changed = history.clone();
    let What::Upload(upload) = &mut changed.events[event].what else { return None };
    upload.outcome = Some(TxOutcome::Committed);
    upload.ops[index].outcome = Outcome::Applied;
    (upload.ops[index].reason, upload.ops[index].by) = (None, None);
    Some(Changed { history: changed, what: format!("event {event} operation {index}"), lawful: None })
}
