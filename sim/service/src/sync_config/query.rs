//! The queries of a definition: parsed, resolved and split into what the row decides and what the request decides.

use std::sync::Arc;

use fixtures::{Schema, Value};
use sqlparser::ast::{
    BinaryOperator, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::Projection;
use super::expression::{Expression, Operator, Reads, Scope};

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
    pub keys: Vec<Key>,
}

/// How a row names a bucket parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// `expression = bucket.x`.
    Equal(Expression),
    /// `bucket.x IN expression`, the expression being a JSON array: one bucket an element.
    Each(Expression),
}

/// Where a value of row data comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The id.
    Id,
    /// A column, by index: written with its PostgreSQL type.
    Column(usize),
    /// An expression over the row.
    Computed(Expression),
}

/// How a request finds its buckets.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterQuery {
    /// Without FROM: from the request alone.
    Static {
        /// What the request must satisfy.
        gates: Vec<Expression>,
        /// The bucket's parameters.
        outputs: Vec<Expression>,
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
    pub keys: Vec<(Expression, Expression)>,
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
    Request(Expression),
}

/// Names and query of a parameter query: the outputs still in SELECT order.
pub struct NamedParameterQuery {
    /// The outputs' names.
    pub names: Vec<String>,
    /// The query.
    pub query: ParameterQuery,
}

/// A SELECT of the only shape that is known: `SELECT … [FROM one table] [WHERE …]`.
pub struct Shape {
    /// The select list.
    pub items: Vec<SelectItem>,
    /// The table's name and alias.
    pub from: Option<(String, Option<String>)>,
    /// The conjuncts of WHERE.
    pub conditions: Vec<Expr>,
}

impl Shape {
    /// Parses one SELECT.
    ///
    /// # Errors
    /// A syntax error, or the clause that is not known.
    pub fn parse(sql: &str) -> Result<Self, String> {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|error| error.to_string())?;
        match (statements.pop(), statements.is_empty()) {
            (Some(Statement::Query(query)), true) => Self::of(&query),
            _ => Err("must be one SELECT".to_owned()),
        }
    }

    /// Takes a parsed query apart.
    ///
    /// # Errors
    /// The clause that is not known.
    pub fn of(query: &Query) -> Result<Self, String> {
        let SetExpr::Select(select) = &*query.body else {
            return Err("must be one SELECT".to_owned());
        };
        let from = table_of(select)?;
        // Whatever else a query can have is found by printing what is known and comparing.
        let list: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
        let mut known = format!("SELECT {}", list.join(", "));
        if let [from] = select.from.as_slice() {
            known += &format!(" FROM {from}");
        }
        if let Some(selection) = &select.selection {
            known += &format!(" WHERE {selection}");
        }
        let whole = query.to_string();
        if whole != known {
            return Err(format!("only SELECT, FROM and WHERE are known, not all of `{whole}`"));
        }
        let mut conditions = Vec::new();
        if let Some(selection) = &select.selection {
            conjuncts(selection, &mut conditions);
        }
        Ok(Self { items: select.projection.clone(), from, conditions })
    }

    /// The table that the query draws on, and the name by which its columns may be qualified.
    ///
    /// # Errors
    /// When there is no FROM, or the schema has no such table.
    pub fn table<'s>(&'s self, schema: &'s Schema) -> Result<(usize, &'s str), String> {
        let (name, alias) = self.from.as_ref().ok_or("must have a FROM clause")?;
        let table = schema.table_index(name).ok_or_else(|| format!("no table `{name}` in the schema"))?;
        Ok((table, alias.as_deref().unwrap_or(name)))
    }
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
    let mut query = DataQuery { table, projection: intern(projections, projection), filters: Vec::new(), keys: Vec::new() };
    let mut keys: Vec<Option<Key>> = vec![None; bucket.len()];
    for condition in &shape.conditions {
        if let Some((parameter, array)) = membership(condition, scope)? {
            if keys[parameter].replace(Key::Each(array)).is_some() {
                return Err(format!("`{condition}`: a parameter that is used with IN can be used once only"));
            }
            continue;
        }
        let resolved = Expression::resolve(condition, scope)?;
        match split(&resolved, condition, |reads| reads.bucket)? {
            Split::Row(filter) => query.filters.push(filter),
            Split::Match(row_side, Expression::Bucket(parameter)) => match &keys[parameter] {
                None => keys[parameter] = Some(Key::Equal(row_side)),
                Some(Key::Equal(first)) => query.filters.push(Expression::Binary(
                    Operator::Eq,
                    Box::new(first.clone()),
                    Box::new(row_side),
                )),
                Some(Key::Each(_)) => {
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
        None => ParameterQuery::Static { gates: conditions.gates, outputs, priority },
        Some((table, _)) => ParameterQuery::Lookup(lookup(table, conditions, outputs, priority)?),
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
    pub keys: Vec<(Expression, Expression)>,
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
    outputs: Vec<Expression>,
    priority: Option<u8>,
) -> Result<LookupQuery, String> {
    let mut stored = Vec::new();
    let mut sources = Vec::new();
    for output in outputs {
        let reads = output.reads();
        if reads.row && reads.request {
            return Err("an output may draw on the row or on the request, not on both".to_owned());
        }
        if reads.request {
            sources.push(Output::Request(output));
        } else {
            sources.push(Output::Stored(stored.len()));
            stored.push(output);
        }
    }
    let Conditions { filters, gates, keys } = conditions;
    Ok(LookupQuery { table, filters, gates, keys, stored, outputs: sources, priority })
}

/// Who decides a conjunct.
enum Split {
    /// The row alone.
    Row(Expression),
    /// `row side = other side`.
    Match(Expression, Expression),
}

fn split(resolved: &Expression, condition: &Expr, other: impl Fn(Reads) -> bool) -> Result<Split, String> {
    if !other(resolved.reads()) {
        return Ok(Split::Row(resolved.clone()));
    }
    if let Expression::Binary(Operator::Eq, left, right) = resolved {
        let (left_reads, right_reads) = (left.reads(), right.reads());
        if other(right_reads) && !right_reads.row && !other(left_reads) {
            return Ok(Split::Match((**left).clone(), (**right).clone()));
        }
        if other(left_reads) && !left_reads.row && !other(right_reads) {
            return Ok(Split::Match((**right).clone(), (**left).clone()));
        }
    }
    Err(format!("`{condition}`: rows and parameters may meet only in `row expression = parameter`, joined by AND"))
}

/// `bucket.x IN expression`, which SQL parsers take for `IN` with a list only when parenthesised.
fn membership(condition: &Expr, scope: Scope<'_>) -> Result<Option<(usize, Expression)>, String> {
    let Expr::InList { expr, list, negated: false } = condition else {
        return Ok(None);
    };
    let (Expression::Bucket(parameter), [array]) = (Expression::resolve(expr, scope)?, list.as_slice()) else {
        return Ok(None);
    };
    let array = Expression::resolve(array, scope)?;
    if !array.reads().row {
        return Err(format!("`{condition}`: the array must come from the row"));
    }
    Ok(Some((parameter, array)))
}

fn conjuncts(expr: &Expr, into: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, into);
            conjuncts(right, into);
        }
        Expr::Nested(inner) => conjuncts(inner, into),
        other => into.push(other.clone()),
    }
}

fn table_of(select: &Select) -> Result<Option<(String, Option<String>)>, String> {
    let from = match select.from.as_slice() {
        [] => return Ok(None),
        [from] if from.joins.is_empty() => &from.relation,
        _ => return Err("a query draws on one table; joins are not known".to_owned()),
    };
    let TableFactor::Table { name, alias, args: None, .. } = from else {
        return Err(format!("`{from}`: FROM must name a table"));
    };
    let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
    let fold = |ident: &Ident| {
        if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
    };
    let table = match parts.as_deref() {
        Some([table]) => fold(table),
        Some([schema, table]) if fold(schema) == "public" => fold(table),
        _ => return Err(format!("`{name}`: only schema `public` is known")),
    };
    let alias = match alias {
        Some(alias) if alias.columns.is_empty() => Some(alias.name.value.clone()),
        Some(alias) => return Err(format!("`{alias}`: column aliases are not known here")),
        None => None,
    };
    Ok(Some((table, alias)))
}

/// Resolves a select list into row data.
///
/// # Errors
/// What is not known, or that no `id` is selected.
pub fn projection(
    items: &[SelectItem],
    schema: &Schema,
    table: usize,
    alias: &str,
    scope: Scope<'_>,
) -> Result<Projection, String> {
    let mut named: Vec<(String, Source, bool)> = Vec::new();
    let columns = &schema.tables[table].columns;
    let star = |named: &mut Vec<(String, Source, bool)>| {
        // `*` skips names that start with `_`, and explicit columns beat it.
        let all = std::iter::once(("id", Source::Id))
            .chain(columns.iter().enumerate().map(|(index, column)| (column.name.as_str(), Source::Column(index))));
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
            SelectItem::UnnamedExpr(expr) => (expr, unnamed(expr)?),
            other => return Err(format!("`{other}` is not known in a select list")),
        };
        let source = match Expression::resolve(expr, scope)? {
            Expression::Id => Source::Id,
            Expression::Column(column) => Source::Column(column),
            other if other.reads().bucket || other.reads().request => {
                return Err(format!("`{expr}`: a select list draws on the row only"));
            }
            other => Source::Computed(other),
        };
        match named.iter_mut().find(|(taken, ..)| *taken == name) {
            Some(slot) if !slot.2 => *slot = (name, source, true),
            Some(_) => return Err(format!("column `{name}` is selected twice")),
            None => named.push((name, source, true)),
        }
    }
    let object_id = match named.iter().find(|(name, ..)| name == "id") {
        Some((_, Source::Id, _)) => None,
        Some((_, Source::Column(column), _)) => Some(Expression::Column(*column)),
        Some((_, Source::Computed(expression), _)) => Some(expression.clone()),
        None => return Err("a data query must select `id`".to_owned()),
    };
    let columns = named
        .into_iter()
        .map(|(name, source, _)| {
            let mut key = String::new();
            crate::row::write_string(&mut key, &name);
            key.push(':');
            (key, source)
        })
        .collect();
    Ok(Projection { table, object_type: Arc::from(alias), object_id, columns })
}

/// The index of an equal select list, or of this one, added.
pub fn intern(projections: &mut Vec<Projection>, projection: Projection) -> usize {
    projections.iter().position(|known| *known == projection).unwrap_or_else(|| {
        projections.push(projection);
        projections.len() - 1
    })
}

fn unnamed(expr: &Expr) -> Result<String, String> {
    match expr {
        Expr::Identifier(name) => Ok(name.value.clone()),
        Expr::CompoundIdentifier(parts) => {
            Ok(parts.last().map(|part| part.value.clone()).unwrap_or_default())
        }
        other => Err(format!("`{other}` needs a name: `… AS name`")),
    }
}
