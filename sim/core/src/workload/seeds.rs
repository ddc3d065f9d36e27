//! Rows that are there before a plan begins.

use std::collections::BTreeMap;

use rand::Rng as _;
use serde_json::Value as Json;

use crate::plan::{Expr, SeedRow};
use crate::scenario::{Scenario, SeedRows};
use crate::seed::{Rng, Seed};
use crate::workload::author::{Author, Columns};
use crate::workload::tracker::Viewer;
use crate::workload::values::Mark;

/// The chance that a seed row names a column that it need not.
const OPTIONAL_CHANCE: f64 = 0.35;

/// Draws the rows, and makes them known to the author.
pub(super) fn draw(scenario: &Scenario, author: &mut Author<'_>, seed: Seed) -> Vec<SeedRow> {
    let mut rng = seed.fork("seeds", &[]);
    author.mark = Mark::new(0, false, false);
    let mut named: Vec<(u32, &SeedRows)> = Vec::new();
    let mut by_table: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for spec in &scenario.seeds {
        for _ in 0..spec.rows.count(&mut rng) {
            let row = author.new_row(spec.table);
            by_table.entry(spec.table).or_default().push(row);
            named.push((row, spec));
        }
    }
    let mut rows = Vec::new();
    for (index, (row, spec)) in named.into_iter().enumerate() {
        // One user after the other, so that each has some.
        let user = (index % author.app.users.len()) as u32;
        if let Some(set) = columns(author, &mut rng, row, spec, user, &by_table) {
            rows.push(SeedRow { row, set });
        }
    }
    rows
}

/// The columns of one row; `None` if its unique key is taken or a parent that it needs is not there.
fn columns(
    author: &mut Author<'_>,
    rng: &mut Rng,
    row: u32,
    spec: &SeedRows,
    user: u32,
    by_table: &BTreeMap<usize, Vec<u32>>,
) -> Option<Columns> {
    let table = spec.table;
    let app = author.app;
    let layout = author.layout;
    let layout = &layout.tables[table];
    let device = author.users.iter().position(|of| *of == user).unwrap_or(0) as u32;
    let who = Viewer { device, at_us: 0 };
    let owner = layout.owned.then_some(user);
    // A row of the parent table that stands before this one: so no tree has a cycle.
    let parent = |author: &Author<'_>, rng: &mut Rng, parent: usize| {
        let rows = by_table.get(&parent)?;
        let able: Vec<u32> = rows
            .iter()
            .copied()
            .filter(|other| (parent != table || *other < row) && author.tracker.is_seed_of(*other, owner))
            .collect();
        able.get(rng.random_range(0..able.len().max(1))).copied().map(Expr::Id)
    };
    let mut set: Vec<(usize, Expr)> = Vec::new();
    for (column, declared) in app.schema.tables[table].columns.iter().enumerate() {
        let key = layout.unique.as_ref().is_some_and(|unique| unique.contains(&column));
        let reference = layout.references.iter().find(|(child, _)| *child == column);
        let needed = layout.needs_parent.iter().any(|(child, _)| *child == column);
        let must = layout.required.contains(&column) || key || needed || layout.owner == Some(column);
        let given = spec.set.iter().find(|(of, _)| *of == column);
        let value = if let Some((_, term)) = given {
            author.term(rng, who, term, &[], &[])
        } else if layout.clock == Some(column)
            || layout.generated.contains(&column)
            || layout.running.contains(&column)
            || (!must && !rng.random_bool(OPTIONAL_CHANCE))
        {
            continue;
        } else if layout.owner == Some(column) {
            Expr::Value(Json::from(app.users[user as usize].as_str()))
        } else if let Some((_, of)) = reference {
            match parent(author, rng, *of) {
                Some(parent) => parent,
                None if needed => return None,
                None => continue,
            }
        } else {
            author.draw(rng, who, table, column, true)
        };
        // The server makes these rows: no device's clock or name is in them.
        let value = match value {
            Expr::Now | Expr::Device => continue,
            value => value,
        };
        if value == Expr::Value(Json::Null) && declared.not_null {
            continue;
        }
        set.push((column, value));
    }
    let noted: Vec<(usize, &Expr)> = set.iter().map(|(column, value)| (*column, value)).collect();
    let named: Columns = set
        .iter()
        .map(|(column, value)| (app.schema.tables[table].columns[*column].name.clone(), value.clone()))
        .collect();
    if !author.take_key(row, &named) {
        return None;
    }
    author.tracker.seed(row, owner, &noted);
    Some(named)
}
