//! Claims on rows: deletes, keys, lists, children.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{OnMissingParent, OnParentDelete, Row, Rule, Value};

use super::facts::Write;
use super::ruling::{Contradiction, Ruling};
use crate::checker::unique_key::{UniqueKey, unique_key};
use crate::history::{Op, RowId, Who, label};

pub(super) fn deleted_stay_deleted(ruling: &mut Ruling<'_, '_, '_>) {
    let mut deleted: BTreeMap<RowId, Write<'_>> = BTreeMap::new();
    for write in ruling.facts.writes() {
        if ruling.ctx().app.policy.tables[ruling.facts.table(write.row)].edit_revives {
            continue;
        }
        match write.op.op {
            Op::Delete => drop(deleted.entry(write.row).or_insert(write)),
            // Created again, or too early to count: the durability and policy checkers judge which.
            Op::Put => drop(deleted.remove(&write.row)),
            Op::Patch => {}
        }
    }
    for (row, delete) in deleted {
        let there: Vec<String> =
            ruling.facts.ends(row).filter(|(_, image)| image.is_some()).map(|(who, _)| label::who(who)).collect();
        if there.is_empty() {
            continue;
        }
        ruling.contradict(Contradiction {
            role: ruling.role(row, None),
            what: format!("{} is there in the end on {}.", ruling.label(row, None), there.join(", ")),
            because: format!(
                "client/{} op {} deleted it, and nobody created it again.",
                delete.tx.device, delete.op.op_id
            ),
            events: vec![delete.tx.event],
            operations: vec![delete.name()],
        });
    }
}

pub(super) fn one_row_per_key(ruling: &mut Ruling<'_, '_, '_>) {
    let app = ruling.ctx().app;
    for unique in app.policy.uniques.iter().filter(|unique| unique.merge) {
        // Who had each key first, since it was last free.
        let mut holders: BTreeMap<UniqueKey, RowId> = BTreeMap::new();
        let mut keys: BTreeMap<RowId, UniqueKey> = BTreeMap::new();
        for (_, commit) in ruling.facts.timeline.commits() {
            for change in commit.changes.iter().filter(|change| ruling.facts.table(change.row) == unique.table) {
                let new = change.after.as_ref().and_then(|after| unique_key(unique, after));
                if keys.get(&change.row) == new.as_ref() {
                    continue;
                }
                if let Some(old) = keys.remove(&change.row)
                    && holders.get(&old) == Some(&change.row)
                {
                    holders.remove(&old);
                }
                if let Some(new) = new {
                    holders.entry(new.clone()).or_insert(change.row);
                    keys.insert(change.row, new);
                }
            }
        }
        let mut contradictions = Vec::new();
        let places = std::iter::once((Who::Server, None))
            .chain(ruling.facts.reads.iter().map(|(device, rows)| (Who::Client(*device), Some(rows))));
        for (who, rows) in places {
            let at_end: Vec<(RowId, &Row)> = match rows {
                Some(rows) => rows.iter().map(|(row, image)| (*row, image)).collect(),
                None => ruling.facts.timeline.server().rows_at(ruling.facts.timeline.last_commit()).collect(),
            };
            let mut found: BTreeMap<UniqueKey, RowId> = BTreeMap::new();
            for (row, image) in at_end.into_iter().filter(|(row, _)| ruling.facts.table(*row) == unique.table) {
                let Some(key) = unique_key(unique, image) else { continue };
                let first = holders.get(&key).copied();
                let because = match found.insert(key.clone(), row) {
                    Some(other) => format!("{} has the same key there.", ruling.label(other, None)),
                    None if first.is_some_and(|first| first != row) => {
                        format!("{} was committed with that key first.", ruling.label(first.unwrap_or(row), None))
                    }
                    None if ruling.facts.ids.is_merged(row) => "It was merged into another row.".to_owned(),
                    None => continue,
                };
                contradictions.push(Contradiction {
                    role: ruling.role(row, Some(unique.columns[0])),
                    what: format!(
                        "{} holds a key on {} in the end that is another row's.",
                        ruling.label(row, None),
                        label::who(who)
                    ),
                    because,
                    events: inserts(ruling, row).iter().map(|write| write.0).collect(),
                    operations: inserts(ruling, row).iter().map(|write| write.1).collect(),
                });
            }
        }
        contradictions.dedup_by(|one, other| one.because == other.because && one.operations == other.operations);
        contradictions.into_iter().for_each(|contradiction| ruling.contradict(contradiction));
    }
}

/// Event and operation of each insert that names the row.
fn inserts(ruling: &Ruling<'_, '_, '_>, row: RowId) -> Vec<(usize, (u32, i64))> {
    let txs = ruling.facts.txs.iter();
    txs.flat_map(|tx| tx.tx.ops.iter().map(move |op| (tx, op)))
        .filter(|(_, op)| op.op == Op::Put && op.row == row)
        .map(|(tx, op)| (tx.event, (tx.device, op.op_id)))
        .collect()
}

/// Positions are integer columns with the rule latest that some transaction wrote in more than one row, as
/// renumbering does.
fn positions(ruling: &Ruling<'_, '_, '_>) -> BTreeSet<(usize, usize)> {
    let app = ruling.ctx().app;
    let mut positions = BTreeSet::new();
    for tx in &ruling.facts.txs {
        let mut first: BTreeMap<(usize, usize), RowId> = BTreeMap::new();
        for op in tx.tx.ops.iter().filter(|op| op.op == Op::Patch) {
            let table = ruling.facts.table(op.row);
            for (column, value) in &op.data {
                let plain = matches!(value, Value::Int(_))
                    && app.policy.tables[table].rules[*column] == Rule::Latest
                    && app.policy.group_of(table, *column).is_none();
                if plain && *first.entry((table, *column)).or_insert(op.row) != op.row {
                    positions.insert((table, *column));
                }
            }
        }
    }
    positions
}

pub(super) fn same_sequence(ruling: &mut Ruling<'_, '_, '_>) {
    let history = ruling.ctx().history;
    for (table, column) in positions(ruling) {
        let sequence = |rows: &BTreeMap<RowId, Row>| {
            let mut sequence: Vec<(i64, &str, RowId)> = rows
                .iter()
                .filter(|(row, _)| ruling.facts.table(**row) == table)
                .map(|(row, image)| {
                    let position = image.get(column).and_then(Value::as_int).unwrap_or(i64::MIN);
                    (position, &*history.rows[*row as usize].id, *row)
                })
                .collect();
            sequence.sort_unstable();
            sequence.into_iter().map(|(_, _, row)| row).collect::<Vec<_>>()
        };
        let mut contradiction = None;
        let mut by_user: BTreeMap<&str, (u32, Vec<RowId>)> = BTreeMap::new();
        for (device, rows) in &ruling.facts.reads {
            let mine = sequence(rows);
            let Some(user) = history.header.devices.get(*device as usize).map(|device| device.user.as_str()) else {
                continue;
            };
            let (first, theirs) = by_user.entry(user).or_insert_with(|| (*device, mine.clone()));
            if *theirs == mine {
                continue;
            }
            let place =
                theirs.iter().zip(&mine).position(|(one, other)| one != other).unwrap_or(theirs.len().min(mine.len()));
            let row = mine.get(place).or(theirs.get(place)).copied().unwrap_or_default();
            contradiction.get_or_insert(Contradiction {
                role: ruling.role(row, Some(column)),
                what: format!(
                    "client/{first} and client/{device} list {} rows and {} rows, and differ from place {place} on.",
                    theirs.len(),
                    mine.len()
                ),
                because: "All settled devices of one user show one sequence.".to_owned(),
                ..Contradiction::default()
            });
        }
        // What the server has and some device of the user shows, each of the user's devices shows; what was listed
        // before and nobody deleted is still there.
        let deleted: BTreeSet<RowId> =
            ruling.facts.writes().iter().filter(|write| write.is(Op::Delete)).map(|write| write.row).collect();
        for write in ruling
            .facts
            .writes()
            .iter()
            .filter(|write| ruling.facts.table(write.row) == table && write.data(column).is_some())
        {
            let gone = ruling.facts.ends(write.row).find(|(_, image)| image.is_none()).map(|(who, _)| who);
            let lawful = deleted.contains(&write.row)
                || has_cascade(ruling, table)
                || history.header.devices.iter().any(|device| device.user != history.header.devices[0].user);
            if let Some(who) = gone.filter(|_| !lawful) {
                contradiction.get_or_insert(Contradiction {
                    role: ruling.role(write.row, Some(column)),
                    what: format!("{} is missing on {} in the end.", ruling.label(write.row, None), label::who(who)),
                    because: format!("client/{} gave it a place in the list, and nobody deleted it.", write.tx.device),
                    events: vec![write.tx.event],
                    operations: vec![write.name()],
                });
            }
        }
        if let Some(contradiction) = contradiction {
            ruling.contradict(contradiction);
        }
    }
}

fn has_cascade(ruling: &Ruling<'_, '_, '_>, table: usize) -> bool {
    ruling.ctx().app.policy.references_of(table).any(|reference| reference.on_parent_delete == OnParentDelete::Cascade)
}

pub(super) fn orphans_refused(ruling: &mut Ruling<'_, '_, '_>) {
    let app = ruling.ctx().app;
    let mut by_row: BTreeMap<RowId, Vec<Write<'_>>> = BTreeMap::new();
    for write in ruling.facts.writes().into_iter().filter(|write| ruling.facts.last(write.row).is_none()) {
        by_row.entry(write.row).or_default().push(write);
    }
    let owned = app.policy.references.iter().filter(|reference| {
        reference.on_missing_parent == OnMissingParent::Refuse || reference.on_parent_delete == OnParentDelete::Cascade
    });
    for reference in owned {
        let is_orphan = |image: &Row, there: &dyn Fn(RowId) -> bool| {
            let parent = image.get(reference.column).filter(|parent| !parent.is_null());
            parent.is_some_and(|parent| ruling.facts.find(reference.parent, parent).is_none_or(|parent| !there(parent)))
        };
        let mut contradictions = Vec::new();
        let orphan = |row: RowId, place: String| Contradiction {
            role: ruling.role(row, Some(reference.column)),
            what: format!("{} has no parent {place}.", ruling.label(row, None)),
            because: "Its parent is not there, so that it should have gone with it, or been refused.".to_owned(),
            events: inserts(ruling, row).iter().map(|write| write.0).collect(),
            operations: inserts(ruling, row).iter().map(|write| write.1).collect(),
        };
        if reference.on_missing_parent == OnMissingParent::Refuse {
            contradictions.extend(
                orphan_commits(ruling, reference.column, reference.table, reference.parent)
                    .map(|(row, seq)| orphan(row, format!("after commit {seq}"))),
            );
            for (device, rows) in &ruling.facts.reads {
                let found = rows
                    .iter()
                    .filter(|(row, _)| ruling.facts.table(**row) == reference.table)
                    .find(|(_, image)| is_orphan(image, &|parent| rows.contains_key(&parent)));
                contradictions.extend(found.map(|(row, _)| orphan(*row, format!("on client/{device} in the end"))));
            }
        }
        // A write of a child that went with its parent: refused, or on record, or seen by who deleted the parent.
        for write in by_row.values().flatten().copied() {
            if ruling.facts.table(write.row) != reference.table || write.is(Op::Delete) {
                continue;
            }
            let Some(seq) = write.tx.seq else { continue };
            let versions = ruling.facts.timeline.versions(write.row);
            let Some(end) = versions.iter().rev().find(|version| version.row.is_none()) else { continue };
            let before = versions.iter().rev().find_map(|version| version.row.as_ref());
            let parent = before.and_then(|before| ruling.facts.find(reference.parent, before.get(reference.column)?));
            let Some(deleter) = ruling.facts.timeline.commit(end.seq) else { continue };
            let parent_went = parent.is_some_and(|parent| {
                deleter.changes.iter().any(|change| change.row == parent && change.after.is_none())
            });
            let seen = deleter.origin.is_none_or(|origin| {
                let event = ruling.facts.timeline.local_tx(origin.device, origin.tx_id);
                origin.device == write.tx.device
                    || event.is_none_or(|event| seq <= ruling.facts.timeline.seen_row(origin.device, event, write.row))
            });
            // A later write of the same row overrode it; that one is judged in its place.
            let last_of_row = !by_row[&write.row].iter().any(|other| {
                other.tx.seq > write.tx.seq && other.tx.seq <= Some(end.seq) && ruling.facts.saw(other, &write)
            });
            if parent_went && !seen && last_of_row && !ruling.facts.is_on_record(write.row, &write, None) {
                contradictions.push(Contradiction {
                    role: ruling.role(write.row, None),
                    what: format!(
                        "{} went with its parent in commit {}, and client/{} op {} is told nothing.",
                        ruling.label(write.row, None),
                        end.seq,
                        write.tx.device,
                        write.op.op_id
                    ),
                    because: "It was neither refused nor is the child's deletion on record.".to_owned(),
                    events: vec![write.tx.event],
                    operations: vec![write.name()],
                });
            }
        }
        contradictions.into_iter().for_each(|contradiction| ruling.contradict(contradiction));
    }
}

/// The first commit after which a child has no parent: (child, commit).
fn orphan_commits(ruling: &Ruling<'_, '_, '_>, column: usize, table: usize, parent: usize) -> Option<(RowId, u64)> {
    let mut live: BTreeMap<RowId, Row> = BTreeMap::new();
    let mut children: BTreeMap<RowId, BTreeSet<RowId>> = BTreeMap::new();
    let parent_of = |image: Option<&Row>| image.and_then(|image| ruling.facts.find(parent, image.get(column)?));
    for (_, commit) in ruling.facts.timeline.commits() {
        let mut suspects: Vec<RowId> = Vec::new();
        for change in &commit.changes {
            let at = ruling.facts.table(change.row);
            if at == table {
                if let Some(old) = parent_of(live.get(&change.row)) {
                    children.entry(old).or_default().remove(&change.row);
                }
                if let Some(new) = parent_of(change.after.as_ref()) {
                    children.entry(new).or_default().insert(change.row);
                }
                suspects.push(change.row);
            }
            match &change.after {
                Some(after) => drop(live.insert(change.row, after.clone())),
                None => {
                    live.remove(&change.row);
                    suspects.extend(children.get(&change.row).into_iter().flatten().copied());
                }
            }
        }
        // Rows that were there before the feed began are known by no change; their children are not judged.
        let orphan = suspects.into_iter().find(|child| {
            let Some(image) = live.get(child) else { return false };
            let named = image.get(column).is_some_and(|value| !value.is_null());
            named
                && parent_of(Some(image)).is_none_or(|parent| {
                    !live.contains_key(&parent) && !ruling.facts.timeline.versions(parent).is_empty()
                })
        });
        if let Some(child) = orphan {
            return Some((child, commit.seq));
        }
    }
    None
}
