//! Turns the intents of a plan into SQL, from what the device sees at that moment.
//!
//! It knows the plan's symbolic rows and the device's aliases of them; it knows neither network nor world.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::App;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use sim_core::Plan;
use sim_core::plan::{Expr, Intent};

use crate::error::DeviceError;

/// Symbolic rows that a device knows under another id than their own, because they were merged or were there already.
#[derive(Clone, Debug, Default)]
pub struct RowAliases(BTreeMap<u32, Arc<str>>);

/// What came of a transaction's intents.
#[derive(Debug, Default)]
pub struct IntentResults {
    /// How many were skipped.
    pub skipped: u32,
    /// Symbolic rows that turned out to have another id.
    pub aliases: Vec<(u32, Arc<str>)>,
    /// Rows that somebody looked at: table and id.
    pub reads: Vec<(usize, String)>,
}

/// Runs intents as one device sees them at one moment.
#[derive(Clone, Copy)]
pub struct Interpreter<'a> {
    /// The application.
    pub app: &'a App,
    /// The plan.
    pub plan: &'a Plan,
    /// The other ids of symbolic rows that the device knows.
    pub row_aliases: &'a RowAliases,
    /// The device.
    pub device: u32,
    /// The device's clock, in microseconds since 1970.
    pub clock_us: i64,
}

impl RowAliases {
    /// From now on the symbolic row has this id.
    pub fn set(&mut self, row: u32, id: Arc<str>) {
        self.0.insert(row, id);
    }
}

impl Interpreter<'_> {
    /// Runs all intents, within the transaction that the caller has opened.
    ///
    /// # Errors
    /// SQLite's.
    pub fn run(&self, connection: &Connection, intents: &[Intent]) -> Result<IntentResults, DeviceError> {
        let mut transaction = Transaction { interpreter: *self, connection, results: IntentResults::default() };
        for intent in intents {
            if !transaction.run(intent)? {
                transaction.results.skipped += 1;
            }
        }
        Ok(transaction.results)
    }

    /// The id under which the device knows a symbolic row.
    #[must_use]
    pub fn id(&self, row: u32) -> String {
        self.row_aliases.0.get(&row).map_or_else(|| self.plan.row_id(row), ToString::to_string)
    }

    fn table(&self, row: u32) -> usize {
        let name = &self.plan.rows[row as usize];
        self.app.schema.table_index(name).expect("plans are checked against the schema")
    }
}

struct Transaction<'a> {
    interpreter: Interpreter<'a>,
    connection: &'a Connection,
    results: IntentResults,
}

impl Transaction<'_> {
    /// `false`: the intent was skipped.
    fn run(&mut self, intent: &Intent) -> Result<bool, DeviceError> {
        match intent {
            Intent::Insert { row, set, replace } => {
                let (table, id) = (self.interpreter.table(*row), self.id(*row));
                if !replace && self.is_visible(table, &id)? {
                    return Ok(false);
                }
                self.insert(table, &id, set, *replace)?;
            }
            Intent::Ensure { row, key, set } => {
                let table = self.interpreter.table(*row);
                match self.find(table, key, set)? {
                    Some(id) => {
                        let rest: Vec<_> = set.iter().filter(|(name, _)| !key.contains(name)).cloned().collect();
                        self.update(table, &id, &rest)?;
                        self.results.aliases.push((*row, Arc::from(id)));
                    }
                    None => {
                        let id = self.id(*row);
                        if self.is_visible(table, &id)? {
                            return Ok(false);
                        }
                        self.insert(table, &id, set, false)?;
                    }
                }
            }
            Intent::Set { row, set } => {
                let (table, id) = (self.interpreter.table(*row), self.id(*row));
                if !self.is_visible(table, &id)? {
                    return Ok(false);
                }
                self.update(table, &id, set)?;
            }
            Intent::Add { row, column, element } => {
                return self.edit_set(*row, column, element, true);
            }
            Intent::Remove { row, column, element } => {
                return self.edit_set(*row, column, element, false);
            }
            Intent::Increment { row, column, by } => {
                let (table, id) = (self.interpreter.table(*row), self.id(*row));
                if !self.is_visible(table, &id)? {
                    return Ok(false);
                }
                let old: i64 = self
                    .connection
                    .prepare_cached(&format!(
                        "SELECT coalesce(\"{column}\", 0) FROM \"{}\" WHERE id = ?1",
                        self.name(table)
                    ))?
                    .query_row([&id], |row| row.get(0))?;
                self.write(table, &id, vec![(column.as_str(), Sql::Integer(old.saturating_add(*by)))])?;
            }
            Intent::MoveAfter { row, after, column, list } => return self.move_after(*row, *after, column, list),
            Intent::Delete { row } => {
                let (table, id) = (self.interpreter.table(*row), self.id(*row));
                if !self.is_visible(table, &id)? {
                    return Ok(false);
                }
                self.connection
                    .prepare_cached(&format!("DELETE FROM \"{}\" WHERE id = ?1", self.name(table)))?
                    .execute([&id])?;
            }
            Intent::Read { rows } => {
                for row in rows {
                    self.results.reads.push((self.interpreter.table(*row), self.id(*row)));
                }
            }
        }
        Ok(true)
    }

    fn edit_set(&mut self, row: u32, column: &str, element: &Expr, add: bool) -> Result<bool, DeviceError> {
        let (table, id) = (self.interpreter.table(row), self.id(row));
        let sql = format!("SELECT \"{column}\" FROM \"{}\" WHERE id = ?1", self.name(table));
        let Some(old) =
            self.connection.prepare_cached(&sql)?.query_row([&id], |row| row.get::<_, Option<String>>(0)).optional()?
        else {
            return Ok(false);
        };
        let mut elements: Vec<serde_json::Value> =
            old.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let element = match self.value(element) {
            Sql::Text(text) => serde_json::Value::String(text),
            _ => return Ok(false),
        };
        let present = elements.contains(&element);
        if add && !present {
            elements.push(element);
        } else if !add {
            if !present {
                return Ok(false);
            }
            elements.retain(|one| *one != element);
        }
        let text = serde_json::Value::Array(elements).to_string();
        self.write(table, &id, vec![(column, Sql::Text(text))])?;
        Ok(true)
    }

    fn move_after(&mut self, row: u32, after: Option<u32>, column: &str, list: &[u32]) -> Result<bool, DeviceError> {
        let table = self.interpreter.table(row);
        let moving = self.id(row);
        let sql = format!("SELECT coalesce(\"{column}\", 0) FROM \"{}\" WHERE id = ?1", self.name(table));
        let mut positions: Vec<(i64, String)> = Vec::new();
        for member in list {
            let id = self.id(*member);
            let position =
                self.connection.prepare_cached(&sql)?.query_row([&id], |row| row.get::<_, i64>(0)).optional()?;
            if let Some(position) = position {
                positions.push((position, id));
            }
        }
        positions.sort();
        let Some(from) = positions.iter().position(|(_, id)| *id == moving) else { return Ok(false) };
        let moved = positions.remove(from);
        let to = match after {
            None => 0,
            Some(after) => {
                let after = self.id(after);
                match positions.iter().position(|(_, id)| *id == after) {
                    Some(index) => index + 1,
                    None => return Ok(false),
                }
            }
        };
        positions.insert(to, moved);
        for (position, (old, id)) in (0i64..).zip(&positions) {
            if position != *old || *id == moving {
                self.write(table, id, vec![(column, Sql::Integer(position))])?;
            }
        }
        Ok(true)
    }

    fn find(&self, table: usize, key: &[String], set: &[(String, Expr)]) -> Result<Option<String>, DeviceError> {
        let mut sql = format!("SELECT id FROM \"{}\" WHERE ", self.name(table));
        let mut values = Vec::new();
        for (index, name) in key.iter().enumerate() {
            if index > 0 {
                sql.push_str(" AND ");
            }
            sql.push_str(&format!("\"{name}\" IS ?{}", index + 1));
            let expr = set.iter().find(|(column, _)| column == name).map_or(&Expr::Now, |(_, expr)| expr);
            values.push(self.value(expr));
        }
        sql.push_str(" ORDER BY id LIMIT 1");
        Ok(self.connection.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0)).optional()?)
    }

    fn insert<'b>(
        &'b self,
        table: usize,
        id: &str,
        set: &'b [(String, Expr)],
        replace: bool,
    ) -> Result<(), DeviceError> {
        let mut columns: Vec<(&str, Sql)> = set.iter().map(|(name, expr)| (name.as_str(), self.value(expr))).collect();
        self.stamp(table, &mut columns);
        let mut sql = format!("INSERT {}INTO \"{}\"(id", if replace { "OR REPLACE " } else { "" }, self.name(table));
        for (name, _) in &columns {
            sql.push_str(&format!(", \"{name}\""));
        }
        sql.push_str(") VALUES (?1");
        for index in 0..columns.len() {
            sql.push_str(&format!(", ?{}", index + 2));
        }
        sql.push(')');
        let values = std::iter::once(Sql::Text(id.to_owned())).chain(columns.into_iter().map(|(_, value)| value));
        self.connection.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        Ok(())
    }

    fn update<'b>(&'b self, table: usize, id: &str, set: &'b [(String, Expr)]) -> Result<(), DeviceError> {
        let columns = set.iter().map(|(name, expr)| (name.as_str(), self.value(expr))).collect();
        self.write(table, id, columns)
    }

    fn write<'b>(&'b self, table: usize, id: &str, mut columns: Vec<(&'b str, Sql)>) -> Result<(), DeviceError> {
        self.stamp(table, &mut columns);
        if columns.is_empty() {
            return Ok(());
        }
        let mut sql = format!("UPDATE \"{}\" SET ", self.name(table));
        for (index, (name, _)) in columns.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            sql.push_str(&format!("{comma}\"{name}\" = ?{}", index + 1));
        }
        sql.push_str(&format!(" WHERE id = ?{}", columns.len() + 1));
        let values = columns.into_iter().map(|(_, value)| value).chain(std::iter::once(Sql::Text(id.to_owned())));
        self.connection.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        Ok(())
    }

    /// Adds the table's clock column, as apps do, unless it is set.
    fn stamp<'b>(&'b self, table: usize, columns: &mut Vec<(&'b str, Sql)>) {
        let app = self.interpreter.app;
        let Some(clock) = app.policy.tables[table].clock else { return };
        let name = &app.schema.tables[table].columns[clock].name;
        if !columns.iter().any(|(column, _)| column == name) {
            columns.push((name, Sql::Text(clock_text(self.interpreter.clock_us))));
        }
    }

    fn is_visible(&self, table: usize, id: &str) -> Result<bool, DeviceError> {
        Ok(self
            .connection
            .prepare_cached(&format!("SELECT 1 FROM \"{}\" WHERE id = ?1", self.name(table)))?
            .query_row([id], |_| Ok(()))
            .optional()?
            .is_some())
    }

    fn value(&self, expr: &Expr) -> Sql {
        match expr {
            Expr::Value(json) => match json {
                serde_json::Value::Null => Sql::Null,
                serde_json::Value::Bool(flag) => Sql::Integer(i64::from(*flag)),
                serde_json::Value::Number(number) => match number.as_i64() {
                    Some(int) => Sql::Integer(int),
                    None => Sql::Real(number.as_f64().unwrap_or(0.0)),
                },
                serde_json::Value::String(text) => Sql::Text(text.clone()),
                other => Sql::Text(other.to_string()),
            },
            Expr::Id(row) => Sql::Text(self.id(*row)),
            Expr::Now => Sql::Text(clock_text(self.interpreter.clock_us)),
            Expr::Device => Sql::Text(format!("device-{}", self.interpreter.device)),
        }
    }

    fn id(&self, row: u32) -> String {
        self.interpreter.id(row)
    }

    fn name(&self, table: usize) -> &str {
        &self.interpreter.app.schema.tables[table].name
    }
}

/// ISO 8601 with milliseconds and `Z`, as JavaScript's `toISOString` and most apps write an instant.
#[must_use]
pub fn clock_text(micros: i64) -> String {
    let iso = fixtures::value::time_to_iso(micros.div_euclid(1000) * 1000);
    match iso.strip_suffix("000Z") {
        Some(head) => format!("{head}Z"),
        None => iso,
    }
}
