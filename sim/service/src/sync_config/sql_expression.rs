//! Reads a parsed SQL expression: which operators and functions it may have, and what its names mean. The rest is
//! refused by name.

use fixtures::{Table, Value};
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, UnaryOperator, Value as Literal,
};

use super::expression::{Expression, Operator, RequestValue};
use super::sqlite::boolean;

/// The function that marks the array of `x IN array`, see [`super::select`].
pub(super) const ELEMENTS: &str = "powersync_elements";

/// The names that an expression may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The table of the query, under the name by which columns may be qualified.
    pub(super) table: Option<(&'a Table, &'a str)>,
    /// The parameters of the bucket.
    pub(super) bucket: &'a [String],
    /// Whether the request may be read.
    pub(super) request: bool,
    /// Whether `auth`, `connection` and `subscription` are known (sync streams).
    pub(super) stream: bool,
}

impl Expression {
    /// Resolves the names of a parsed expression.
    ///
    /// # Errors
    /// The first thing that is not supported, by name.
    pub(super) fn resolve(expr: &Expr, scope: Scope<'_>) -> Result<Self, String> {
        let sub = |expr: &Expr| Self::resolve(expr, scope).map(Box::new);
        Ok(match expr {
            Expr::Nested(inner) => Self::resolve(inner, scope)?,
            Expr::Value(value) => Self::Literal(literal(&value.value)?),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => match Self::resolve(inner, scope)? {
                Self::Literal(Value::Int(int)) => Self::Literal(Value::Int(-int)),
                Self::Literal(Value::Real(real)) => Self::Literal(Value::Real(-real)),
                _ => return Err(format!("`{expr}`: a minus sign is known before a number only")),
            },
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Self::Not(sub(expr)?),
            Expr::IsNull(inner) => Self::IsNull(sub(inner)?),
            Expr::IsNotNull(inner) => Self::Not(Box::new(Self::IsNull(sub(inner)?))),
            Expr::Identifier(name) => column(name, scope)?,
            Expr::CompoundIdentifier(parts) => qualified(parts, scope)?,
            Expr::InList { expr, list, negated } if marked_array(list).is_some() => {
                let array = marked_array(list).expect("it was there a line ago");
                let test = Self::InArray(sub(expr)?, sub(array)?);
                if *negated { Self::Not(Box::new(test)) } else { test }
            }
            Expr::InList { expr, list, negated } => {
                let list = list.iter().map(|item| Self::resolve(item, scope)).collect::<Result<_, _>>()?;
                let test = Self::InList(sub(expr)?, list);
                if *negated { Self::Not(Box::new(test)) } else { test }
            }
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::Arrow | BinaryOperator::LongArrow => {
                    Self::Member { of: sub(left)?, key: sub(right)?, text: *op == BinaryOperator::LongArrow }
                }
                _ => Self::Binary(operator(op)?, sub(left)?, sub(right)?),
            },
            Expr::Function(function) => call(&function.name.to_string(), &function.args, expr, scope)?,
            other => return Err(format!("`{other}`: this kind of expression is not known")),
        })
    }
}

fn marked_array(list: &[Expr]) -> Option<&Expr> {
    let [Expr::Function(function)] = list else {
        return None;
    };
    let FunctionArguments::List(arguments) = &function.args else {
        return None;
    };
    match arguments.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(array))] if function.name.to_string() == ELEMENTS => Some(array),
        _ => None,
    }
}

fn literal(value: &Literal) -> Result<Value, String> {
    match value {
        Literal::Number(text, _) => text
            .parse()
            .map(Value::Int)
            .or_else(|_| text.parse().map(Value::Real))
            .map_err(|_| format!("`{text}` is not a number")),
        Literal::SingleQuotedString(text) => Ok(Value::text(text)),
        Literal::Boolean(flag) => Ok(boolean(*flag)),
        Literal::Null => Ok(Value::Null),
        other => Err(format!("`{other}`: this kind of literal is not known")),
    }
}

fn operator(op: &BinaryOperator) -> Result<Operator, String> {
    Ok(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Less,
        BinaryOperator::LtEq => Operator::LessEq,
        BinaryOperator::Gt => Operator::Greater,
        BinaryOperator::GtEq => Operator::GreaterEq,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
        BinaryOperator::StringConcat => Operator::Concat,
        other => return Err(format!("operator `{other}` is not known")),
    })
}

fn column(name: &Ident, scope: Scope<'_>) -> Result<Expression, String> {
    let Some((table, _)) = scope.table else {
        return Err(format!("`{name}`: a query without FROM has no columns"));
    };
    // PostgreSQL folds names that are not quoted.
    let folded = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
    if folded == "id" && table.column_index("id").is_none() {
        return Ok(Expression::Id);
    }
    table
        .column_index(&folded)
        .map(Expression::Column)
        .ok_or_else(|| format!("table `{}` has no column `{}`", table.name, name.value))
}

fn qualified(parts: &[Ident], scope: Scope<'_>) -> Result<Expression, String> {
    let [qualifier, name] = parts else {
        let path: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
        return Err(format!("`{}`: a name has at most one qualifier", path.join(".")));
    };
    let refused = |what: &str| Err(format!("`{qualifier}.{name}`: {what}"));
    if scope.table.is_some_and(|(_, alias)| alias == qualifier.value) {
        return column(name, scope);
    }
    match qualifier.value.as_str() {
        "bucket" => match scope.bucket.iter().position(|parameter| *parameter == name.value) {
            Some(index) => Ok(Expression::Bucket(index)),
            None => refused("no parameter query of this definition has an output of that name"),
        },
        "token_parameters" | "user_parameters" if !scope.request => refused("the request is not known in a data query"),
        "token_parameters" => Ok(Expression::Request(RequestValue::TokenParameter(name.value.clone()))),
        "user_parameters" => Ok(Expression::Request(RequestValue::UserParameter(name.value.clone()))),
        _ => refused("no such table in this query"),
    }
}

fn call(name: &str, args: &FunctionArguments, whole: &Expr, scope: Scope<'_>) -> Result<Expression, String> {
    let mut resolved = Vec::new();
    if let FunctionArguments::List(list) = args {
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => resolved.push(Expression::resolve(expr, scope)?),
                _ => return Err(format!("`{whole}`: this kind of argument is not known")),
            }
        }
    }
    let name = name.to_lowercase();
    let of_request = |value: RequestValue, key: Option<Expression>| {
        let value = Expression::Request(value);
        match key {
            None => value,
            Some(key) => Expression::Member { of: Box::new(value), key: Box::new(key), text: true },
        }
    };
    let known = ["request.", "auth.", "connection.", "subscription."].iter().any(|space| name.starts_with(space));
    if known {
        if !scope.request {
            return Err(format!("`{whole}`: the request is not known in a data query"));
        }
        if scope.stream == name.starts_with("request.") {
            let place = if scope.stream { "a stream" } else { "a bucket definition" };
            return Err(format!("`{whole}`: not a function of {place}"));
        }
    }
    let (value, wants_key) = match name.as_str() {
        "request.user_id" | "auth.user_id" => (RequestValue::UserId, false),
        "request.jwt" | "auth.parameters" => (RequestValue::Jwt, false),
        "request.parameters" | "connection.parameters" => (RequestValue::Parameters, false),
        "subscription.parameters" => (RequestValue::Subscription, false),
        "auth.parameter" => (RequestValue::Jwt, true),
        "request.parameter" | "connection.parameter" => (RequestValue::Parameters, true),
        "subscription.parameter" => (RequestValue::Subscription, true),
        "lower" | "upper" if resolved.len() == 1 => {
            let of = Box::new(resolved.remove(0));
            return Ok(Expression::Case { upper: name == "upper", of });
        }
        "json_extract" if resolved.len() == 2 => {
            let key = Box::new(resolved.remove(1));
            return Ok(Expression::Member { of: Box::new(resolved.remove(0)), key, text: true });
        }
        _ => return Err(format!("function `{name}` with {} arguments is not known", resolved.len())),
    };
    if resolved.len() != usize::from(wants_key) {
        return Err(format!("function `{name}` takes {} arguments", u8::from(wants_key)));
    }
    Ok(of_request(value, resolved.pop()))
}
