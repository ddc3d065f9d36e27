//! What plans begin with, looked at before any runs: rows that break an invariant already, rows that nobody sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::{App, ColumnDefault, Row, Value};
use sim_core::checker::visibility::seen_by_nobody;
use sim_core::history::{Change, Event, Header, InvariantAnswer, RowId, RowName, Scope, Time, VERSION, What, Who};
use sim_core::plan::Expr;
use sim_core::scenario::Scenario;
use sim_core::{History, Plan, Seed, workload};

use super::exit_code::CommandError;
use crate::invariants::InvariantDatabase;

/// How many rows are named.
const NAMED: usize = 5;
/// Of so many drawn rows of a table somebody should see one.
const ROWS_MIN: u64 = 10;

/// Looks at the rows with which the plans of these scenarios begin; gives what a user should be told of.
///
/// # Errors
/// An invariant of policy.toml that such rows break by themselves.
pub(super) fn look(
    app: &App,
    scenarios: &[(Scenario, u32)],
    seed: Seed,
    first: u32,
) -> Result<Vec<String>, CommandError> {
    let database = InvariantDatabase::new(app).map_err(CommandError::Usage)?;
    // Drawn rows, and those that somebody sees, by table.
    let mut drawn: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for (scenario, plans) in scenarios {
        for index in 0..*plans {
            let seed = workload::plan_seed(seed, &scenario.name, u64::from(first.saturating_add(index)));
            let plan = workload::beginning(scenario, app, seed);
            let mut history = history(app, &plan);
            if let Some((invariant, rows)) = broken(app, &database, &mut history) {
                return Err(CommandError::Usage(format!(
                    "policy.toml: invariants.{invariant}: the rows with which plan {index} of {} begins break it \
                     already, before anybody wrote: {rows}; give [[seed]] rows that keep it (`set`), or [values] that do",
                    scenario.name
                )));
            }
            count(app, &history, &mut drawn);
        }
    }
    let unseen = drawn.into_iter().filter(|(_, (rows, seen))| *rows >= ROWS_MIN && *seen == 0);
    let sentence = |(table, (rows, _)): (usize, (u64, u64))| {
        let name = &app.schema.tables[table].name;
        format!(
            "none of {rows} rows of {name} that plans begin with is given to any user: whatever selects them in \
             sync-config.yaml is not what they hold; name the owner's column in policy.toml \
             ([values.{name}] … {{ form = \"user\" }}), or the query is another than you think"
        )
    };
    Ok(unseen.map(sentence).collect())
}

fn broken(app: &App, database: &InvariantDatabase, history: &mut History) -> Option<(String, String)> {
    database.ask(app, history);
    let What::Invariants { answers } = &history.events.last()?.what else { return None };
    let (name, rows) = answers.iter().find_map(|(name, answer)| match answer {
        InvariantAnswer::Broken(rows) => Some((name.clone(), rows.clone())),
        _ => None,
    })?;
    // A row is named as plans and reports do, beside what the invariant returned.
    let label = |text: &String| {
        let rows = (0..).zip(&history.rows).filter(|(_, name)| text.contains(&*name.id));
        let labels: Vec<String> = rows.map(|(row, _)| history.row_label(app, row)).collect();
        if labels.is_empty() { text.clone() } else { format!("{} ({text})", labels.join(", ")) }
    };
    Some((name, rows.iter().take(NAMED).map(label).collect::<Vec<_>>().join("; ")))
}

fn count(app: &App, history: &History, drawn: &mut BTreeMap<usize, (u64, u64)>) {
    let Some(What::Read { rows, .. }) = history.events.first().map(|event| &event.what) else { return };
    let change =
        |(row, image): &(RowId, Option<Row>)| Change { row: *row, before: None, after: image.clone(), op_id: None };
    let changes: Vec<Change> = rows.iter().map(change).collect();
    // What the evaluator does not know is told by the checkers.
    let Ok(unseen) = seen_by_nobody(app, history, &changes) else { return };
    for change in &changes {
        let (rows, seen) = drawn.entry(history.rows[change.row as usize].table).or_default();
        *rows += 1;
        *seen += u64::from(!unseen.contains(&change.row));
    }
}

/// A history in which the server holds the plan's first rows, and nothing happens.
fn history(app: &App, plan: &Plan) -> History {
    let table = |name: &String| app.schema.table_index(name).unwrap_or_default();
    let rows: Vec<RowName> = (0..)
        .zip(&plan.rows)
        .map(|(row, name)| RowName { table: table(name), id: Arc::from(plan.row_id(row)) })
        .collect();
    let image = |row: u32, set: &[(String, Expr)]| -> Row {
        let columns = &app.schema.tables[rows[row as usize].table].columns;
        let value = |column: &fixtures::Column| match set.iter().find(|(name, _)| *name == column.name) {
            Some((_, Expr::Value(json))) => Value::from_json(column.ty, json).unwrap_or(Value::Null),
            Some((_, Expr::Id(other))) => Value::text(&plan.row_id(*other)),
            Some((_, Expr::Now)) => Value::Time(sim_core::plan::EPOCH_US),
            Some((_, Expr::Device)) | None => match &column.default {
                ColumnDefault::Literal(value) => value.clone(),
                ColumnDefault::Now => Value::Time(sim_core::plan::EPOCH_US),
                ColumnDefault::Null | ColumnDefault::Expression => Value::Null,
            },
        };
        columns.iter().map(value).collect()
    };
    let first = plan.seed_rows.iter().map(|seed| (seed.row, Some(image(seed.row, &seed.set)))).collect();
    let read = What::Read { scope: Scope::Final, rows: first };
    History {
        header: Header {
            v: VERSION,
            app: app.name.clone(),
            scenario: plan.scenario.clone(),
            seed: plan.seed,
            world: String::new(),
            time: Time::Virtual,
            policy: String::new(),
            devices: Vec::new(),
        },
        rows,
        events: vec![Event { at_us: 0, who: Who::Server, what: read }],
    }
}
