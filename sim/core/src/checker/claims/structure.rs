//! Claims on what connects rows: trees and leaders.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{Row, Value};

use super::facts::Write;
use super::ruling::{Contradiction, Ruling};
use crate::checker::tree::path_to;
use crate::history::{Op, RowId};

pub(super) fn cycles_superseded(ruling: &mut Ruling<'_, '_, '_>) {
    let app = ruling.ctx().app;
    for tree in &app.policy.trees {
        let mut contradictions = Vec::new();
        let mut parents: BTreeMap<RowId, RowId> = BTreeMap::new();
        let parent_of =
            |image: Option<&Row>| image.and_then(|image| ruling.facts.find(tree.table, image.get(tree.column)?));
        for (event, commit) in ruling.facts.timeline.commits() {
            let in_tree = commit.changes.iter().filter(|change| ruling.facts.table(change.row) == tree.table);
            let changes: Vec<_> = in_tree.collect();
            let intents =
                commit.origin.map_or_else(Vec::new, |origin| parent_intents(ruling, origin, tree.table, tree.column));
            // In the order of operations: would this one have closed a cycle in the tree as it then was?
            for (write, parent) in &intents {
                let after = ruling.facts.timeline.row_at(write.row, commit.seq);
                let closes = closes_cycle(&parents, *parent, write.row);
                let stands = parent_of(after) == Some(*parent);
                if closes && !stands && after.is_some() && !ruling.facts.is_on_record(write.row, write, Some("cycle")) {
                    contradictions.push(Contradiction {
                        role: ruling.role(write.row, Some(tree.column)),
                        what: format!(
                            "{} was left as it was in commit {} without a record.",
                            ruling.label(write.row, Some(tree.column)),
                            commit.seq
                        ),
                        because: format!(
                            "client/{} op {} would have closed a cycle there; it is superseded, and that is on record.",
                            write.tx.device, write.op.op_id
                        ),
                        events: vec![write.tx.event, event],
                        operations: vec![write.name()],
                    });
                }
                if stands {
                    parents.insert(write.row, *parent);
                }
            }
            for change in &changes {
                match parent_of(change.after.as_ref()) {
                    Some(parent) => drop(parents.insert(change.row, parent)),
                    None => drop(parents.remove(&change.row)),
                }
            }
            let cycle = changes.iter().find(|change| {
                parents.get(&change.row).is_some_and(|parent| closes_cycle(&parents, *parent, change.row))
            });
            if let Some(change) = cycle {
                contradictions.push(Contradiction {
                    role: ruling.role(change.row, Some(tree.column)),
                    what: format!(
                        "{} is its own ancestor after commit {}.",
                        ruling.label(change.row, None),
                        commit.seq
                    ),
                    because: "A parent change that would close a cycle is superseded, and the first commit stands."
                        .to_owned(),
                    events: intents.iter().map(|(write, _)| write.tx.event).chain([event]).collect(),
                    operations: intents.iter().map(|(write, _)| write.name()).collect(),
                });
                break;
            }
        }
        for (device, rows) in &ruling.facts.reads {
            let parents: BTreeMap<RowId, RowId> = rows
                .iter()
                .filter(|(row, _)| ruling.facts.table(**row) == tree.table)
                .filter_map(|(row, image)| Some((*row, parent_of(Some(image))?)))
                .collect();
            if ruling.facts.no_end.is_none()
                && let Some((row, _)) = parents.iter().find(|(row, parent)| closes_cycle(&parents, **parent, **row))
            {
                contradictions.push(Contradiction {
                    role: ruling.role(*row, Some(tree.column)),
                    what: format!("{} is its own ancestor on client/{device} in the end.", ruling.label(*row, None)),
                    because: "A settled device shows no cycle.".to_owned(),
                    ..Contradiction::default()
                });
            }
        }
        contradictions.into_iter().for_each(|contradiction| ruling.contradict(contradiction));
    }
}

/// The parent changes that a transaction meant, in order.
fn parent_intents<'a>(
    ruling: &Ruling<'_, 'a, '_>,
    origin: crate::history::Origin,
    table: usize,
    column: usize,
) -> Vec<(Write<'a>, RowId)> {
    let txs = &ruling.facts.txs;
    let Some(event) = ruling.facts.timeline.local_tx(origin.device, origin.tx_id) else { return Vec::new() };
    let index = txs.partition_point(|tx| tx.event < event);
    let Some(tx) = txs.get(index).filter(|tx| tx.event == event) else { return Vec::new() };
    tx.tx
        .ops
        .iter()
        .map(|op| Write { tx: *tx, op, row: ruling.facts.target(op.row) })
        .filter(|write| ruling.facts.table(write.row) == table)
        .filter_map(|write| Some((write, ruling.facts.find(table, write.data(column)?)?)))
        .collect()
}

/// Whether a parent closes a cycle through the row.
fn closes_cycle(parents: &BTreeMap<RowId, RowId>, parent: RowId, row: RowId) -> bool {
    path_to(row, parent, |at| parents.get(&at).copied()).is_some()
}

pub(super) fn one_leader(ruling: &mut Ruling<'_, '_, '_>) {
    let app = ruling.ctx().app;
    for exclusive in &app.policy.exclusives {
        let runs =
            |image: Option<&Row>| image.is_some_and(|image| image.get(exclusive.running) == Some(&Value::Int(1)));
        let mut contradictions = Vec::new();
        let mut running: BTreeSet<RowId> = BTreeSet::new();
        for (event, commit) in ruling.facts.timeline.commits() {
            let before = running.clone();
            for change in commit.changes.iter().filter(|change| ruling.facts.table(change.row) == exclusive.table) {
                if runs(change.after.as_ref()) {
                    running.insert(change.row)
                } else {
                    running.remove(&change.row)
                };
            }
            let leaders: Vec<RowId> = running.iter().copied().collect();
            if leaders.len() > 1 && before.len() < leaders.len() {
                let names: Vec<String> = leaders.iter().map(|row| ruling.label(*row, None)).collect();
                contradictions.push(Contradiction {
                    role: ruling.role(leaders[0], Some(exclusive.running)),
                    what: format!("{} run at once after commit {}.", names.join(" and "), commit.seq),
                    because: format!("{} allows one at a time.", exclusive.name),
                    events: vec![event],
                    ..Contradiction::default()
                });
            }
            let Some(origin) = commit.origin else { continue };
            for write in starts(ruling, origin, exclusive.table, exclusive.running) {
                // A start that had no effect because another row runs is on record.
                let after = ruling.facts.timeline.row_at(write.row, commit.seq);
                let held = before.iter().any(|row| *row != write.row && running.contains(row));
                if held && after.is_some() && !runs(after) && !ruling.facts.is_on_record(write.row, &write, None) {
                    contradictions.push(Contradiction {
                        role: ruling.role(write.row, Some(exclusive.running)),
                        what: format!(
                            "{} did not start in commit {}, and there is no record.",
                            ruling.label(write.row, None),
                            commit.seq
                        ),
                        because: format!(
                            "client/{} op {} started it while another row was running.",
                            write.tx.device, write.op.op_id
                        ),
                        events: vec![write.tx.event, event],
                        operations: vec![write.name()],
                    });
                }
            }
        }
        for (device, rows) in &ruling.facts.reads {
            let leaders: Vec<RowId> = rows
                .iter()
                .filter(|(row, image)| ruling.facts.table(**row) == exclusive.table && runs(Some(*image)))
                .map(|(row, _)| *row)
                .collect();
            if ruling.facts.no_end.is_none() && leaders.len() > 1 {
                contradictions.push(Contradiction {
                    role: ruling.role(leaders[0], Some(exclusive.running)),
                    what: format!("{} rows run at once on client/{device} in the end.", leaders.len()),
                    because: format!("{} allows one at a time.", exclusive.name),
                    ..Contradiction::default()
                });
            }
        }
        contradictions.into_iter().for_each(|contradiction| ruling.contradict(contradiction));
    }
}

/// The last start of each row in a transaction, unless the transaction itself stops the row again.
fn starts<'a>(
    ruling: &Ruling<'_, 'a, '_>,
    origin: crate::history::Origin,
    table: usize,
    column: usize,
) -> Vec<Write<'a>> {
    let txs = &ruling.facts.txs;
    let Some(event) = ruling.facts.timeline.local_tx(origin.device, origin.tx_id) else { return Vec::new() };
    let index = txs.partition_point(|tx| tx.event < event);
    let Some(tx) = txs.get(index).filter(|tx| tx.event == event) else { return Vec::new() };
    let mut last: BTreeMap<RowId, Write<'a>> = BTreeMap::new();
    for op in &tx.tx.ops {
        let write = Write { tx: *tx, op, row: ruling.facts.target(op.row) };
        if ruling.facts.table(write.row) == table && (write.data(column).is_some() || write.is(Op::Delete)) {
            last.insert(write.row, write);
        }
    }
    let starts =
        |write: &Write<'_>| write.data(column) == Some(&Value::Int(1)) && write.old(column) != Some(&Value::Int(1));
    last.into_values().filter(starts).collect()
}
