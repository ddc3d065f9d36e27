//! Sync streams over a single table, as in edition 2.
//!
//! The query of a stream is split like a bucket definition: `column = auth.user_id()` makes the column a parameter of
//! the bucket, with its value from the request; `column IN (SELECT …)` takes its value from a lookup.

use fixtures::Schema;
use serde_norway::Value as Yaml;
use sqlparser::ast::{Expr, SelectItem};

use super::compile::{Conditions, lookup};
use super::config::{Definition, Stream, SyncConfig};
use super::error::ConfigError;
use super::expression::Expression;
use super::projection::{Projection, intern, projection};
use super::query::{DataQuery, ParameterQuery, Term};
use super::select::SelectQuery;
use super::sql_expression::Scope;
use super::yaml::{known_keys, mapping, priority, string, strings};

pub(super) fn sync_stream(
    config: &mut SyncConfig,
    name: &str,
    body: &Yaml,
    schema: &Schema,
) -> Result<(), ConfigError> {
    let place = format!("streams.{name}");
    let body = mapping(body, &place)?;
    let known = ["auto_subscribe", "priority", "query", "queries", "accept_potentially_dangerous_queries"];
    known_keys(body, &place, &known)?;
    let default = match body.get("auto_subscribe") {
        None => false,
        Some(flag) => flag
            .as_bool()
            .ok_or_else(|| ConfigError::new(&format!("{place}.auto_subscribe"), "must be true or false"))?,
    };
    let priority = priority(body, &place)?;
    let queries = match (body.get("query"), body.get("queries")) {
        (Some(query), None) => vec![string(query, &format!("{place}.query"))?],
        (None, queries @ Some(_)) => strings(queries, &format!("{place}.queries"))?,
        _ => return Err(ConfigError::new(&place, "must have either `query` or `queries`")),
    };
    let stream = config.streams.len();
    config.streams.push(Stream { name: name.to_owned(), default, by_name: true });
    for (variant, sql) in queries.iter().enumerate() {
        let (parameters, data) = stream_query(sql, schema, &mut config.projections)
            .map_err(|problem| ConfigError::new(&format!("{place}.query.{variant}"), &problem))?;
        config.definitions.push(Definition {
            stream,
            name: format!("{name}|{variant}"),
            priority,
            parameters: vec![parameters],
            data: vec![data],
        });
    }
    Ok(())
}

fn stream_query(
    sql: &str,
    schema: &Schema,
    projections: &mut Vec<Projection>,
) -> Result<(ParameterQuery, DataQuery), String> {
    let select = SelectQuery::parse(sql)?;
    let (table, alias) = select.table(schema)?;
    let scope = Scope { table: Some((&schema.tables[table], alias)), bucket: &[], request: true, stream: true };
    let select_list = projection(&select.items, schema, table, alias, scope)?;
    let mut outer = Conditions::default();
    let mut keys = Vec::new();
    let mut outputs = Vec::new();
    let mut inner: Option<(usize, Conditions)> = None;
    for condition in &select.conditions {
        if let Expr::InSubquery { expr, subquery, negated: false } = condition {
            if inner.is_some() {
                return Err(format!("`{condition}`: one subquery in a query is known, not two"));
            }
            let member = Expression::resolve(expr, scope)?;
            if !member.reads().row || member.reads().request {
                return Err(format!("`{condition}`: the left side of IN must come from the row"));
            }
            let (inner_table, conditions, output) = subquery_parts(subquery, schema)?;
            inner = Some((inner_table, conditions));
            keys.push(Term::one(member));
            outputs.push(Term::one(output));
            continue;
        }
        outer.add(Expression::resolve(condition, scope)?, condition)?;
    }
    for (row_side, request_side) in std::mem::take(&mut outer.keys) {
        keys.push(row_side);
        outputs.push(request_side);
    }
    let data = DataQuery { table, projection: intern(projections, select_list), row_filters: outer.row_filters, keys };
    let parameters = match inner {
        None => ParameterQuery::Static { request_filters: outer.request_filters, outputs, priority: None },
        Some((inner_table, mut conditions)) => {
            conditions.request_filters.append(&mut outer.request_filters);
            ParameterQuery::Lookup(lookup(inner_table, conditions, outputs, None)?)
        }
    };
    Ok((parameters, data))
}

fn subquery_parts(
    subquery: &sqlparser::ast::Query,
    schema: &Schema,
) -> Result<(usize, Conditions, Expression), String> {
    let select = SelectQuery::of(subquery)?;
    let (table, alias) = select.table(schema)?;
    let scope = Scope { table: Some((&schema.tables[table], alias)), bucket: &[], request: true, stream: true };
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = select.items.as_slice() else {
        return Err("a subquery must select one expression".to_owned());
    };
    let output = Expression::resolve(expr, scope)?;
    let mut conditions = Conditions::default();
    for condition in &select.conditions {
        conditions.add(Expression::resolve(condition, scope)?, condition)?;
    }
    Ok((table, conditions, output))
}
