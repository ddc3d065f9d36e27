//! The application's SQL invariants, put to the server's final rows. Checkers are pure data and cannot run SQL, so
//! the answers become an event of the history.
//!
//! The rows are copied into an in-memory SQLite database with the schema's tables, instants as the text that clients
//! see. An invariant is thus one query in the part of SQL that PostgreSQL and SQLite share.

use fixtures::{App, Row, Schema, Type, Value};
use rusqlite::types::{ToSqlOutput, Value as Sql, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};
use sim_core::History;
use sim_core::history::{Event, InvariantAnswer, Scope, What, Who};

/// How many rows of an answer are shown.
const ROWS_SHOWN: usize = 5;

/// A database to put the invariants to.
pub struct InvariantDatabase {
    connection: Connection,
    inserts: Vec<String>,
}

impl InvariantDatabase {
    /// Makes the tables, and looks whether SQLite takes each invariant.
    ///
    /// # Errors
    /// The first invariant that it does not take, with its words.
    pub fn new(app: &App) -> Result<Self, String> {
        let words = |error: rusqlite::Error| error.to_string();
        let connection = Connection::open_in_memory().map_err(words)?;
        connection.set_prepared_statement_cache_capacity(256);
        for table in &app.schema.tables {
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|column| format!("{} {}", quoted(&column.name), affinity(column.ty)))
                .collect();
            let sql = format!("CREATE TABLE {} (id TEXT PRIMARY KEY, {})", quoted(&table.name), columns.join(", "));
            connection.execute_batch(&sql).map_err(words)?;
        }
        for invariant in &app.policy.invariants {
            connection.prepare(&invariant.sql).map_err(|error| {
                format!("policy.toml: invariants.{}: sql: SQLite does not take it ({error}); keep to the SQL that it shares with PostgreSQL", invariant.name)
            })?;
        }
        Ok(Self { connection, inserts: app.schema.tables.iter().map(insert).collect() })
    }

    /// Puts every invariant to the last final read of the server, and adds the answers to the history. A history
    /// without that read stays as it is.
    pub fn ask(&self, app: &App, history: &mut History) {
        if app.policy.invariants.is_empty() {
            return;
        }
        let last = history.events.iter().rev().find_map(|event| match &event.what {
            What::Read { scope: Scope::Final, rows } if event.who == Who::Server => Some((event.at_us, rows)),
            _ => None,
        });
        let Some((at_us, rows)) = last else { return };
        let filled = self.fill(&app.schema, history, rows);
        let answers = app
            .policy
            .invariants
            .iter()
            .map(|invariant| {
                let answer = match &filled {
                    Ok(()) => {
                        self.query(&invariant.sql).unwrap_or_else(|error| InvariantAnswer::NotAsked(error.to_string()))
                    }
                    Err(error) => InvariantAnswer::NotAsked(error.to_string()),
                };
                (invariant.name.clone(), answer)
            })
            .collect();
        history.events.push(Event { at_us, who: Who::Server, what: What::Invariants { answers } });
    }

    fn fill(
        &self,
        schema: &Schema,
        history: &History,
        rows: &[(sim_core::history::RowId, Option<Row>)],
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        for table in &schema.tables {
            self.connection.prepare_cached(&format!("DELETE FROM {}", quoted(&table.name)))?.execute([])?;
        }
        for (row, image) in rows {
            let Some(image) = image else { continue };
            let name = &history.rows[*row as usize];
            let id = Value::Text(name.id.clone());
            let values = std::iter::once(&id).chain(image.iter()).map(Bound);
            self.connection.prepare_cached(&self.inserts[name.table])?.execute(params_from_iter(values))?;
        }
        transaction.commit()
    }

    fn query(&self, sql: &str) -> rusqlite::Result<InvariantAnswer> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let width = statement.column_count();
        let mut rows = statement.query([])?;
        let mut shown = Vec::new();
        while let Some(row) = rows.next()? {
            if shown.len() == ROWS_SHOWN {
                shown.push("more".to_owned());
                break;
            }
            let cells = (0..width).map(|column| row.get_ref(column).map(text)).collect::<rusqlite::Result<Vec<_>>>()?;
            shown.push(cells.join(", "));
        }
        Ok(if shown.is_empty() { InvariantAnswer::Holds } else { InvariantAnswer::Broken(shown) })
    }
}

/// A value as SQLite takes it.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Owned(Sql::Null),
            Value::Int(int) => ToSqlOutput::Owned(Sql::Integer(*int)),
            Value::Real(real) => ToSqlOutput::Owned(Sql::Real(*real)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Time(at_us) => ToSqlOutput::Owned(Sql::Text(fixtures::value::time_to_iso(*at_us))),
        })
    }
}

fn insert(table: &fixtures::Table) -> String {
    let marks = vec!["?"; table.columns.len() + 1].join(", ");
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    format!("INSERT INTO {} (id, {}) VALUES ({marks})", quoted(&table.name), columns.join(", "))
}

fn affinity(ty: Type) -> &'static str {
    match ty {
        Type::SmallInt | Type::Integer | Type::BigInt | Type::Boolean => "INTEGER",
        Type::Real | Type::Double => "REAL",
        _ => "TEXT",
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(int) => int.to_string(),
        ValueRef::Real(real) => real.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(blob) => format!("{} bytes", blob.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One server with these settings in the end.
    fn judged(rows: &[(&str, &str)]) -> Vec<(String, InvariantAnswer)> {
        let app = App::builtin("flowstate").expect("it is built in");
        let table = app.policy.uniques[0].table;
        let key = app.policy.uniques[0].columns[0];
        let width = app.schema.tables[table].columns.len();
        let mut history = History {
            header: sim_core::history::Header {
                v: sim_core::history::VERSION,
                app: app.name.clone(),
                scenario: "unit".to_owned(),
                seed: sim_core::Seed(1),
                world: "deterministic".to_owned(),
                time: sim_core::history::Time::Virtual,
                policy: "field-merge".to_owned(),
                devices: Vec::new(),
            },
            rows: rows.iter().map(|(id, _)| sim_core::history::RowName { table, id: (*id).into() }).collect(),
            events: Vec::new(),
        };
        let images = (0..).zip(rows).map(|(row, (_, value))| {
            let mut image = vec![Value::Null; width];
            image[key] = Value::Text((*value).into());
            (row, Some(image.into()))
        });
        let read = What::Read { scope: Scope::Final, rows: images.collect() };
        history.events.push(Event { at_us: 7, who: Who::Server, what: read });
        InvariantDatabase::new(&app).expect("SQLite takes the invariants").ask(&app, &mut history);
        match &history.events.last().expect("an event was added").what {
            What::Invariants { answers } => answers.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_invariant_that_returns_rows_is_broken() {
        assert!(judged(&[("s1", "a"), ("s2", "b")]).iter().all(|(_, answer)| *answer == InvariantAnswer::Holds));
        let broken = judged(&[("s1", "a"), ("s2", "a"), ("s3", "b")]);
        let broken: Vec<_> = broken.into_iter().filter(|(_, answer)| *answer != InvariantAnswer::Holds).collect();
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert_eq!(broken[0].1, InvariantAnswer::Broken(vec!["a".to_owned()]));
    }
}
