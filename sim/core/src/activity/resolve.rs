//! Names of tables, columns and slots, looked up once.

use std::collections::BTreeMap;

use fixtures::App;
use fixtures::ValueShape;
use serde_json::Value as Json;

use super::definition::{ActStep, Activity, Slot, Source, Term};
use super::format::{ActivityEntry, ListEntry, SourceEntry, StepEntry, TermEntry};
use crate::file_error::FieldError;
use crate::range::Range;

/// What a value may refer to.
pub(crate) struct TermScope<'a> {
    pub(crate) app: &'a App,
    /// The table and column that it is for; `None` where it is for none.
    pub(crate) column: Option<(usize, usize)>,
    /// The rows that it may name.
    pub(crate) slots: &'a [Slot],
    /// The names of the values that it may use.
    pub(crate) given: &'a [(String, Term)],
}

/// Looks up the names in a value.
pub(crate) fn resolve_term(entry: &TermEntry, scope: &TermScope<'_>) -> Result<Term, String> {
    Ok(match entry {
        TermEntry::Draw => match scope.column {
            Some((table, column)) => Term::Draw(table, column),
            None => return Err("\"draw\" is for a column; here it is { draw-as = \"table.column\" }".to_owned()),
        },
        TermEntry::DrawAs(path) => {
            let (table, column) = column_path(scope.app, path)?;
            Term::Draw(table, column)
        }
        TermEntry::Text => Term::Text,
        TermEntry::Now => Term::Now,
        TermEntry::Null => Term::Null,
        TermEntry::Device => Term::Device,
        TermEntry::Value(value) => Term::Value(scalar(value)?),
        TermEntry::OneOf(values) if values.is_empty() => return Err("one-of needs at least one value".to_owned()),
        TermEntry::OneOf(values) => Term::OneOf(values.iter().map(scalar).collect::<Result<_, _>>()?),
        TermEntry::Int(range) => Term::Int(*range),
        TermEntry::Id(name) => Term::Id(slot_named(scope.slots, name)?),
        TermEntry::Given(name) => {
            let found = scope.given.iter().position(|(given, _)| given == name);
            Term::Given(found.ok_or_else(|| format!("no value is named {name}; name it under `values`"))?)
        }
    })
}

fn scalar(value: &toml::Value) -> Result<Json, String> {
    match value {
        toml::Value::String(text) => Ok(Json::from(text.as_str())),
        toml::Value::Integer(number) => Ok(Json::from(*number)),
        toml::Value::Float(number) => Ok(Json::from(*number)),
        toml::Value::Boolean(_) => Err("a boolean column holds 0 or 1".to_owned()),
        _ => Err("a value is a text or a number; JSON is written as text".to_owned()),
    }
}

/// The indices of a table and its column, written `table.column`.
pub(crate) fn column_path(app: &App, path: &str) -> Result<(usize, usize), String> {
    let (table, column) = path.split_once('.').ok_or_else(|| format!("`{path}` is not written table.column"))?;
    let table = table_named(app, table)?;
    Ok((table, column_named(app, table, column)?))
}

/// The index of a table.
pub(crate) fn table_named(app: &App, name: &str) -> Result<usize, String> {
    app.schema.table_index(name).ok_or_else(|| {
        let names: Vec<&str> = app.schema.tables.iter().map(|table| table.name.as_str()).collect();
        format!("no table {name}; there are {}", names.join(", "))
    })
}

/// The index of a column.
pub(crate) fn column_named(app: &App, table: usize, name: &str) -> Result<usize, String> {
    let table = &app.schema.tables[table];
    table.column_index(name).ok_or_else(|| {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        format!("table {} has no column {name}; it has {}", table.name, names.join(", "))
    })
}

fn slot_named(slots: &[Slot], name: &str) -> Result<usize, String> {
    slots.iter().position(|slot| slot.name == name).ok_or_else(|| {
        let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        format!("no row is named {name}; under `rows` there are {}", names.join(", "))
    })
}

/// Looks up all names of an activity.
pub(super) fn activity(app: &App, name: &str, entry: &ActivityEntry) -> Result<Activity, FieldError> {
    let slots = slots(app, &entry.rows)?;
    let weight = entry.weight.unwrap_or(1.0);
    if !(weight >= 0.0 && weight.is_finite()) {
        return Err(("weight".to_owned(), "is a number from 0".to_owned()));
    }
    let mut given = Vec::new();
    for (name, entry) in &entry.values {
        let scope = TermScope { app, column: None, slots: &[], given: &[] };
        let term = resolve_term(entry, &scope).map_err(|problem| (format!("values.{name}"), problem))?;
        given.push((name.clone(), term));
    }
    if entry.steps.is_empty() {
        return Err(("do".to_owned(), "an activity does at least one thing".to_owned()));
    }
    let names = Names { app, slots: &slots, given: &given };
    let mut steps = Vec::new();
    for (index, step) in entry.steps.iter().enumerate() {
        steps.push(names.step(step).map_err(|problem| (format!("do[{index}]"), problem))?);
    }
    Ok(Activity { name: name.to_owned(), weight, slots, given, steps })
}

fn slots(app: &App, rows: &BTreeMap<String, SourceEntry>) -> Result<Vec<Slot>, FieldError> {
    let mut slots = Vec::new();
    for (name, entry) in rows {
        let source = match entry {
            SourceEntry::Pick(table) => table_named(app, table).map(Source::Pick),
            SourceEntry::New(table) => table_named(app, table).map(Source::New),
            SourceEntry::List(ListEntry { table, rows }) => table_named(app, table).map(|t| Source::List(t, *rows)),
            SourceEntry::Children(_) => continue,
        };
        let source = source.map_err(|problem| (format!("rows.{name}"), problem))?;
        slots.push(Slot { name: name.clone(), source });
    }
    for (name, entry) in rows {
        if let SourceEntry::Children(children) = entry {
            let at = |problem| (format!("rows.{name}"), problem);
            let of = slot_named(&slots, &children.of).map_err(at)?;
            let (table, column) = column_path(app, &children.column).map_err(at)?;
            slots.push(Slot { name: name.clone(), source: Source::Children { of, table, column } });
        }
    }
    Ok(slots)
}

struct Names<'a> {
    app: &'a App,
    slots: &'a [Slot],
    given: &'a [(String, Term)],
}

impl Names<'_> {
    fn step(&self, entry: &StepEntry) -> Result<ActStep, String> {
        Ok(match entry {
            StepEntry::Insert(insert) => {
                let slot = self.one(&insert.row)?;
                let set = self.set(slot, &insert.set)?;
                let table = &self.app.schema.tables[self.slots[slot].source.table()];
                let missing = table.columns.iter().enumerate().find(|(index, column)| {
                    column.not_null
                        && column.default == fixtures::ColumnDefault::Null
                        && !set.iter().any(|(set, _)| set == index)
                });
                if let Some((_, column)) = missing {
                    return Err(format!("insert: column {} may not be NULL: give it a value", column.name));
                }
                ActStep::Insert(slot, set, insert.replace)
            }
            StepEntry::Ensure(ensure) => {
                let slot = self.one(&ensure.row)?;
                let set = self.set(slot, &ensure.set)?;
                let table = self.slots[slot].source.table();
                let mut key = Vec::new();
                for name in &ensure.key {
                    let column = column_named(self.app, table, name)?;
                    if !set.iter().any(|(set, _)| *set == column) {
                        return Err(format!("ensure: column {name} is in `key` and needs a value in `set`"));
                    }
                    key.push(column);
                }
                ActStep::Ensure(slot, key, set)
            }
            StepEntry::Set(set) => {
                let slot = self.one(&set.row)?;
                ActStep::Set(slot, self.set(slot, &set.to)?)
            }
            StepEntry::Add(add) => {
                let (slot, column) = self.slot_column(&add.row, &add.column)?;
                ActStep::Add(slot, column, self.element(slot, column, &add.element)?)
            }
            StepEntry::Remove(remove) => {
                let (slot, column) = self.slot_column(&remove.row, &remove.column)?;
                let element = remove.element.as_ref().map(|element| self.element(slot, column, element)).transpose()?;
                ActStep::Remove(slot, column, element)
            }
            StepEntry::Increment(increment) => {
                let (slot, column) = self.slot_column(&increment.row, &increment.column)?;
                ActStep::Increment(slot, column, increment.by)
            }
            StepEntry::Move(step) => {
                let slot = slot_named(self.slots, &step.list)?;
                if !self.slots[slot].source.is_list() {
                    return Err(format!("move: {} is one row; it needs a list", step.list));
                }
                let column = column_named(self.app, self.slots[slot].source.table(), &step.column)?;
                ActStep::Move(slot, column, step.times.unwrap_or(Range::exactly(1.0)))
            }
            StepEntry::Delete(name) => ActStep::Delete(slot_named(self.slots, name)?),
            StepEntry::Read(names) => {
                ActStep::Read(names.iter().map(|name| slot_named(self.slots, name)).collect::<Result<_, _>>()?)
            }
        })
    }

    fn one(&self, name: &str) -> Result<usize, String> {
        let slot = slot_named(self.slots, name)?;
        if self.slots[slot].source.is_list() { Err(format!("{name} is a list; this needs one row")) } else { Ok(slot) }
    }

    fn slot_column(&self, row: &str, column: &str) -> Result<(usize, usize), String> {
        let slot = self.one(row)?;
        Ok((slot, column_named(self.app, self.slots[slot].source.table(), column)?))
    }

    fn set(&self, slot: usize, entries: &BTreeMap<String, TermEntry>) -> Result<Vec<(usize, Term)>, String> {
        let table = self.slots[slot].source.table();
        let mut set = Vec::new();
        for (name, entry) in entries {
            let column = column_named(self.app, table, name)?;
            let scope =
                TermScope { app: self.app, column: Some((table, column)), slots: self.slots, given: self.given };
            set.push((column, resolve_term(entry, &scope).map_err(|problem| format!("{name}: {problem}"))?));
        }
        Ok(set)
    }

    fn element(&self, slot: usize, column: usize, entry: &TermEntry) -> Result<Term, String> {
        let table = self.slots[slot].source.table();
        if matches!(entry, TermEntry::Draw) {
            return match self.app.generators[table][column].shape {
                ValueShape::Set(_) | ValueShape::SetOfRows(_) => Ok(Term::Element(table, column)),
                _ => Err("\"draw\" needs a column whose values in policy.toml are a set".to_owned()),
            };
        }
        let scope = TermScope { app: self.app, column: None, slots: self.slots, given: self.given };
        resolve_term(entry, &scope)
    }
}
