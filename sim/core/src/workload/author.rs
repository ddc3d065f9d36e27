//! Writes transactions: chooses rows that the device is likely to see, and values for them.

use std::collections::BTreeSet;

use fixtures::App;
use rand::Rng as _;
use serde_json::Value as Json;

use crate::activity::{ActStep, Activity, Source, Term};
use crate::layout::Layout;
use crate::plan::{Expr, Intent};
use crate::promise::Claim;
use crate::scenario::Scenario;
use crate::seed::Rng;
use crate::workload::tracker::{Tracker, Viewer};
use crate::workload::values::{self, Mark, Writing};

/// The columns of an intent.
pub(crate) type Columns = Vec<(String, Expr)>;

/// What it takes to write a plan's transactions.
pub(crate) struct Author<'a> {
    pub(crate) app: &'a App,
    pub(crate) layout: &'a Layout,
    activities: &'a [Activity],
    pub(crate) tracker: Tracker<'a>,
    /// The table of each symbolic row.
    pub(crate) rows: Vec<String>,
    /// The user of each device.
    pub(crate) users: Vec<u32>,
    /// Unique keys that some row has: (table, key in words).
    keys: BTreeSet<(usize, String)>,
    /// Marks the texts of the transaction being written.
    pub(crate) mark: Mark,
    /// The chance that a row is one that everybody writes.
    pub(crate) hot: f64,
    /// Whether people may close cycles on purpose.
    is_about_trees: bool,
}

/// The rows in the slots of an activity.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    One(u32),
    Many(Vec<u32>),
}

impl Bound {
    pub(crate) fn one(&self) -> u32 {
        match self {
            Self::One(row) => *row,
            Self::Many(_) => unreachable!("a slot with a list is used as one row only if the scenario was not checked"),
        }
    }

    pub(crate) fn many(&self) -> &[u32] {
        match self {
            Self::One(row) => std::slice::from_ref(row),
            Self::Many(rows) => rows,
        }
    }
}

/// What a round has decided for an activity.
#[derive(Debug, Default)]
pub(crate) struct Decided<'a> {
    pub(crate) rows: Vec<(&'a str, &'a Bound)>,
    pub(crate) given: Vec<(&'a str, &'a Expr)>,
}

impl<'a> Author<'a> {
    pub(crate) fn new(app: &'a App, scenario: &'a Scenario, users: Vec<u32>) -> Self {
        Self {
            app,
            layout: &scenario.layout,
            activities: &scenario.activities,
            tracker: Tracker::new(&scenario.layout, &app.users, users.clone()),
            rows: Vec::new(),
            users,
            keys: BTreeSet::new(),
            mark: Mark::new(0, false, false),
            hot: 0.0,
            is_about_trees: scenario.promises.claims.contains(&Claim::CyclesSuperseded),
        }
    }

    /// A symbolic row that nobody has inserted yet.
    pub(crate) fn new_row(&mut self, table: usize) -> u32 {
        self.rows.push(self.app.schema.tables[table].name.clone());
        self.tracker.name_row(table);
        (self.rows.len() - 1) as u32
    }

    /// A value as the column's generator makes it.
    pub(crate) fn draw(&mut self, rng: &mut Rng, who: Viewer, table: usize, column: usize, creates: bool) -> Expr {
        let Self { app, tracker, mark, hot, users, .. } = self;
        let writing = Writing {
            at_us: who.at_us,
            user: &app.users[users[who.device as usize] as usize],
            users: &app.users,
            creates,
        };
        let mut row = |rng: &mut Rng, parent: usize| tracker.pick(rng, who, parent, *hot, &[]).map(Expr::Id);
        values::draw(&app.generators[table][column], rng, mark, &writing, &mut row)
    }

    /// An element of a set as the column's generator makes it.
    pub(crate) fn draw_element(&mut self, rng: &mut Rng, who: Viewer, table: usize, column: usize) -> Option<Expr> {
        let Self { app, tracker, hot, .. } = self;
        let mut row = |rng: &mut Rng, parent: usize| tracker.pick(rng, who, parent, *hot, &[]).map(Expr::Id);
        values::draw_element(&app.generators[table][column], rng, &mut row)
    }

    /// The value of a term. `rows` and `given` are what it may refer to.
    pub(crate) fn term(&mut self, rng: &mut Rng, who: Viewer, term: &Term, rows: &[Bound], given: &[Expr]) -> Expr {
        match term {
            Term::Draw(table, column) => self.draw(rng, who, *table, *column, true),
            Term::Element(table, column) => {
                self.draw_element(rng, who, *table, *column).unwrap_or(Expr::Value(Json::from("other")))
            }
            Term::Text => Expr::Value(Json::from(self.mark.text(rng, 2, 5))),
            Term::Now => Expr::Now,
            Term::Null => Expr::Value(Json::Null),
            Term::Device => Expr::Device,
            Term::Value(value) => Expr::Value(value.clone()),
            Term::OneOf(values) => Expr::Value(values[rng.random_range(0..values.len())].clone()),
            Term::Int(range) => Expr::Value(Json::from(range.int(rng))),
            Term::Id(slot) => Expr::Id(rows[*slot].one()),
            Term::Given(index) => given[*index].clone(),
        }
    }

    /// The transaction of an activity; `None` if a row that it needs is not there.
    pub(crate) fn activity(
        &mut self,
        rng: &mut Rng,
        who: Viewer,
        index: usize,
        decided: &Decided<'_>,
    ) -> Option<Vec<Intent>> {
        let activities = self.activities;
        let activity = &activities[index];
        let rows = self.fill_slots(rng, who, activity, decided)?;
        let mut given: Vec<Expr> = Vec::with_capacity(activity.given.len());
        for (name, term) in &activity.given {
            let value = decided.given.iter().find(|(given, _)| given == name).map(|(_, value)| (*value).clone());
            given.push(match value {
                Some(value) => value,
                None => self.term(rng, who, term, &[], &[]),
            });
        }
        let mut intents = Vec::with_capacity(activity.steps.len());
        for step in &activity.steps {
            self.step(rng, who, activity, step, &rows, &given, &mut intents);
        }
        if intents.is_empty() { None } else { Some(intents) }
    }

    fn fill_slots(
        &mut self,
        rng: &mut Rng,
        who: Viewer,
        activity: &Activity,
        decided: &Decided<'_>,
    ) -> Option<Vec<Bound>> {
        let mut rows: Vec<Bound> = Vec::with_capacity(activity.slots.len());
        let mut taken: Vec<u32> = Vec::new();
        for slot in &activity.slots {
            let bound = if let Some((_, bound)) = decided.rows.iter().find(|(name, _)| *name == slot.name) {
                (*bound).clone()
            } else {
                match slot.source {
                    Source::Pick(table) => Bound::One(self.tracker.pick(rng, who, table, self.hot, &taken)?),
                    Source::New(table) => Bound::One(self.new_row(table)),
                    Source::List(table, range) => {
                        let mut list = Vec::new();
                        for _ in 0..range.count(rng) {
                            list.extend(self.tracker.pick(rng, who, table, 0.0, &list));
                        }
                        if list.len() < 2 {
                            return None;
                        }
                        Bound::Many(list)
                    }
                    Source::Children { of, table, column } => {
                        Bound::Many(self.tracker.children(who, table, column, rows[of].one()))
                    }
                }
            };
            taken.extend_from_slice(bound.many());
            rows.push(bound);
        }
        Some(rows)
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of one transaction being written")]
    fn step(
        &mut self,
        rng: &mut Rng,
        who: Viewer,
        activity: &Activity,
        step: &ActStep,
        rows: &[Bound],
        given: &[Expr],
        intents: &mut Vec<Intent>,
    ) {
        let table_of = |slot: usize| activity.slots[slot].source.table();
        let column_name =
            |app: &App, slot: usize, column: usize| app.schema.tables[table_of(slot)].columns[column].name.clone();
        match step {
            ActStep::Insert(slot, set, replace) => {
                let set = self.columns(rng, who, table_of(*slot), set, rows, given);
                self.push(intents, who, Intent::Insert { row: rows[*slot].one(), set, replace: *replace });
            }
            ActStep::Ensure(slot, key, set) => {
                let table = table_of(*slot);
                let set = self.columns(rng, who, table, set, rows, given);
                let key = key.iter().map(|column| column_name(self.app, *slot, *column)).collect();
                self.push(intents, who, Intent::Ensure { row: rows[*slot].one(), key, set });
            }
            ActStep::Set(slot, set) => {
                let set = self.columns(rng, who, table_of(*slot), set, rows, given);
                self.push(intents, who, Intent::Set { row: rows[*slot].one(), set });
            }
            ActStep::Add(slot, column, element) => {
                let element = self.term(rng, who, element, rows, given);
                let column = column_name(self.app, *slot, *column);
                self.push(intents, who, Intent::Add { row: rows[*slot].one(), column, element });
            }
            ActStep::Remove(slot, column, element) => {
                let row = rows[*slot].one();
                let element = match element {
                    Some(element) => Some(self.term(rng, who, element, rows, given)),
                    None => self.tracker.element(rng, who, row, *column),
                };
                if let Some(element) = element {
                    let column = column_name(self.app, *slot, *column);
                    self.push(intents, who, Intent::Remove { row, column, element });
                }
            }
            ActStep::Increment(slot, column, by) => {
                let column = column_name(self.app, *slot, *column);
                let by = by.int(rng);
                self.push(intents, who, Intent::Increment { row: rows[*slot].one(), column, by });
            }
            ActStep::Move(slot, column, times) => {
                let list = rows[*slot].many();
                for _ in 0..times.count(rng) {
                    let from = rng.random_range(0..list.len());
                    let after = (from + rng.random_range(1..list.len().max(2))) % list.len();
                    let after = (!rng.random_ratio(1, list.len() as u32) && after != from).then(|| list[after]);
                    let column = column_name(self.app, *slot, *column);
                    self.push(intents, who, Intent::MoveAfter { row: list[from], after, column, list: list.to_vec() });
                }
            }
            ActStep::Delete(slot) => {
                for row in rows[*slot].many() {
                    self.push(intents, who, Intent::Delete { row: *row });
                }
            }
            ActStep::Read(slots) => {
                let rows = slots.iter().flat_map(|slot| rows[*slot].many()).copied().collect();
                self.push(intents, who, Intent::Read { rows });
            }
        }
    }

    fn columns(
        &mut self,
        rng: &mut Rng,
        who: Viewer,
        table: usize,
        set: &[(usize, Term)],
        rows: &[Bound],
        given: &[Expr],
    ) -> Columns {
        let mut columns = Vec::with_capacity(set.len());
        for (column, term) in set {
            let value = self.term(rng, who, term, rows, given);
            columns.push((self.app.schema.tables[table].columns[*column].name.clone(), value));
        }
        columns
    }

    /// Adds an intent to the transaction, and to what is known of the rows.
    pub(crate) fn push(&mut self, intents: &mut Vec<Intent>, who: Viewer, mut intent: Intent) {
        if let Intent::Insert { row, set, .. } | Intent::Ensure { row, set, .. } | Intent::Set { row, set } =
            &mut intent
        {
            self.keep_trees(who, *row, set);
        }
        let private = match &intent {
            Intent::Ensure { row, set, .. } | Intent::Insert { row, set, .. } => !self.take_key(*row, set),
            _ => false,
        };
        let app = self.app;
        let column = |table: usize, name: &str| app.schema.tables[table].column_index(name);
        self.tracker.apply(who, &intent, private, &column);
        intents.push(intent);
    }

    /// Nobody puts a row under itself on purpose, or under what they see below it, unless the scenario is about that. What
    /// several people do to a tree while apart may close a cycle all the same.
    fn keep_trees(&self, who: Viewer, row: u32, set: &mut [(String, Expr)]) {
        if self.is_about_trees {
            return;
        }
        let table = self.tracker.table_of(row);
        for tree in self.app.policy.trees.iter().filter(|tree| tree.table == table) {
            let name = &self.app.schema.tables[table].columns[tree.column].name;
            for (_, value) in set.iter_mut().filter(|(column, _)| column == name) {
                if let Expr::Id(parent) = value
                    && self.tracker.is_known_below(who.device, tree.column, *parent, row)
                {
                    *value = Expr::Value(serde_json::Value::Null);
                }
            }
        }
    }

    /// Whether the row is the first of the plan with its unique key, or has none.
    pub(crate) fn take_key(&mut self, row: u32, set: &[(String, Expr)]) -> bool {
        let table = self.tracker.table_of(row);
        let Some(unique) = &self.layout.tables[table].unique else { return true };
        let columns = &self.app.schema.tables[table].columns;
        let mut key = String::new();
        for column in unique {
            let value = set.iter().find(|(name, _)| *name == columns[*column].name).map(|(_, value)| value);
            match value {
                Some(Expr::Value(value)) => key.push_str(&value.to_string()),
                Some(Expr::Id(row)) => key.push_str(&format!("#{row}")),
                Some(Expr::Now | Expr::Device) | None => {}
            }
            key.push('\n');
        }
        self.keys.insert((table, key))
    }
}
