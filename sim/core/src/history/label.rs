//! What rows, columns and places are called in words: `tasks#12.title`, `client/3`.

use fixtures::{App, Value};

use super::{History, RowId, Who, Writer};

impl History {
    /// `tasks#12`.
    #[must_use]
    pub fn row_label(&self, app: &App, row: RowId) -> String {
        match self.rows.get(row as usize).and_then(|name| app.schema.tables.get(name.table)) {
            Some(table) => format!("{}#{row}", table.name),
            None => format!("?#{row}"),
        }
    }

    /// `tasks#12.title`.
    #[must_use]
    pub fn column_label(&self, app: &App, row: RowId, column: usize) -> String {
        format!("{}.{}", self.row_label(app, row), self.column_name(app, row, column))
    }

    /// `tasks.title`: the role of a row's column, for comparing failures.
    #[must_use]
    pub fn column_role(&self, app: &App, row: RowId, column: usize) -> String {
        format!("{}.{}", self.row_role(app, row), self.column_name(app, row, column))
    }

    /// `tasks`: the role of a row.
    #[must_use]
    pub fn row_role(&self, app: &App, row: RowId) -> String {
        self.table_of(row)
            .and_then(|table| app.schema.tables.get(table))
            .map_or_else(String::new, |table| table.name.clone())
    }

    /// The table of a row; `None` when the history does not name the row.
    #[must_use]
    pub fn table_of(&self, row: RowId) -> Option<usize> {
        self.rows.get(row as usize).map(|name| name.table)
    }

    fn column_name<'a>(&self, app: &'a App, row: RowId, column: usize) -> &'a str {
        self.table_of(row)
            .and_then(|table| app.schema.tables.get(table))
            .and_then(|table| table.columns.get(column))
            .map_or("?", |column| column.name.as_str())
    }
}

/// `client/3`, `server`, `run`.
#[must_use]
pub fn who(who: Who) -> String {
    match who {
        Who::Client(device) => client(device),
        Who::Server => "server".to_owned(),
        Who::Run => "run".to_owned(),
    }
}

/// `client/3`.
#[must_use]
pub fn client(device: u32) -> String {
    format!("client/{device}")
}

/// `client/3 op 17`, `the server`.
#[must_use]
pub fn writer(writer: &Writer) -> String {
    match writer {
        Writer::Client { device, op_id } => format!("client/{device} op {op_id}"),
        Writer::Server => "the server".to_owned(),
        Writer::Other(text) => format!("an unknown writer ({text})"),
    }
}

/// A value as a sentence shows it: texts quoted and cut at 60 characters.
#[must_use]
pub fn value(value: &Value) -> String {
    match value {
        Value::Text(text) if text.chars().count() > 60 => {
            format!("\"{}…\" ({} characters)", text.chars().take(57).collect::<String>(), text.chars().count())
        }
        Value::Text(text) => format!("\"{text}\""),
        Value::Time(micros) => fixtures::value::time_to_iso(*micros),
        other => other.to_json().to_string(),
    }
}

/// Plan time as a sentence shows it: `12.345678 s`.
#[must_use]
pub fn time(at_us: i64) -> String {
    format!(
        "{}{}.{:06} s",
        if at_us < 0 { "-" } else { "" },
        at_us.unsigned_abs() / 1_000_000,
        at_us.unsigned_abs() % 1_000_000
    )
}
