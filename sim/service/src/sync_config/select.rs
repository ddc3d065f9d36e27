//! SELECT statements: parsed, taken apart, and their select lists resolved into row data.

use std::sync::Arc;

use fixtures::Schema;
use sqlparser::ast::{BinaryOperator, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, TableFactor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::Projection;
use super::expression::Expression;
use super::resolve::{ELEMENTS, Scope};

/// Where a value of row data comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The id.
    Id,
    /// A column, by index: written with its PostgreSQL type.
    Column(usize),
    /// A column of bytes, by index: NULL is told, anything else is left out.
    Blob(usize),
    /// An expression over the row.
    Computed(Expression),
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
        let dialect = PostgreSqlDialect {};
        let tokens = Tokenizer::new(&dialect, sql).tokenize().map_err(|error| error.to_string())?;
        let mut parser = Parser::new(&dialect).with_tokens(mark_arrays(tokens));
        let mut statements = parser.parse_statements().map_err(|error| error.to_string())?;
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

/// Sync queries know `x IN array`, without parentheses, for membership in a JSON array; SQL does not. Writes it as
/// `x IN (elements(array))`.
fn mark_arrays(tokens: Vec<Token>) -> Vec<Token> {
    let keyword = |token: &Token, wanted: &[Keyword]| matches!(token, Token::Word(word) if word.quote_style.is_none() && wanted.contains(&word.keyword));
    let mut out = Vec::with_capacity(tokens.len() + 8);
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_in = keyword(&token, &[Keyword::IN]);
        out.push(token);
        while let Some(space) = tokens.next_if(|next| is_in && matches!(next, Token::Whitespace(_))) {
            out.push(space);
        }
        if !is_in || matches!(tokens.peek(), None | Some(Token::LParen)) {
            continue;
        }
        out.push(Token::LParen);
        out.push(Token::Word(Word { value: ELEMENTS.to_owned(), quote_style: None, keyword: Keyword::NoKeyword }));
        out.push(Token::LParen);
        let mut depth = 0;
        while let Some(next) = tokens.next_if(|next| {
            let ends = keyword(next, &[Keyword::AND, Keyword::OR]) || matches!(next, Token::RParen | Token::SemiColon);
            depth > 0 || !ends
        }) {
            depth += i32::from(next == Token::LParen) - i32::from(next == Token::RParen);
            out.push(next);
        }
        out.push(Token::RParen);
        out.push(Token::RParen);
    }
    out
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
        // A table that lists its `id` has rows with a key apart from it.
        let implicit = (schema.tables[table].column_index("id").is_none()).then_some(("id", Source::Id));
        let all = implicit
            .into_iter()
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
        Some((_, Source::Column(column) | Source::Blob(column), _)) => Some(Expression::Column(*column)),
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

/// The name of an output that has no alias.
///
/// # Errors
/// When the expression is no plain name.
pub fn unnamed(expr: &Expr) -> Result<String, String> {
    match expr {
        Expr::Identifier(name) => Ok(name.value.clone()),
        Expr::CompoundIdentifier(parts) => Ok(parts.last().map(|part| part.value.clone()).unwrap_or_default()),
        other => Err(format!("`{other}` needs a name: `… AS name`")),
    }
}
