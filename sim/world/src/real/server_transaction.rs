//! Server-side writes as SQL: what an administrator or a batch job does past the backend.

use backend::store::memory::ServerOp;
use fixtures::{Table, Value};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::commit_log::EMIT_MARK;
use super::environment::Environment;
use super::sql::{error_text, identifier, insert, literal, typed_literal};
use crate::server_write::WriteStatement;

/// How often a transaction that met a deadlock is tried.
const TRIES: u32 = 10;

/// One transaction that bypasses the backend.
pub(super) struct ServerTransaction {
    pub(super) statements: Vec<WriteStatement>,
    /// For `DEFAULT now()`: PostgreSQL's own clock is not the plan's.
    pub(super) now_us: i64,
}

impl ServerTransaction {
    /// Commits it.
    ///
    /// # Errors
    /// What the database said.
    pub(super) async fn commit(&self, environment: &dyn Environment) -> Result<(), String> {
        let client = environment.connect().await?;
        for _ in 1..TRIES {
            match self.attempt(environment, &client).await {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                    client.batch_execute("ROLLBACK").await.map_err(|error| error_text(&error))?;
                }
                Err(error) => return Err(format!("a server-side write: {}", error_text(&error))),
            }
        }
        Err("a server-side write met one deadlock after the other".to_owned())
    }

    async fn attempt(&self, environment: &dyn Environment, client: &Client) -> Result<(), tokio_postgres::Error> {
        let tables = &environment.base().app.schema.tables;
        client.batch_execute(&format!("BEGIN;{EMIT_MARK}")).await?;
        let mut sql = String::new();
        for WriteStatement { op, parents } in &self.statements {
            let mut has_parents = true;
            for (table, id) in parents {
                let name = identifier(&tables[*table].name);
                // Nobody deletes it before this transaction has ended.
                let lock = format!("SELECT 1 FROM {name} WHERE id = {} FOR SHARE", literal(id));
                has_parents &= client.query_opt(&lock, &[]).await?.is_some();
            }
            if has_parents {
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
        format!("{} = {}", identifier(&column.name), typed_literal(value, column.ty))
    };
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}
