//! Claims on the values of columns and groups.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{Rule, Value};

use super::facts::Write;
use super::ruling::{Contradiction, Ruling};
use super::stamps::Stamps;
use crate::checker::durability::members;
use crate::history::{Op, RowId, label};

/// Writes of each (row, column), in order of commits; the clock columns are left out.
fn by_column<'a>(ruling: &Ruling<'_, 'a, '_>) -> BTreeMap<(RowId, usize), Vec<Write<'a>>> {
    let mut columns: BTreeMap<(RowId, usize), Vec<Write<'_>>> = BTreeMap::new();
    for write in ruling.facts.writes() {
        let clock = ruling.ctx().app.policy.tables[ruling.facts.table(write.row)].clock;
        for (column, _) in write.op.data.iter().filter(|(column, _)| clock != Some(*column)) {
            columns.entry((write.row, *column)).or_default().push(write);
        }
    }
    columns
}

/// Deletes of each row, in order of commits.
fn deletes<'a>(ruling: &Ruling<'_, 'a, '_>) -> BTreeMap<RowId, Vec<Write<'a>>> {
    let mut deletes: BTreeMap<RowId, Vec<Write<'_>>> = BTreeMap::new();
    for write in ruling.facts.writes().into_iter().filter(|write| write.is(Op::Delete)) {
        deletes.entry(write.row).or_default().push(write);
    }
    deletes
}

/// Rows whose writes cannot be judged one by one: deleted, inserted twice, or merged with another.
fn tangled(ruling: &Ruling<'_, '_, '_>) -> BTreeSet<RowId> {
    let mut inserted = BTreeSet::new();
    let mut tangled: BTreeSet<RowId> = ruling.facts.ids.survivors().collect();
    for write in ruling.facts.writes() {
        let again = write.is(Op::Put) && (!inserted.insert(write.row) || ruling.facts.seeded(write.row).is_some());
        if write.is(Op::Delete) || again {
            tangled.insert(write.row);
        }
    }
    tangled
}

pub(super) fn nothing_overridden(ruling: &mut Ruling<'_, '_, '_>) {
    let deletes = deletes(ruling);
    for ((row, column), writes) in by_column(ruling) {
        let policy = &ruling.ctx().app.policy.tables[ruling.facts.table(row)];
        // Counters and sets join; what structure decides gives way to it, not to another write.
        if matches!(policy.rules[column], Rule::Counter { .. } | Rule::Set)
            || is_structural(ruling, ruling.facts.table(row), column)
        {
            continue;
        }
        let unseen = writes.windows(2).find(|pair| {
            pair[0].data(column) != pair[1].data(column)
                && !ruling.facts.saw(&pair[1], &pair[0])
                && pair[1].old(column) != pair[0].data(column)
        });
        if let Some(pair) = unseen {
            ruling.contradict(Contradiction {
                role: ruling.role(row, Some(column)),
                what: format!("{} was overridden by a write that had not seen it.", ruling.label(row, Some(column))),
                because: format!(
                    "client/{} wrote it without having seen what client/{} had written.",
                    pair[1].tx.device, pair[0].tx.device
                ),
                events: vec![pair[0].tx.event, pair[1].tx.event],
                operations: vec![pair[0].name(), pair[1].name()],
            });
            continue;
        }
        let Some(last) = writes.last().copied() else { continue };
        let expected = last.data(column);
        for (who, image) in ruling.facts.ends(row) {
            let row_deletes = deletes.get(&row).map_or(&[][..], Vec::as_slice);
            let unseen_delete =
                row_deletes.iter().find(|delete| !ruling.facts.saw(delete, &last) && !ruling.facts.saw(&last, delete));
            let (found, because) = match (image, unseen_delete) {
                (Some(image), _) if image.get(column) == expected => continue,
                (Some(image), _) => {
                    let value = image.get(column).map_or_else(String::new, label::value);
                    (value, "It was the last write of that column".to_owned())
                }
                (None, Some(delete)) => {
                    ("absent".to_owned(), format!("client/{} deleted the row without having seen it", delete.tx.device))
                }
                (None, None)
                    if row_deletes.is_empty()
                        && who == crate::history::Who::Server
                        && ruling.facts.last(row).is_none() =>
                {
                    ("absent".to_owned(), "Nobody deleted the row".to_owned())
                }
                (None, None) => continue,
            };
            ruling.contradict(Contradiction {
                role: ruling.role(row, Some(column)),
                what: format!(
                    "{} is {found} on {} in the end, not {} as client/{} wrote it.",
                    ruling.label(row, Some(column)),
                    label::who(who),
                    expected.map_or_else(String::new, label::value),
                    last.tx.device
                ),
                because: format!("{because}."),
                events: vec![last.tx.event],
                operations: vec![last.name()],
            });
            break;
        }
    }
}

/// The registers of a table with the rule latest whose value nothing but their writes decides: (name, columns).
fn plain_registers<'a>(ruling: &Ruling<'_, 'a, '_>, table: usize) -> Vec<(&'a str, Vec<usize>)> {
    let app = ruling.ctx().app;
    let policy = &app.policy;
    let rules = &policy.tables[table];
    let structural = |column: usize| rules.clock == Some(column) || is_structural(ruling, table, column);
    let groups = rules.groups.iter().map(|group| (group.name.as_str(), group.columns.clone()));
    let single = (0..rules.rules.len())
        .filter(|column| rules.rules[*column] == Rule::Latest && policy.group_of(table, *column).is_none())
        .map(|column| (app.schema.tables[table].columns[column].name.as_str(), vec![column]));
    groups.chain(single).filter(|(_, columns)| !columns.iter().any(|column| structural(*column))).collect()
}

/// Whether references, trees or exclusive invariants may decide the column's value.
fn is_structural(ruling: &Ruling<'_, '_, '_>, table: usize, column: usize) -> bool {
    let policy = &ruling.ctx().app.policy;
    policy.references_of(table).any(|reference| reference.column == column)
        || policy.trees.iter().any(|tree| (tree.table, tree.column) == (table, column))
        || policy.exclusives.iter().any(|one| one.table == table && one.running == column)
}

/// What a write leaves in a column of a group: what it sent, or what its device had; `None` if that is unknown.
fn left<'w>(write: &Write<'w>, column: usize) -> Option<&'w Value> {
    write.data(column).or_else(|| write.old(column))
}

pub(super) fn greatest_stamp_stays(ruling: &mut Ruling<'_, '_, '_>) {
    let tangled = tangled(ruling);
    let mut by_row: BTreeMap<RowId, Vec<Write<'_>>> = BTreeMap::new();
    for write in ruling.facts.writes() {
        if !tangled.contains(&write.row) {
            by_row.entry(write.row).or_default().push(write);
        }
    }
    for (row, writes) in by_row {
        let table = ruling.facts.table(row);
        if ruling.facts.last(row).is_none() {
            continue;
        }
        for (_, columns) in plain_registers(ruling, table) {
            let of: Vec<&Write<'_>> =
                writes.iter().filter(|write| columns.iter().any(|column| write.data(*column).is_some())).collect();
            if of.len() > 1 {
                stamps_of(ruling, row, &columns, &of);
            }
        }
    }
}

/// The final value is that of a write which no later write had seen, and whose stamp no other such write's clock beats.
fn stamps_of(ruling: &mut Ruling<'_, '_, '_>, row: RowId, columns: &[usize], writes: &[&Write<'_>]) {
    let facts = ruling.facts;
    let clock = ruling.ctx().app.policy.tables[facts.table(row)].clock;
    let Stamps { stamps, last } = Stamps::of(facts, clock, writes);
    let client = |index: usize| {
        ruling
            .ctx()
            .history
            .header
            .devices
            .get(writes[index].tx.device as usize)
            .map(|device| device.client_id.as_str())
    };
    // A write back to the value that another had as its base leaves that base unchanged: the other is applied.
    let is_base_of = |other: usize, index: usize| {
        columns.iter().all(|column| {
            let base = writes[index].old(*column);
            base.is_some() && left(writes[other], *column) == base
        })
    };
    let beaten = |index: usize| {
        last.iter().copied().find(|other| {
            *other != index
                && !is_base_of(*other, index)
                && writes[*other].tx.device != writes[index].tx.device
                && (writes[*other].clock_us(clock), client(*other)) > (stamps[index], client(index))
        })
    };
    for (who, image) in facts.ends(row) {
        let Some(image) = image else { continue };
        // NULL in a column that was not sent tells nothing where the insert left it to the server.
        let left_there = |write: &Write<'_>, column: usize| {
            let kept = write.old(column).filter(|value| !value.is_null());
            write.data(column).or(kept).is_none_or(|value| image.get(column) == Some(value))
        };
        let holds = |index: &usize| columns.iter().all(|column| left_there(writes[*index], *column));
        let candidates: Vec<usize> = last.iter().copied().filter(holds).collect();
        if candidates.iter().any(|index| beaten(*index).is_none()) {
            continue;
        }
        let shown: Vec<String> = columns.iter().filter_map(|column| image.get(*column)).map(label::value).collect();
        let (because, concerned) = match candidates.first() {
            Some(index) => {
                let winner = beaten(*index).unwrap_or(*index);
                let because = format!(
                    "client/{} op {} wrote that, but client/{} op {} has the greater clock, and neither had seen the other.",
                    writes[*index].tx.device,
                    writes[*index].op.op_id,
                    writes[winner].tx.device,
                    writes[winner].op.op_id
                );
                (because, vec![*index, winner])
            }
            None => ("No write that nobody had seen and overridden left that value.".to_owned(), last.clone()),
        };
        ruling.contradict(Contradiction {
            role: ruling.role(row, Some(columns[0])),
            what: format!(
                "{} is {} on {} in the end.",
                ruling.label(row, Some(columns[0])),
                shown.join(", "),
                label::who(who)
            ),
            because,
            events: concerned.iter().map(|index| writes[*index].tx.event).collect(),
            operations: concerned.iter().map(|index| writes[*index].name()).collect(),
        });
        return;
    }
}

pub(super) fn groups_whole(ruling: &mut Ruling<'_, '_, '_>) {
    let app = ruling.ctx().app;
    let mut by_row: BTreeMap<RowId, Vec<Write<'_>>> = BTreeMap::new();
    for write in ruling.facts.writes().into_iter().filter(|write| !write.is(Op::Delete)) {
        by_row.entry(write.row).or_default().push(write);
    }
    for (row, writes) in by_row {
        let table = ruling.facts.table(row);
        for group in &app.policy.tables[table].groups {
            let of: Vec<&Write<'_>> = writes
                .iter()
                .filter(|write| group.columns.iter().any(|column| write.data(*column).is_some()))
                .collect();
            if of.is_empty() {
                continue;
            }
            // What the server itself may set: a reference without its parent, a start that came second.
            let set_by_server = |column: usize, value: &Value| {
                (value.is_null() && app.policy.references_of(table).any(|reference| reference.column == column))
                    || (*value == Value::Int(0)
                        && app.policy.exclusives.iter().any(|one| one.table == table && one.running == column))
            };
            let fits = |value: &Value, column: usize, expected: Option<&Value>| {
                expected.is_none_or(|expected| expected == value) || set_by_server(column, value)
            };
            for (who, image) in ruling.facts.ends(row) {
                let Some(image) = image else { continue };
                let matches_all = |expected: &dyn Fn(usize) -> Option<Value>| {
                    group.columns.iter().all(|column| {
                        image.get(*column).is_some_and(|value| fits(value, *column, expected(*column).as_ref()))
                    })
                };
                let default = |column: usize| match &app.schema.tables[table].columns[column].default {
                    fixtures::ColumnDefault::Null => Some(Value::Null),
                    fixtures::ColumnDefault::Literal(value) => Some(value.clone()),
                    fixtures::ColumnDefault::Now | fixtures::ColumnDefault::Expression => None,
                };
                let inserted =
                    |write: &Write<'_>, column: usize| write.data(column).cloned().or_else(|| default(column));
                // What an insert left out is NULL on its device, and the default on the server.
                let updated = |write: &Write<'_>, column: usize| {
                    let value = left(write, column).cloned();
                    let filled = write.data(column).is_none() && value.as_ref().is_some_and(Value::is_null);
                    let now = image.get(column).cloned();
                    if filled && now == default(column) { now } else { value }
                };
                let from_write = of.iter().any(|write| {
                    matches_all(&|column| updated(write, column)) && !write.is(Op::Put)
                        || write.is(Op::Put) && matches_all(&|column| inserted(write, column))
                });
                let seeded = ruling.facts.seeded(row);
                if from_write || seeded.is_some_and(|seeded| matches_all(&|column| seeded.get(column).cloned())) {
                    continue;
                }
                let shown: Vec<String> =
                    group.columns.iter().filter_map(|column| image.get(*column)).map(label::value).collect();
                ruling.contradict(Contradiction {
                    role: format!("{}.{}", ruling.role(row, None), group.name),
                    what: format!(
                        "{}.{} is ({}) on {} in the end.",
                        ruling.label(row, None),
                        group.name,
                        shown.join(", "),
                        label::who(who)
                    ),
                    because: "No single operation left these values together on any device.".to_owned(),
                    events: of.iter().map(|write| write.tx.event).collect(),
                    operations: of.iter().map(|write| write.name()).collect(),
                });
                break;
            }
        }
    }
}

pub(super) fn counters_exact(ruling: &mut Ruling<'_, '_, '_>) {
    let tangled = tangled(ruling);
    for ((row, column), writes) in by_column(ruling) {
        let policy = &ruling.ctx().app.policy.tables[ruling.facts.table(row)];
        if !matches!(policy.rules[column], Rule::Counter { .. })
            || tangled.contains(&row)
            || ruling.facts.last(row).is_none()
        {
            continue;
        }
        let number = |value: Option<&Value>| value.and_then(Value::as_int).map_or(0, i128::from);
        let start = number(ruling.facts.seeded(row).and_then(|seeded| seeded.get(column)));
        let sum: i128 = writes.iter().map(|write| number(write.data(column)) - number(write.old(column))).sum();
        for (who, image) in ruling.facts.ends(row) {
            let Some(image) = image else { continue };
            let value = number(image.get(column));
            if value == start + sum {
                continue;
            }
            ruling.contradict(Contradiction {
                role: ruling.role(row, Some(column)),
                what: format!("{} is {value} on {} in the end.", ruling.label(row, Some(column)), label::who(who)),
                because: format!(
                    "It started at {start}, and {} committed operations add {sum}: it should be {}.",
                    writes.len(),
                    start + sum
                ),
                events: writes.iter().map(|write| write.tx.event).collect(),
                operations: writes.iter().map(Write::name).collect(),
            });
            break;
        }
    }
}

pub(super) fn sets_exact(ruling: &mut Ruling<'_, '_, '_>) {
    let tangled = tangled(ruling);
    for ((row, column), writes) in by_column(ruling) {
        let policy = &ruling.ctx().app.policy.tables[ruling.facts.table(row)];
        if policy.rules[column] != Rule::Set || tangled.contains(&row) || ruling.facts.last(row).is_none() {
            continue;
        }
        let Some(start) = members(ruling.facts.seeded(row).and_then(|seeded| seeded.get(column))) else { continue };
        let steps: Option<Vec<_>> = writes
            .iter()
            .map(|write| Some((write, members(write.old(column))?, members(write.data(column))?)))
            .collect();
        // A value that is no set falls back to latest.
        let Some(steps) = steps else { continue };
        let elements: BTreeSet<&String> =
            steps.iter().flat_map(|(_, old, data)| old.iter().chain(data)).chain(&start).collect();
        for (who, image) in ruling.facts.ends(row) {
            let Some(end) = image.and_then(|image| members(image.get(column))) else { continue };
            let wrong = elements.iter().find(|element| {
                let (may_be_there, may_be_absent) = lawful(ruling, element, start.contains(**element), &steps);
                if end.contains(**element) { !may_be_there } else { !may_be_absent }
            });
            let stranger = end.iter().find(|element| !elements.contains(element));
            let Some(element) = stranger.or(wrong.copied()) else { continue };
            let touched: Vec<&Write<'_>> = steps
                .iter()
                .filter(|(_, old, data)| old.contains(element) != data.contains(element))
                .map(|(write, _, _)| *write)
                .collect();
            ruling.contradict(Contradiction {
                role: ruling.role(row, Some(column)),
                what: format!(
                    "\"{element}\" is {} {} on {} in the end.",
                    if end.contains(element) { "in" } else { "missing from" },
                    ruling.label(row, Some(column)),
                    label::who(who)
                ),
                because: if end.contains(element) {
                    "Nobody added it, or every addition was seen and removed.".to_owned()
                } else {
                    "It was added, and nobody who saw the addition removed it.".to_owned()
                },
                events: touched.iter().map(|write| write.tx.event).collect(),
                operations: touched.iter().map(|write| write.name()).collect(),
            });
            break;
        }
    }
}

/// Whether the element may be in the set in the end, and whether it may be absent.
///
/// By the sentence of docs/semantics.md it is there if some addition was seen by no removal; by its formula, if the last
/// operation on it in order of commits added it. Where the two differ, both are lawful.
fn lawful(
    ruling: &Ruling<'_, '_, '_>,
    element: &str,
    at_start: bool,
    steps: &[(&Write<'_>, BTreeSet<String>, BTreeSet<String>)],
) -> (bool, bool) {
    let adds: Vec<&Write<'_>> = steps
        .iter()
        .filter(|(_, old, data)| !old.contains(element) && data.contains(element))
        .map(|(write, _, _)| *write)
        .collect();
    let removes: Vec<&Write<'_>> = steps
        .iter()
        .filter(|(_, old, data)| old.contains(element) && !data.contains(element))
        .map(|(write, _, _)| *write)
        .collect();
    let by_sentence = (at_start && removes.is_empty())
        || adds.iter().any(|add| !removes.iter().any(|remove| ruling.facts.saw(remove, add)));
    let last = steps.iter().rev().find(|(_, old, data)| old.contains(element) != data.contains(element));
    let by_formula = last.map_or(at_start, |(_, _, data)| data.contains(element));
    (by_sentence || by_formula, !by_sentence || !by_formula)
}
