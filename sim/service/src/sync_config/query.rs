//! The queries of a definition: parsed, resolved and split into what the row decides and what the request decides.

use fixtures::{Schema, Value};
use sqlparser::ast::{Expr, SelectItem};

use super::Projection;
use super::expression::{Expression, Input, Operator, Reads, array_elements};
use super::resolve::Scope;
use super::select::{Shape, intern, projection, unnamed};

/// How a row finds its buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct DataQuery {
    /// The source table.
    pub table: usize,
    /// Index of the select list in [`super::SyncConfig::projections`].
    pub projection: usize,
    /// What the row must satisfy.
    pub filters: Vec<Expression>,
    /// One a bucket parameter.
    pub keys: Vec<Term>,
}

/// One side of the `=` or IN by which rows and requests meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// A value, or a JSON array of values.
    pub of: Expression,
    /// Whether it is an array: the side stands for each of its elements.
    pub each: bool,
}

impl Term {
    /// A single value.
    #[must_use]
    pub fn one(of: Expression) -> Self {
        Self { of, each: false }
    }

    /// The values that it stands for, NULL among them.
    #[must_use]
    pub fn values(&self, input: Input<'_>) -> Vec<Value> {
        let value = self.of.evaluate(input);
        if self.each { array_elements(&value) } else { vec![value] }
    }
}

/// Every way to take one value of each list.
#[must_use]
pub fn combinations(lists: impl Iterator<Item = Vec<Value>>) -> Vec<Vec<Value>> {
    let mut all = vec![Vec::new()];
    for list in lists {
        match list.as_slice() {
            [one] => all.iter_mut().for_each(|start| start.push(one.clone())),
            many => {
                let longer =
                    all.iter().flat_map(|start| many.iter().map(|value| [start, &[value.clone()][..]].concat()));
                all = longer.collect();
            }
        }
    }
    all
}

/// How a request finds its buckets.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterQuery {
    /// Without FROM: from the request alone.
    Static {
        /// What the request must satisfy.
        gates: Vec<Expression>,
        /// The bucket's parameters.
        outputs: Vec<Term>,
        /// `N AS _priority`.
        priority: Option<u8>,
    },
    /// With FROM: from rows indexed by what the request asks for.
    Lookup(LookupQuery),
}

/// A parameter query with FROM.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupQuery {
    /// The source table.
    pub table: usize,
    /// What the row must satisfy.
    pub filters: Vec<Expression>,
    /// What the request must satisfy.
    pub gates: Vec<Expression>,
    /// `row side = request side`.
    pub keys: Vec<(Term, Term)>,
    /// What the index keeps of a row.
    pub stored: Vec<Expression>,
    /// The bucket's parameters.
    pub outputs: Vec<Output>,
    /// `N AS _priority`.
    pub priority: Option<u8>,
}

/// Where an output of a lookup comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The index entry.
    Stored(usize),
    /// The request.
    Request(Term),
}

/// Names and query of a parameter query: the outputs still in SELECT order.
pub struct NamedParameterQuery {
    /// The outputs' names.
    pub names: Vec<String>,
    /// The query.
    pub query: ParameterQuery,
}

/// Compiles a data query. `bucket` are the names of the bucket's parameters.
///
/// # Errors
/// What is wrong or not known.
pub fn data_query(
    sql: &str,
    schema: &Schema,
    bucket: &[String],
    projections: &mut Vec<Projection>,
) -> Result<DataQuery, String> {
    let shape = Shape::parse(sql)?;
    let (table, alias) = shape.table(schema)?;
    let scope = Scope { table: Some((&schema.tables[table], alias)), bucket, request: false, stream: false };
    let projection = projection(&shape.items, schema, table, alias, scope)?;
    let mut query =
        DataQuery { table, projection: intern(projections, projection), filters: Vec::new(), keys: Vec::new() };
    let mut keys: Vec<Option<Term>> = vec![None; bucket.len()];
    for condition in &shape.conditions {
        let resolved = Expression::resolve(condition, scope)?;
        match split(&resolved, condition, |reads| reads.bucket)? {
            Split::Row(filter) => query.filters.push(filter),
            Split::Match(row_side, Term { of: Expression::Bucket(parameter), each: false }) => match &keys[parameter] {
                None => keys[parameter] = Some(row_side),
                // Used again, it must also be equal to what it was used with first.
                Some(first) if !first.each && !row_side.each => {
                    let (first, second) = (Box::new(first.of.clone()), Box::new(row_side.of));
                    query.filters.push(Expression::Binary(Operator::Eq, first, second));
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
/// What is wrong or not known.
pub fn parameter_query(sql: &str, schema: &Schema) -> Result<NamedParameterQuery, String> {
    let shape = Shape::parse(sql)?;
    let table = match &shape.from {
        None => None,
        Some(_) => Some(shape.table(schema)?),
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
    for item in &shape.items {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            SelectItem::UnnamedExpr(expr) => (expr, unnamed(expr)?),
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
    for condition in &shape.conditions {
        conditions.add(Expression::resolve(condition, scope)?, condition)?;
    }
    let query = match table {
        None => {
            let outputs = outputs.into_iter().map(Term::one).collect();
            ParameterQuery::Static { gates: conditions.gates, outputs, priority }
        }
        Some((table, _)) => {
            let outputs = outputs.into_iter().map(Term::one).collect();
            ParameterQuery::Lookup(lookup(table, conditions, outputs, priority)?)
        }
    };
    Ok(NamedParameterQuery { names, query })
}

/// WHERE, sorted by who decides.
#[derive(Default)]
pub struct Conditions {
    /// The row.
    pub filters: Vec<Expression>,
    /// The request.
    pub gates: Vec<Expression>,
    /// Both: `row side = request side`.
    pub keys: Vec<(Term, Term)>,
}

impl Conditions {
    /// Sorts a conjunct in.
    ///
    /// # Errors
    /// When row and request meet other than by `=`.
    pub fn add(&mut self, resolved: Expression, condition: &Expr) -> Result<(), String> {
        let reads = resolved.reads();
        if reads.request && !reads.row {
            self.gates.push(resolved);
            return Ok(());
        }
        match split(&resolved, condition, |reads| reads.request)? {
            Split::Row(filter) => self.filters.push(filter),
            Split::Match(row_side, request_side) => self.keys.push((row_side, request_side)),
        }
        Ok(())
    }
}

/// Builds a lookup from its parts.
///
/// # Errors
/// When an output mixes row and request.
pub fn lookup(
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
    let Conditions { filters, gates, keys } = conditions;
    Ok(LookupQuery { table, filters, gates, keys, stored, outputs: sources, priority })
}

/// Who decides a conjunct.
enum Split {
    /// The row alone.
    Row(Expression),
    /// Row side and other side.
    Match(Term, Term),
}

fn split(resolved: &Expression, condition: &Expr, other: impl Fn(Reads) -> bool) -> Result<Split, String> {
    if !other(resolved.reads()) {
        return Ok(Split::Row(resolved.clone()));
    }
    let (left, right) = match resolved {
        Expression::Binary(Operator::Eq, left, right) => (Term::one((**left).clone()), Term::one((**right).clone())),
        Expression::InArray(of, array) => (Term::one((**of).clone()), Term { of: (**array).clone(), each: true }),
        _ => return Err(apart(condition)),
    };
    let (left_reads, right_reads) = (left.of.reads(), right.of.reads());
    if other(right_reads) && !right_reads.row && !other(left_reads) {
        Ok(Split::Match(left, right))
    } else if other(left_reads) && !left_reads.row && !other(right_reads) {
        Ok(Split::Match(right, left))
    } else {
        Err(apart(condition))
    }
}

fn apart(condition: &Expr) -> String {
    format!("`{condition}`: rows and parameters may meet only in `=` or `IN array`, joined by AND")
}
