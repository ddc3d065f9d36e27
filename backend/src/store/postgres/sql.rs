//! The statements on the application's tables, and a check that the database matches `schema.sql`.
//!
//! No name in any statement comes from a request: tables and columns are those of `schema.sql`, quoted. Tables are
//! qualified with the schema in which the database has them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tokio_postgres::Client;

use crate::rules::{Rules, TableRules};
use crate::store::postgres::error::PrepareError;
use crate::store::postgres::value::is_of_type;

/// The statements of all tables.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) tables: Vec<TableSql>,
    /// One for each reference: the rows that refer to a parent.
    pub(super) children: Vec<String>,
    /// One for each unique key: the row that holds it.
    pub(super) holders: Vec<String>,
    /// One for each exclusive invariant: the rows that are running.
    pub(super) running: Vec<String>,
    /// The columns of each unique index and primary key, as errors name them: (table, columns).
    pub(super) keys: BTreeMap<String, (usize, Vec<String>)>,
}

/// The statements of one table. `$1` is the id, the columns follow in schema order.
#[derive(Debug)]
pub(super) struct TableSql {
    /// The quoted, qualified name.
    pub(super) name: String,
    /// The rows of some ids (`$1`), locked: id, columns.
    pub(super) lock: String,
    /// All rows.
    pub(super) all: String,
    pub(super) insert: String,
    pub(super) update: String,
    pub(super) delete: String,
    /// The name of the primary key's constraint.
    pub(super) primary: String,
}

/// A name as SQL writes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Sql {
    /// Looks the tables up in the database and builds the statements.
    pub(super) async fn build(rules: &Rules, client: &Client) -> Result<Self, PrepareError> {
        let mut keys = BTreeMap::new();
        let mut tables = Vec::with_capacity(rules.tables.len());
        for table in &rules.tables {
            let actual = ActualTable::read(table, client).await?;
            actual.check(table)?;
            for reference in &table.references {
                let column = &table.columns[rules.references[*reference].column].name;
                if !actual.is_indexed(column) {
                    tracing::info!(table = %table.name, %column, "no index begins with this reference, so deleting its parent reads the whole table");
                }
            }
            for (name, columns) in &actual.keys {
                keys.insert(name.clone(), (table.index, columns.clone()));
            }
            tables.push(actual.statements(table));
        }
        let column = |table: usize, column: usize| quoted(&rules.tables[table].columns[column].name);
        let ids = |table: usize, condition: String| {
            let name = &tables[table].name;
            format!("SELECT \"id\" FROM {name} WHERE {condition} ORDER BY \"id\" COLLATE \"C\" FOR UPDATE")
        };
        let holder = |columns: &[usize], table: usize| {
            let equal: Vec<String> =
                columns.iter().zip(1..).map(|(index, n)| format!("{} = ${n}", column(table, *index))).collect();
            ids(table, equal.join(" AND "))
        };
        let equals = |table: usize, index: usize| ids(table, format!("{} = $1", column(table, index)));
        Ok(Self {
            children: rules.references.iter().map(|r| equals(r.table, r.column)).collect(),
            holders: rules.uniques.iter().map(|u| holder(&u.columns, u.table)).collect(),
            running: rules.exclusives.iter().map(|e| equals(e.table, e.running)).collect(),
            keys,
            tables,
        })
    }
}

/// A table as it is in the database.
struct ActualTable {
    schema: String,
    name: String,
    /// Name, type, NOT NULL, whether it has a default.
    columns: Vec<(String, u32, bool, bool)>,
    /// Unique indexes: name, columns.
    keys: Vec<(String, Vec<String>)>,
    primary: String,
    /// The first column of each index.
    indexed: Vec<String>,
}

impl ActualTable {
    async fn read(table: &TableRules, client: &Client) -> Result<Self, PrepareError> {
        let row = client
            .query_opt(
                "SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p')",
                &[&quoted(&table.name)],
            )
            .await?;
        let Some(row) = row else {
            return Err(PrepareError::Mismatch(format!(
                "the database has no table {}; execute the application's schema.sql first",
                table.name
            )));
        };
        let oid: u32 = row.get(0);
        let columns = client
            .query(
                "SELECT attname, atttypid, attnotnull, atthasdef OR attidentity <> '' FROM pg_attribute
                 WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                &[&oid],
            )
            .await?;
        let indexes = client
            .query(
                "SELECT c.relname, i.indisprimary, i.indisunique AND i.indpred IS NULL,
                     ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(n, at)
                           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n
                           WHERE k.at <= i.indnkeyatts ORDER BY k.at)
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1",
                &[&oid],
            )
            .await?;
        let mut actual = Self {
            schema: row.get(1),
            name: row.get(2),
            columns: columns.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect(),
            keys: Vec::new(),
            primary: String::new(),
            indexed: Vec::new(),
        };
        for row in &indexes {
            let (name, is_primary, is_unique): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
            let columns: Vec<String> = row.get(3);
            actual.indexed.extend(columns.first().cloned());
            if is_primary {
                actual.primary.clone_from(&name);
            }
            if is_unique {
                actual.keys.push((name, columns));
            }
        }
        Ok(actual)
    }

    fn check(&self, table: &TableRules) -> Result<(), PrepareError> {
        let mismatch = |text: String| Err(PrepareError::Mismatch(text));
        let keyed_by_id = self.keys.iter().any(|(name, columns)| *name == self.primary && columns.as_slice() == ["id"]);
        let id = self.columns.iter().find(|(name, ..)| name == "id");
        if !keyed_by_id || !id.is_some_and(|(_, ty, ..)| is_of_type(fixtures::Type::Text, *ty)) {
            return mismatch(format!("table {} of the database lacks the primary key id TEXT", table.name));
        }
        for column in &table.columns {
            let ours = format!("{}.{}", table.name, column.name);
            match self.columns.iter().find(|(name, ..)| *name == column.name) {
                None => return mismatch(format!("the database has no column {ours}")),
                Some((_, ty, ..)) if !is_of_type(column.ty, *ty) => {
                    return mismatch(format!("{ours} is not of type {} in the database", column.ty.sql_name()));
                }
                Some(_) => {}
            }
        }
        for (name, _, is_required, is_filled) in &self.columns {
            let is_ours = name == "id" || table.column(name).is_some();
            if !is_ours && *is_required && !*is_filled {
                return mismatch(format!("{}.{name} of the database is NOT NULL, and schema.sql lacks it", table.name));
            }
        }
        Ok(())
    }

    /// Whether an index begins with the column.
    fn is_indexed(&self, column: &str) -> bool {
        self.indexed.iter().any(|first| first == column)
    }

    fn statements(&self, table: &TableRules) -> TableSql {
        let name = format!("{}.{}", quoted(&self.schema), quoted(&self.name));
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let list = columns.join(", ");
        let places: Vec<String> = (2..columns.len() + 2).map(|n| format!("${n}")).collect();
        let is_generated = |index: usize| table.generated.contains(&index);
        let written: Vec<usize> = (0..columns.len()).filter(|index| !is_generated(*index)).collect();
        // PostgreSQL must know the type of each parameter, and no statement may name a generated column.
        let mut unused = String::new();
        for index in (0..columns.len()).filter(|index| is_generated(*index)) {
            let ty = table.columns[index].ty.sql_name();
            write!(unused, " AND ({}::{ty} IS NULL OR TRUE)", places[index]).expect("memory takes text");
        }
        let part = |of: &dyn Fn(usize) -> String| written.iter().map(|index| of(*index)).collect::<Vec<_>>().join(", ");
        let assignments = part(&|index| format!("{} = {}", columns[index], places[index]));
        let names = part(&|index| columns[index].clone());
        let values = part(&|index| places[index].clone());
        let insert = if unused.is_empty() {
            format!("INSERT INTO {name} (\"id\", {names}) VALUES ($1, {values})")
        } else {
            format!(
                "INSERT INTO {name} (\"id\", {names}) SELECT $1::text, {} WHERE TRUE{unused}",
                part(&|index| { format!("{}::{}", places[index], table.columns[index].ty.sql_name()) })
            )
        };
        TableSql {
            lock: format!(
                "SELECT \"id\", {list} FROM {name} WHERE \"id\" = ANY($1) ORDER BY \"id\" COLLATE \"C\" FOR UPDATE"
            ),
            all: format!("SELECT \"id\", {list} FROM {name} ORDER BY \"id\" COLLATE \"C\""),
            insert,
            update: format!("UPDATE {name} SET {assignments} WHERE \"id\" = $1{unused}"),
            delete: format!("DELETE FROM {name} WHERE \"id\" = $1"),
            primary: self.primary.clone(),
            name,
        }
    }
}
