//! SELECT statements, parsed and taken apart.

use fixtures::Schema;
use sqlparser::ast::{BinaryOperator, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, TableFactor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::sql_expression::ELEMENTS;

/// A SELECT of the one supported shape: `SELECT … [FROM one table] [WHERE …]`.
pub(super) struct SelectQuery {
    /// The select list.
    pub(super) items: Vec<SelectItem>,
    /// The table's name and alias.
    pub(super) from: Option<(String, Option<String>)>,
    /// The conjuncts of WHERE.
    pub(super) conditions: Vec<Expr>,
}

impl SelectQuery {
    /// Parses one SELECT.
    ///
    /// # Errors
    /// A syntax error, or the clause that is not supported.
    pub(super) fn parse(sql: &str) -> Result<Self, String> {
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
    /// The clause that is not supported.
    pub(super) fn of(query: &Query) -> Result<Self, String> {
        let SetExpr::Select(select) = &*query.body else {
            return Err("must be one SELECT".to_owned());
        };
        let from = table_of(select)?;
        // Prints the clauses that are supported: if the query prints as more than that, it has others.
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

    /// The table that the query reads, and the name by which its columns may be qualified.
    ///
    /// # Errors
    /// When there is no FROM, or the schema has no such table.
    pub(super) fn table<'s>(&'s self, schema: &'s Schema) -> Result<(usize, &'s str), String> {
        let (name, alias) = self.from.as_ref().ok_or("must have a FROM clause")?;
        let table = schema.table_index(name).ok_or_else(|| format!("no table `{name}` in the schema"))?;
        Ok((table, alias.as_deref().unwrap_or(name)))
    }
}

/// Sync queries may write `x IN array`, without parentheses, for membership in a JSON array, which is not SQL. Rewrites
/// it as `x IN (powersync_elements(array))`.
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

/// The name of an output that has no alias.
///
/// # Errors
/// When the expression is no plain name.
pub(super) fn output_name(expr: &Expr) -> Result<String, String> {
    match expr {
        Expr::Identifier(name) => Ok(name.value.clone()),
        Expr::CompoundIdentifier(parts) => Ok(parts.last().map(|part| part.value.clone()).unwrap_or_default()),
        other => Err(format!("`{other}` needs a name: `… AS name`")),
    }
}
