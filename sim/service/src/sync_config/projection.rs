//! Select lists of data queries: resolved once, then written as the row data of each row.

use std::sync::Arc;

use fixtures::{Row, Schema, Value};
use sqlparser::ast::SelectItem;

use super::expression::{Expression, Input};
use super::select::output_name;
use super::sql_expression::Scope;
use crate::json::{TimeFormat, value_text, write_string, write_value};

/// A select list over one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The table.
    pub table: usize,
    /// The table on the client.
    pub object_type: Arc<str>,
    /// The row on the client; `None` when it is the source's id.
    pub object_id: Option<Expression>,
    /// `"name":` and where the value comes from.
    pub columns: Vec<(String, ProjectedValue)>,
}

/// Where a value of row data comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum ProjectedValue {
    /// The id.
    Id,
    /// A column, by index: written with its PostgreSQL type.
    Column(usize),
    /// A `bytea` column, by index: NULL is written, other values are left out.
    Bytea(usize),
    /// An expression over the row.
    Computed(Expression),
}

impl Projection {
    /// The row's id on the client.
    #[must_use]
    pub fn client_id(&self, id: &Arc<str>, row: &Row, format: TimeFormat) -> Arc<str> {
        match &self.object_id {
            None => id.clone(),
            Some(expression) => match expression.evaluate(Input::Row(id, row, format)) {
                Value::Text(text) => text,
                Value::Null => Arc::from(""),
                other => Arc::from(value_text(&other, format)),
            },
        }
    }

    /// Appends the row data.
    pub fn write(&self, out: &mut String, schema: &Schema, id: &str, row: &Row, format: TimeFormat) {
        let columns = &schema.tables[self.table].columns;
        out.push('{');
        let mut first = true;
        for (name, source) in &self.columns {
            if matches!(source, ProjectedValue::Bytea(column) if !row[*column].is_null()) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            out.push_str(name);
            match source {
                ProjectedValue::Bytea(_) => out.push_str("null"),
                ProjectedValue::Id => write_string(out, id),
                ProjectedValue::Column(column) => write_value(out, &row[*column], columns[*column].ty, format),
                ProjectedValue::Computed(expression) => {
                    let value = expression.evaluate(Input::Row(id, row, format));
                    write_value(out, &value, fixtures::Type::Double, format);
                }
            }
        }
        out.push('}');
    }
}

/// Resolves a select list into row data.
///
/// # Errors
/// What is not supported, or that `id` is not selected.
pub(super) fn projection(
    items: &[SelectItem],
    schema: &Schema,
    table: usize,
    alias: &str,
    scope: Scope<'_>,
) -> Result<Projection, String> {
    let mut named: Vec<(String, ProjectedValue, bool)> = Vec::new();
    let columns = &schema.tables[table].columns;
    let star = |named: &mut Vec<(String, ProjectedValue, bool)>| {
        // `*` skips names that start with `_`, and columns that are also selected by name.
        // Schemas leave out `id` where it is the key. A table that lists it has another key.
        let implicit = (schema.tables[table].column_index("id").is_none()).then_some(("id", ProjectedValue::Id));
        let all = implicit.into_iter().chain(
            columns.iter().enumerate().map(|(index, column)| (column.name.as_str(), ProjectedValue::Column(index))),
        );
        for (name, source) in all {
            if !name.starts_with('_') && named.iter().all(|(taken, ..)| taken != name) {
                named.push((name.to_owned(), source, false));
            }
        }
    };
    for item in items {
        let (expr, name) = match item {
            SelectItem::Wildcard(options) if options.to_string().is_empty() || options.to_string() == "*" => {
                star(&mut named);
                continue;
            }
            SelectItem::QualifiedWildcard(kind, _) if item.to_string() == format!("{alias}.*") => {
                let _ = kind;
                star(&mut named);
                continue;
            }
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            SelectItem::UnnamedExpr(expr) => (expr, output_name(expr)?),
            other => return Err(format!("`{other}` is not known in a select list")),
        };
        let source = match Expression::resolve(expr, scope)? {
            Expression::Id => ProjectedValue::Id,
            Expression::Column(column) => ProjectedValue::Column(column),
            other if other.reads().bucket || other.reads().request => {
                return Err(format!("`{expr}`: a select list draws on the row only"));
            }
            other => ProjectedValue::Computed(other),
        };
        match named.iter_mut().find(|(taken, ..)| *taken == name) {
            Some(slot) if !slot.2 => *slot = (name, source, true),
            Some(_) => return Err(format!("column `{name}` is selected twice")),
            None => named.push((name, source, true)),
        }
    }
    let object_id = match named.iter().find(|(name, ..)| name == "id") {
        Some((_, ProjectedValue::Id, _)) => None,
        Some((_, ProjectedValue::Column(column) | ProjectedValue::Bytea(column), _)) => {
            Some(Expression::Column(*column))
        }
        Some((_, ProjectedValue::Computed(expression), _)) => Some(expression.clone()),
        None => return Err("a data query must select `id`".to_owned()),
    };
    let columns = named
        .into_iter()
        .map(|(name, source, _)| {
            let mut key = String::new();
            write_string(&mut key, &name);
            key.push(':');
            (key, source)
        })
        .collect();
    Ok(Projection { table, object_type: Arc::from(alias), object_id, columns })
}

/// The index of an equal select list. If there is none, adds this one.
pub(super) fn intern(projections: &mut Vec<Projection>, projection: Projection) -> usize {
    projections.iter().position(|known| *known == projection).unwrap_or_else(|| {
        projections.push(projection);
        projections.len() - 1
    })
}
