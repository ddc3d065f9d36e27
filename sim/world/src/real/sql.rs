//! SQL as text: names, values, rows, and what the database says when it refuses.

use fixtures::{ColumnDefault, Row, Table, Type, Value};
use tokio_postgres::Client;

pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value as a literal of a column's type.
pub(crate) fn typed_literal(value: &Value, ty: Type) -> String {
    match (value, value.to_json()) {
        (Value::Null, _) => "NULL".to_owned(),
        (_, serde_json::Value::String(text)) => format!("{}::{}", literal(&text), ty.sql_name()),
        (_, other) => format!("{}::{}", literal(&other.to_string()), ty.sql_name()),
    }
}

/// An insert that names every column, and ends where `ON CONFLICT` may follow.
pub(crate) fn insert(declared: &Table, id: &str, values: &[(usize, Value)], now_us: i64) -> String {
    let (mut names, mut literals) = (vec!["id".to_owned()], vec![literal(id)]);
    for (index, column) in declared.columns.iter().enumerate() {
        let is_set = values.iter().any(|(set, _)| *set == index);
        if column.default == ColumnDefault::Expression && !is_set {
            // The database alone knows what it is.
            continue;
        }
        let set = values.iter().find(|(set, _)| *set == index).map(|(_, value)| value.clone());
        let value = set.unwrap_or_else(|| match &column.default {
            ColumnDefault::Null | ColumnDefault::Expression => Value::Null,
            ColumnDefault::Literal(value) => value.clone(),
            // PostgreSQL's own clock is not the plan's.
            ColumnDefault::Now => Value::Time(now_us),
        });
        names.push(identifier(&column.name));
        literals.push(typed_literal(&value, column.ty));
    }
    format!("INSERT INTO {} ({}) VALUES ({})", identifier(&declared.name), names.join(", "), literals.join(", "))
}

/// Every row of a table, or those with these ids; with its id.
pub(crate) async fn table_rows(
    client: &Client,
    declared: &Table,
    ids: Option<&[&str]>,
) -> Result<Vec<(String, Row)>, String> {
    let columns: Vec<String> =
        declared.columns.iter().map(|column| format!(", {}", identifier(&column.name))).collect();
    let condition = match ids {
        None => String::new(),
        Some([]) => return Ok(Vec::new()),
        Some(ids) => format!(" WHERE id IN ({})", ids.iter().map(|id| literal(id)).collect::<Vec<_>>().join(", ")),
    };
    let sql = format!("SELECT id{} FROM {}{condition} ORDER BY id", columns.concat(), identifier(&declared.name));
    let answer = client.simple_query(&sql).await.map_err(|error| error_text(&error))?;
    let mut rows = Vec::new();
    for message in &answer {
        let tokio_postgres::SimpleQueryMessage::Row(row) = message else { continue };
        let values = declared.columns.iter().zip(1..).map(|(column, index)| match row.get(index) {
            None => Ok(Value::Null),
            Some(text) => Value::from_text(column.ty, text).map_err(|error| format!("{}: {error}", column.name)),
        });
        rows.push((row.get(0).unwrap_or_default().to_owned(), values.collect::<Result<Vec<_>, _>>()?.into()));
    }
    Ok(rows)
}

/// What the database said, rather than that it said something.
pub(crate) fn error_text(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}
