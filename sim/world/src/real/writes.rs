//! Writes of the server's own, as SQL: what an administrator or a batch job does past the backend.

use backend::store::memory::ServerOp;
use fixtures::{ColumnDefault, Table, Type, Value};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::feed::{MARK, said};
use super::ground::Ground;
use crate::writes::Statement;

/// How often a transaction that met a deadlock is tried.
const TRIES: u32 = 10;

/// One transaction to be.
pub(super) struct Written {
    pub(super) statements: Vec<Statement>,
    /// For `DEFAULT now()`: PostgreSQL's own clock is not the plan's.
    pub(super) now_us: i64,
}

impl Written {
    /// Commits it.
    ///
    /// # Errors
    /// What the database said.
    pub(super) async fn run(&self, ground: &dyn Ground) -> Result<(), String> {
        let client = ground.connect().await?;
        for _ in 1..TRIES {
            match self.attempt(ground, &client).await {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                    client.batch_execute("ROLLBACK").await.map_err(|error| said(&error))?;
                }
                Err(error) => return Err(format!("a server-side write: {}", said(&error))),
            }
        }
        Err("a server-side write met one deadlock after the other".to_owned())
    }

    async fn attempt(&self, ground: &dyn Ground, client: &Client) -> Result<(), tokio_postgres::Error> {
        let tables = &ground.common().app.schema.tables;
        client.batch_execute(&format!("BEGIN;{MARK}")).await?;
        let mut sql = String::new();
        for Statement { op, names } in &self.statements {
            let mut is_complete = true;
            for (table, id) in names {
                let name = identifier(&tables[*table].name);
                // Nobody deletes it before this transaction has ended.
                let asked = format!("SELECT 1 FROM {name} WHERE id = {} FOR SHARE", literal(id));
                is_complete &= client.query_opt(&asked, &[]).await?.is_some();
            }
            if is_complete {
                sql.push_str(&statement(tables, op, self.now_us));
            }
        }
        client.batch_execute(&format!("{sql}COMMIT")).await
    }
}

fn statement(tables: &[Table], op: &ServerOp, now_us: i64) -> String {
    match op {
        ServerOp::Upsert { table, id, values } => {
            let declared = &tables[*table];
            let update = assignments(declared, values);
            let update = if update.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {update}") };
            format!("{} ON CONFLICT (id) DO {update};", insert(declared, id, values, now_us))
        }
        ServerOp::Update { table, id, values } => {
            let (name, update) = (identifier(&tables[*table].name), assignments(&tables[*table], values));
            if update.is_empty() {
                return String::new();
            }
            format!("UPDATE {name} SET {update} WHERE id = {};", literal(id))
        }
        ServerOp::Delete { table, id } => {
            format!("DELETE FROM {} WHERE id = {};", identifier(&tables[*table].name), literal(id))
        }
    }
}

fn assignments(declared: &Table, values: &[(usize, Value)]) -> String {
    let one = |(index, value): &(usize, Value)| {
        let column = &declared.columns[*index];
        format!("{} = {}", identifier(&column.name), typed(value, column.ty))
    };
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// An insert that names every column, and ends where `ON CONFLICT` may follow.
pub(super) fn insert(declared: &Table, id: &str, values: &[(usize, Value)], now_us: i64) -> String {
    let (mut names, mut texts) = (vec!["id".to_owned()], vec![literal(id)]);
    for (index, column) in declared.columns.iter().enumerate() {
        let set = values.iter().find(|(set, _)| *set == index).map(|(_, value)| value.clone());
        let value = set.unwrap_or_else(|| match &column.default {
            ColumnDefault::Null => Value::Null,
            ColumnDefault::Literal(value) => value.clone(),
            ColumnDefault::Now => Value::Time(now_us),
        });
        names.push(identifier(&column.name));
        texts.push(typed(&value, column.ty));
    }
    format!("INSERT INTO {} ({}) VALUES ({})", identifier(&declared.name), names.join(", "), texts.join(", "))
}

fn typed(value: &Value, ty: Type) -> String {
    match (value, value.to_json()) {
        (Value::Null, _) => "NULL".to_owned(),
        (_, serde_json::Value::String(text)) => format!("{}::{}", literal(&text), ty.sql_name()),
        (_, other) => format!("{}::{}", literal(&other.to_string()), ty.sql_name()),
    }
}

pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
