//! Compiles SQL into queries, split into what the row decides and what the request decides.

use fixtures::{Schema, Value};
use sqlparser::ast::{Expr, SelectItem};

use super::expression::{Expression, Operator, Reads};
use super::projection::{Projection, intern, projection};
use super::query::{DataQuery, LookupQuery, Output, ParameterQuery, Term};
use super::select::{SelectQuery, output_name};
use super::sql_expression::Scope;

/// A parameter query with the names of its outputs, in SELECT order.
pub(super) struct NamedParameterQuery {
    /// The outputs' names.
    pub(super) names: Vec<String>,
    /// The query.
    pub(super) query: ParameterQuery,
}

/// Compiles a data query. `bucket` are the names of the bucket's parameters.
///
/// # Errors
/// What is wrong or not supported.
pub(super) fn data_query(
    sql: &str,
    schema: &Schema,
    bucket: &[String],
    projections: &mut Vec<Projection>,
) -> Result<DataQuery, String> {
    let select = SelectQuery::parse(sql)?;
    let (table, alias) = select.table(schema)?;
    let scope = Scope { table: Some((&schema.tables[table], alias)), bucket, request: false, stream: false };
    let projection = projection(&select.items, schema, table, alias, scope)?;
    let mut query =
        DataQuery { table, projection: intern(projections, projection), row_filters: Vec::new(), keys: Vec::new() };
    let mut keys: Vec<Option<Term>> = vec![None; bucket.len()];
    for condition in &select.conditions {
        let resolved = Expression::resolve(condition, scope)?;
        match split(&resolved, condition, |reads| reads.bucket)? {
            Split::Row(filter) => query.row_filters.push(filter),
            Split::Match(row_side, Term { of: Expression::Bucket(parameter), each: false }) => match &keys[parameter] {
                None => keys[parameter] = Some(row_side),
                // A parameter that is used again must be equal to both sides.
                Some(first) if !first.each && !row_side.each => {
                    let (first, second) = (Box::new(first.of.clone()), Box::new(row_side.of));
                    query.row_filters.push(Expression::Binary(Operator::Eq, first, second));
                }
                Some(_) => {
                    return Err(format!("`{condition}`: a parameter that is used with IN can be used once only"));
                }
            },
            _ => return Err(format!("`{condition}`: a bucket parameter must stand alone on its side of `=`")),
        }
    }
    for (key, name) in keys.into_iter().zip(bucket) {
        query.keys.push(key.ok_or_else(|| format!("`bucket.{name}` must be used by every data query, with `=`"))?);
    }
    Ok(query)
}

/// Compiles a parameter query.
///
/// # Errors
/// What is wrong or not supported.
pub(super) fn parameter_query(sql: &str, schema: &Schema) -> Result<NamedParameterQuery, String> {
    let select = SelectQuery::parse(sql)?;
    let table = match &select.from {
        None => None,
        Some(_) => Some(select.table(schema)?),
    };
    let scope = Scope {
        table: table.map(|(index, alias)| (&schema.tables[index], alias)),
        bucket: &[],
        request: true,
        stream: false,
    };
    let mut names = Vec::new();
    let mut outputs = Vec::new();
    let mut priority = None;
    for item in &select.items {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            SelectItem::UnnamedExpr(expr) => (expr, output_name(expr)?),
            other => return Err(format!("`{other}`: a parameter query must name its outputs")),
        };
        let resolved = Expression::resolve(expr, scope)?;
        if name == "_priority" {
            match resolved {
                Expression::Literal(Value::Int(level @ 0..=3)) => priority = u8::try_from(level).ok(),
                _ => return Err("`_priority` must be 0, 1, 2 or 3".to_owned()),
            }
            continue;
        }
        if names.contains(&name) {
            return Err(format!("output `{name}` appears twice"));
        }
        names.push(name);
        outputs.push(resolved);
    }
    let mut conditions = Conditions::default();
    for condition in &select.conditions {
        conditions.add(Expression::resolve(condition, scope)?, condition)?;
    }
    let query = match table {
        None => {
            let outputs = outputs.into_iter().map(Term::one).collect();
            ParameterQuery::Static { request_filters: conditions.request_filters, outputs, priority }
        }
        Some((table, _)) => {
            let outputs = outputs.into_iter().map(Term::one).collect();
            ParameterQuery::Lookup(lookup(table, conditions, outputs, priority)?)
        }
    };
    Ok(NamedParameterQuery { names, query })
}

/// The conditions of WHERE, sorted by whether the row or the request decides.
#[derive(Default)]
pub(super) struct Conditions {
    /// The row decides.
    pub(super) row_filters: Vec<Expression>,
    /// The request decides.
    pub(super) request_filters: Vec<Expression>,
    /// Both decide: `row side = request side`.
    pub(super) keys: Vec<(Term, Term)>,
}

impl Conditions {
    /// Adds a condition.
    ///
    /// # Errors
    /// When it compares row and request other than by `=` or `IN`.
    pub(super) fn add(&mut self, resolved: Expression, condition: &Expr) -> Result<(), String> {
        let reads = resolved.reads();
        if reads.request && !reads.row {
            self.request_filters.push(resolved);
            return Ok(());
        }
        match split(&resolved, condition, |reads| reads.request)? {
            Split::Row(filter) => self.row_filters.push(filter),
            Split::Match(row_side, request_side) => self.keys.push((row_side, request_side)),
        }
        Ok(())
    }
}

/// Builds a lookup from its parts.
///
/// # Errors
/// When an output mixes row and request.
pub(super) fn lookup(
    table: usize,
    conditions: Conditions,
    outputs: Vec<Term>,
    priority: Option<u8>,
) -> Result<LookupQuery, String> {
    let mut stored = Vec::new();
    let mut sources = Vec::new();
    for output in outputs {
        let reads = output.of.reads();
        if reads.row && reads.request {
            return Err("an output may draw on the row or on the request, not on both".to_owned());
        }
        if reads.request {
            sources.push(Output::Request(output));
        } else {
            sources.push(Output::Stored(stored.len()));
            stored.push(output.of);
        }
    }
    let Conditions { row_filters, request_filters, keys } = conditions;
    Ok(LookupQuery { table, row_filters, request_filters, keys, stored, outputs: sources, priority })
}

/// Whether the row alone decides a condition.
enum Split {
    /// The row alone decides.
    Row(Expression),
    /// The row's side, and the other side that it must equal.
    Match(Term, Term),
}

fn split(resolved: &Expression, condition: &Expr, other: impl Fn(Reads) -> bool) -> Result<Split, String> {
    if !other(resolved.reads()) {
        return Ok(Split::Row(resolved.clone()));
    }
    let (left, right) = match resolved {
        Expression::Binary(Operator::Eq, left, right) => (Term::one((**left).clone()), Term::one((**right).clone())),
        Expression::InArray(of, array) => (Term::one((**of).clone()), Term { of: (**array).clone(), each: true }),
        _ => return Err(unsupported_condition(condition)),
    };
    let (left_reads, right_reads) = (left.of.reads(), right.of.reads());
    if other(right_reads) && !right_reads.row && !other(left_reads) {
        Ok(Split::Match(left, right))
    } else if other(left_reads) && !left_reads.row && !other(right_reads) {
        Ok(Split::Match(right, left))
    } else {
        Err(unsupported_condition(condition))
    }
}

fn unsupported_condition(condition: &Expr) -> String {
    format!("`{condition}`: rows and parameters may meet only in `=` or `IN array`, joined by AND")
}
