//! Which rows each user's devices should see: a small evaluator of the sync config, on its own.
//!
//! The sync service has another one, and the two share no code: this one judges that one. It knows
//! `bucket_definitions` (parameter queries with and without FROM, data queries over one table) and `streams` that
//! everybody is subscribed to. Whatever else a config asks for is refused by name, so that what depends on it is
//! unknown rather than guessed.

mod expression;
mod query;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fixtures::{App, Row};
use serde_norway::Value as Yaml;

use crate::history::{Change, History, RowId};
use expression::Scope;
pub(super) use expression::{Key, key};
use query::{Data, Parameters};

/// A sync config, resolved against the schema.
#[derive(Debug)]
pub struct Visibility {
    definitions: Vec<Definition>,
    tables: usize,
}

/// One definition of buckets: the parameters that name a user's buckets, and the rows in each.
#[derive(Clone, Debug)]
struct Definition {
    parameters: Vec<Parameters>,
    data: Vec<Data>,
    /// The priority of its buckets, unless a parameter query names another.
    priority: u32,
}

/// The priority of buckets for which a config names none.
const DEFAULT_PRIORITY: u32 = 3;

impl Visibility {
    /// Reads the application's sync config.
    ///
    /// # Errors
    /// A sentence that names the first thing in it that this evaluator does not know.
    pub fn parse(app: &App) -> Result<Self, String> {
        let config: Yaml =
            serde_norway::from_str(&app.sync_config).map_err(|error| format!("the sync config is no YAML: {error}"))?;
        let mut definitions = Vec::new();
        for (key, value) in entries(&config, "the sync config")? {
            match key {
                "bucket_definitions" => {
                    for (name, definition) in entries(value, key)? {
                        definitions.push(
                            bucket_definition(app, name, definition)
                                .map_err(|why| format!("bucket definition {name}: {why}"))?,
                        );
                    }
                }
                "streams" => {
                    for (name, stream) in entries(value, key)? {
                        definitions.extend(self::stream(app, stream).map_err(|why| format!("stream {name}: {why}"))?);
                    }
                }
                "config" => {}
                other => return Err(format!("the convergence checker does not know `{other}` in a sync config")),
            }
        }
        let visibility = Self { definitions, tables: app.schema.tables.len() };
        for table in 0..visibility.tables {
            let mut columns = visibility.data().filter(|data| data.table == table).map(|data| &data.columns);
            if let Some(first) = columns.next()
                && columns.any(|other| other != first)
            {
                return Err(format!(
                    "two queries select different columns of {}: which a device shows depends on the order of arrival",
                    app.schema.tables[table].name
                ));
            }
        }
        Ok(visibility)
    }

    /// Whether everybody sees every row as it is.
    pub(super) fn everything(&self) -> bool {
        (0..self.tables).all(|table| {
            self.definitions.iter().any(|definition| {
                definition.parameters.iter().any(Parameters::always)
                    && definition.data.iter().any(|data| data.table == table && data.everything())
            })
        })
    }

    /// What users see through buckets of these priorities alone.
    pub(super) fn of_priorities(&self, includes: impl Fn(u32) -> bool) -> Self {
        let definitions = (self.definitions.iter())
            .map(|definition| {
                let keep = |one: &&Parameters| includes(one.priority.unwrap_or(definition.priority));
                let parameters = definition.parameters.iter().filter(keep).cloned().collect();
                Definition { parameters, ..definition.clone() }
            })
            .collect();
        Self { definitions, tables: self.tables }
    }

    fn data(&self) -> impl Iterator<Item = &Data> {
        self.definitions.iter().flat_map(|definition| &definition.data)
    }
}

/// The entries of a mapping whose keys are texts.
fn entries<'y>(yaml: &'y Yaml, place: &str) -> Result<Vec<(&'y str, &'y Yaml)>, String> {
    let Yaml::Mapping(mapping) = yaml else { return Err(format!("{place} must be a mapping")) };
    mapping
        .iter()
        .map(|(key, value)| {
            key.as_str().map(|key| (key, value)).ok_or_else(|| format!("{place} has a key that is no text"))
        })
        .collect()
}

/// One text, or a list of texts.
fn texts<'y>(yaml: &'y Yaml, place: &str) -> Result<Vec<&'y str>, String> {
    let wrong = || format!("{place} must be a query or a list of queries");
    match yaml {
        Yaml::String(text) => Ok(vec![text]),
        Yaml::Sequence(items) => items.iter().map(|item| item.as_str().ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

fn priority_of(yaml: &Yaml) -> Result<u32, String> {
    let level = yaml.as_u64().and_then(|level| u32::try_from(level).ok());
    level.ok_or_else(|| "`priority` must be a number from 0 to 3".to_owned())
}

fn bucket_definition(app: &App, name: &str, yaml: &Yaml) -> Result<Definition, String> {
    let mut parameters = Vec::new();
    let mut data = Vec::new();
    let mut priority = DEFAULT_PRIORITY;
    let fields = entries(yaml, name)?;
    for (key, value) in &fields {
        match *key {
            "parameters" if !value.is_null() => {
                for sql in texts(value, key)? {
                    parameters.push(Parameters::parse(app, sql)?);
                }
            }
            "priority" => priority = priority_of(value)?,
            "parameters" | "accept_potentially_dangerous_queries" | "data" => {}
            other => return Err(format!("`{other}` is not known here")),
        }
    }
    if parameters.is_empty() {
        parameters.push(Parameters::none());
    }
    let names = parameters[0].names();
    if parameters.iter().any(|other| other.names() != names) {
        return Err("all parameter queries must output the same names in the same order".to_owned());
    }
    if let Some((key, value)) = fields.iter().find(|(key, _)| *key == "data") {
        for sql in texts(value, key)? {
            data.push(Data::parse(app, sql, &names)?);
        }
    }
    Ok(Definition { parameters, data, priority })
}

/// A stream is a definition whose one parameter is the user, if its query mentions the user at all.
fn stream(app: &App, yaml: &Yaml) -> Result<Vec<Definition>, String> {
    let mut queries = Vec::new();
    let mut subscribed = false;
    let mut priority = DEFAULT_PRIORITY;
    for (key, value) in entries(yaml, "a stream")? {
        match key {
            "query" | "queries" => queries.extend(texts(value, key)?),
            "auto_subscribe" => subscribed = value.as_bool().unwrap_or_default(),
            "priority" => priority = priority_of(value)?,
            "accept_potentially_dangerous_queries" => {}
            other => return Err(format!("`{other}` is not known here")),
        }
    }
    if !subscribed {
        return Ok(Vec::new());
    }
    queries
        .into_iter()
        .map(|sql| {
            let data = Data::parse(app, sql, &["auth.user_id()".to_owned()])?;
            let parameters = if data.keys.is_empty() { Parameters::none() } else { Parameters::user() };
            Ok(Definition { parameters: vec![parameters], data: vec![data], priority })
        })
        .collect()
}

/// The rows of one server that no user is given.
///
/// # Errors
/// What of the sync config this evaluator does not know.
pub fn seen_by_nobody(app: &App, history: &History, changes: &[Change]) -> Result<Vec<RowId>, String> {
    let visibility = Visibility::parse(app)?;
    let users: Vec<&str> = app.users.iter().map(String::as_str).collect();
    let mut audience = Audience::new(&visibility, history, &users);
    audience.commit(changes);
    Ok(changes.iter().map(|change| change.row).filter(|row| !audience.is_shown(*row)).collect())
}

/// What each user should see, followed from commit to commit.
#[derive(Debug)]
pub(super) struct Audience<'a> {
    visibility: &'a Visibility,
    history: &'a History,
    users: Vec<Arc<str>>,
    /// Each row as the server has it.
    server: BTreeMap<RowId, Row>,
    /// For each definition, who holds which bucket, and by how many parameter results.
    holders: Vec<BTreeMap<Vec<Key>, BTreeMap<usize, u32>>>,
    /// For each definition, the rows in each bucket, and by how many queries.
    buckets: Vec<BTreeMap<Vec<Key>, BTreeMap<RowId, u32>>>,
    /// For each user, in how many ways each visible row is visible.
    shown: Vec<BTreeMap<RowId, u32>>,
    touched: BTreeSet<(usize, RowId)>,
}

impl<'a> Audience<'a> {
    pub(super) fn new(visibility: &'a Visibility, history: &'a History, users: &[&str]) -> Self {
        let mut audience = Self {
            visibility,
            history,
            users: users.iter().map(|user| Arc::from(*user)).collect(),
            server: BTreeMap::new(),
            holders: vec![BTreeMap::new(); visibility.definitions.len()],
            buckets: vec![BTreeMap::new(); visibility.definitions.len()],
            shown: vec![BTreeMap::new(); users.len()],
            touched: BTreeSet::new(),
        };
        for (index, definition) in visibility.definitions.iter().enumerate() {
            for parameters in definition.parameters.iter().filter(|parameters| parameters.table.is_none()) {
                for user in 0..audience.users.len() {
                    let scope = Scope { user: &audience.users[user], id: "", row: &[] };
                    if let Some(bucket) = parameters.evaluate(scope) {
                        audience.hold(index, bucket, user, true);
                    }
                }
            }
        }
        audience
    }

    /// Takes a commit in; gives each (user, row) that it may have changed, and what the user should see of it now.
    pub(super) fn commit(&mut self, changes: &[Change]) -> Vec<(usize, RowId, Option<Row>)> {
        for change in changes {
            if let Some(before) = self.server.remove(&change.row) {
                self.count(change.row, &before, false);
            }
            if let Some(after) = &change.after {
                self.count(change.row, after, true);
                self.server.insert(change.row, after.clone());
            }
        }
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().map(|(user, row)| (user, row, self.image(user, row))).collect()
    }

    /// The row as the server has it.
    pub(super) fn on_server(&self, row: RowId) -> Option<&Row> {
        self.server.get(&row)
    }

    /// Whether any user sees the row.
    pub(super) fn is_shown(&self, row: RowId) -> bool {
        self.shown.iter().any(|shown| shown.contains_key(&row))
    }

    /// Whether a query gives rows of the table to anybody.
    pub(super) fn reads(&self, table: usize) -> bool {
        self.visibility.data().any(|data| data.table == table)
    }

    /// Whether the user would see the row if it were `other`, and not as it is.
    pub(super) fn would_show(&mut self, user: usize, row: RowId, image: &Row, other: &Row) -> bool {
        self.count(row, image, false);
        self.count(row, other, true);
        let is_shown = self.shown[user].contains_key(&row);
        self.count(row, other, false);
        self.count(row, image, true);
        self.touched.clear();
        is_shown
    }

    fn image(&self, user: usize, row: RowId) -> Option<Row> {
        self.shown[user].get(&row)?;
        let server = self.server.get(&row)?;
        let table = self.history.table_of(row)?;
        let data = self.visibility.data().find(|data| data.table == table)?;
        Some(data.project(server))
    }

    /// Adds or removes what a row says: the buckets that it gives to users, and the buckets that it is in.
    fn count(&mut self, row: RowId, image: &Row, add: bool) {
        let Some(name) = self.history.rows.get(row as usize) else { return };
        let visibility = self.visibility;
        for (index, definition) in visibility.definitions.iter().enumerate() {
            for parameters in definition.parameters.iter().filter(|parameters| parameters.table == Some(name.table)) {
                for user in 0..self.users.len() {
                    let scope = Scope { user: &self.users[user], id: &name.id, row: image };
                    if let Some(bucket) = parameters.evaluate(scope) {
                        self.hold(index, bucket, user, add);
                    }
                }
            }
            for data in definition.data.iter().filter(|data| data.table == name.table) {
                if let Some(bucket) = data.bucket(Scope { user: "", id: &name.id, row: image }) {
                    self.place(index, bucket, row, add);
                }
            }
        }
    }

    fn hold(&mut self, definition: usize, bucket: Vec<Key>, user: usize, add: bool) {
        let holders = self.holders[definition].entry(bucket.clone()).or_default();
        let count = holders.entry(user).or_default();
        let before = *count > 0;
        *count = if add { *count + 1 } else { count.saturating_sub(1) };
        let after = *count > 0;
        if !after {
            holders.remove(&user);
        }
        if before == after {
            return;
        }
        let rows: Vec<(RowId, u32)> = self.buckets[definition]
            .get(&bucket)
            .map(|rows| rows.iter().map(|(row, ways)| (*row, *ways)).collect())
            .unwrap_or_default();
        for (row, ways) in rows {
            self.show(user, row, ways, add);
        }
    }

    fn place(&mut self, definition: usize, bucket: Vec<Key>, row: RowId, add: bool) {
        let users: Vec<usize> =
            self.holders[definition].get(&bucket).map(|holders| holders.keys().copied().collect()).unwrap_or_default();
        let rows = self.buckets[definition].entry(bucket).or_default();
        let ways = rows.entry(row).or_default();
        *ways = if add { *ways + 1 } else { ways.saturating_sub(1) };
        if *ways == 0 {
            rows.remove(&row);
        }
        for user in users {
            self.show(user, row, 1, add);
        }
    }

    fn show(&mut self, user: usize, row: RowId, ways: u32, add: bool) {
        let count = self.shown[user].entry(row).or_default();
        *count = if add { *count + ways } else { count.saturating_sub(ways) };
        if *count == 0 {
            self.shown[user].remove(&row);
        }
        self.touched.insert((user, row));
    }
}
