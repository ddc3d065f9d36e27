//! The SQL expressions of sync queries: parsed into names that are resolved, evaluated with SQLite's semantics.
//!
//! An expression draws on a row, on the request, or on neither; [`Expression::reads`] says which. Whatever is not
//! known here is refused by name when the configuration is read.

use std::cmp::Ordering;

use fixtures::{Row, Table, Value};
use serde_json::Value as Json;
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, UnaryOperator, Value as Literal,
};

use crate::row::{TimeFormat, value_text};

/// The function that marks the array of `x IN array`, see [`super::select`].
pub(super) const ELEMENTS: &str = "powersync_elements";

/// What an expression draws on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Columns of a row.
    pub row: bool,
    /// The request: token, connection or subscription parameters.
    pub request: bool,
    /// Parameters of the bucket.
    pub bucket: bool,
}

/// A resolved expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A constant.
    Literal(Value),
    /// The row's id.
    Id,
    /// A column, by index.
    Column(usize),
    /// A parameter of the bucket, by index.
    Bucket(usize),
    /// A value of the request.
    Request(RequestValue),
    /// `NOT a`.
    Not(Box<Expression>),
    /// `a IS NULL`.
    IsNull(Box<Expression>),
    /// A member of JSON text: `a ->> 'key'` (`text`) or `a -> 'key'`.
    Member {
        /// The JSON text.
        of: Box<Expression>,
        /// A key, or a path that starts with `$`.
        key: Box<Expression>,
        /// Whether the result is a SQL value rather than JSON text.
        text: bool,
    },
    /// `a op b`.
    Binary(Operator, Box<Expression>, Box<Expression>),
    /// `a IN (b, c)`.
    InList(Box<Expression>, Vec<Expression>),
    /// `a IN array`, the array being JSON text.
    InArray(Box<Expression>, Box<Expression>),
    /// `lower(a)` or `upper(a)`.
    Case {
        /// Whether to upper case.
        upper: bool,
        /// The text.
        of: Box<Expression>,
    },
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`.
    Eq,
    /// `<>` and `!=`.
    NotEq,
    /// `<`.
    Less,
    /// `<=`.
    LessEq,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterEq,
    /// `AND`.
    And,
    /// `OR`.
    Or,
    /// `||`.
    Concat,
}

/// A value that comes with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestValue {
    /// `request.user_id()`, `auth.user_id()`, `token_parameters.user_id`.
    UserId,
    /// `request.jwt()`, `auth.parameters()`: the token's payload as JSON text.
    Jwt,
    /// `request.parameters()`, `connection.parameters()`: the client's parameters as JSON text.
    Parameters,
    /// `subscription.parameters()`.
    Subscription,
    /// `token_parameters.x`: claim `parameters.x`.
    TokenParameter(String),
    /// `user_parameters.x`: client parameter `x`.
    UserParameter(String),
}

/// The names that an expression may use.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The table of the query, under the name by which columns may be qualified.
    pub table: Option<(&'a Table, &'a str)>,
    /// The parameters of the bucket.
    pub bucket: &'a [String],
    /// Whether the request may be read.
    pub request: bool,
    /// Whether `auth`, `connection` and `subscription` are known (sync streams).
    pub stream: bool,
}

/// The request's side of an evaluation.
#[derive(Clone, Debug)]
pub struct RequestValues {
    /// `sub`, as a SQL value.
    pub user_id: Value,
    /// The token's payload.
    pub jwt: Json,
    /// The client's parameters: an object.
    pub parameters: Json,
    /// The parameters of the subscription under evaluation: an object.
    pub subscription: Json,
}

/// What an expression is evaluated against.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A row.
    Row(&'a str, &'a Row, TimeFormat),
    /// A request.
    Request(&'a RequestValues),
}

impl Expression {
    /// Resolves the names of a parsed expression.
    ///
    /// # Errors
    /// The first thing that this service does not know, named.
    pub fn resolve(expr: &Expr, scope: Scope<'_>) -> Result<Self, String> {
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

    /// What it draws on.
    #[must_use]
    pub fn reads(&self) -> Reads {
        let both = |a: &Self, b: &Self| {
            let (a, b) = (a.reads(), b.reads());
            Reads { row: a.row || b.row, request: a.request || b.request, bucket: a.bucket || b.bucket }
        };
        match self {
            Self::Literal(_) => Reads::default(),
            Self::Id | Self::Column(_) => Reads { row: true, ..Reads::default() },
            Self::Bucket(_) => Reads { bucket: true, ..Reads::default() },
            Self::Request(_) => Reads { request: true, ..Reads::default() },
            Self::Not(of) | Self::IsNull(of) | Self::Case { of, .. } => of.reads(),
            Self::Member { of, key, .. } => both(of, key),
            Self::Binary(_, left, right) | Self::InArray(left, right) => both(left, right),
            Self::InList(of, list) => list.iter().fold(of.reads(), |sum, item| {
                let item = item.reads();
                Reads {
                    row: sum.row || item.row,
                    request: sum.request || item.request,
                    bucket: sum.bucket || item.bucket,
                }
            }),
        }
    }

    /// Its value; never [`Value::Time`]. A name of the other side is NULL: [`Self::reads`] was asked before.
    #[must_use]
    pub fn evaluate(&self, input: Input<'_>) -> Value {
        match (self, input) {
            (Self::Literal(value), _) => value.clone(),
            (Self::Id, Input::Row(id, ..)) => Value::text(id),
            (Self::Column(column), Input::Row(_, row, format)) => match &row[*column] {
                time @ Value::Time(_) => {
                    let text = value_text(time, format);
                    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map_or(Value::Null, Value::text)
                }
                other => other.clone(),
            },
            (Self::Request(value), Input::Request(request)) => request.get(value),
            (Self::Id | Self::Column(_) | Self::Bucket(_) | Self::Request(_), _) => Value::Null,
            (Self::Not(of), _) => truth(&of.evaluate(input)).map_or(Value::Null, |truth| boolean(!truth)),
            (Self::IsNull(of), _) => boolean(of.evaluate(input).is_null()),
            (Self::Case { upper, of }, _) => match of.evaluate(input) {
                Value::Text(text) if *upper => Value::text(&text.to_ascii_uppercase()),
                Value::Text(text) => Value::text(&text.to_ascii_lowercase()),
                other => other,
            },
            (Self::Member { of, key, text }, _) => member(&of.evaluate(input), &key.evaluate(input), *text),
            (Self::InList(of, list), _) => {
                let of = of.evaluate(input);
                let mut null = of.is_null();
                for item in list {
                    match compare(&of, &item.evaluate(input)) {
                        Some(Ordering::Equal) => return boolean(true),
                        None => null = true,
                        Some(_) => {}
                    }
                }
                if null && !list.is_empty() { Value::Null } else { boolean(false) }
            }
            (Self::InArray(of, array), _) => {
                let of = of.evaluate(input);
                let array = array.evaluate(input);
                if of.is_null() || array.is_null() {
                    return Value::Null;
                }
                boolean(array_elements(&array).contains(&of))
            }
            (Self::Binary(operator, left, right), _) => {
                binary(*operator, &left.evaluate(input), &right.evaluate(input))
            }
        }
    }

    /// Whether it holds, as a WHERE clause: NULL does not.
    #[must_use]
    pub fn holds(&self, input: Input<'_>) -> bool {
        truth(&self.evaluate(input)) == Some(true)
    }
}

impl RequestValues {
    fn get(&self, value: &RequestValue) -> Value {
        match value {
            RequestValue::UserId => self.user_id.clone(),
            RequestValue::Jwt => Value::text(&self.jwt.to_string()),
            RequestValue::Parameters => Value::text(&self.parameters.to_string()),
            RequestValue::Subscription => Value::text(&self.subscription.to_string()),
            RequestValue::TokenParameter(name) if name == "user_id" => self.user_id.clone(),
            RequestValue::TokenParameter(name) => sql_value(self.jwt.get("parameters").and_then(|all| all.get(name))),
            RequestValue::UserParameter(name) => sql_value(self.parameters.get(name)),
        }
    }
}

/// A JSON value as SQLite sees it: true is 1, objects and arrays are their text.
#[must_use]
pub fn sql_value(json: Option<&Json>) -> Value {
    match json {
        None | Some(Json::Null) => Value::Null,
        Some(Json::Bool(flag)) => boolean(*flag),
        Some(Json::Number(number)) => number
            .as_i64()
            .map_or_else(|| number.as_f64().map_or(Value::Null, Value::Real), Value::Int),
        Some(Json::String(text)) => Value::text(text),
        Some(other) => Value::text(&other.to_string()),
    }
}

/// The distinct elements of a JSON array, as SQL values without NULL; none when the text is no array.
#[must_use]
pub fn array_elements(value: &Value) -> Vec<Value> {
    let Value::Text(text) = value else {
        return Vec::new();
    };
    let Ok(Json::Array(elements)) = serde_json::from_str(text) else {
        return Vec::new();
    };
    let mut values: Vec<Value> = Vec::with_capacity(elements.len());
    for element in &elements {
        let value = sql_value(Some(element));
        if !value.is_null() && !values.contains(&value) {
            values.push(value);
        }
    }
    values
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

fn boolean(flag: bool) -> Value {
    Value::Int(i64::from(flag))
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
    if folded == "id" {
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

fn member(of: &Value, key: &Value, text: bool) -> Value {
    let (Value::Text(of), Value::Text(key)) = (of, key) else {
        return Value::Null;
    };
    let Ok(json) = serde_json::from_str::<Json>(of) else {
        return Value::Null;
    };
    let mut at = Some(&json);
    match key.strip_prefix('$') {
        None => at = json.get(&**key),
        Some(path) => {
            for step in path.split('.').skip(1) {
                at = at.and_then(|json| json.get(step));
            }
        }
    }
    match at {
        None => Value::Null,
        Some(json) if text => sql_value(Some(json)),
        Some(json) => Value::text(&json.to_string()),
    }
}

fn binary(operator: Operator, left: &Value, right: &Value) -> Value {
    match operator {
        Operator::And => match (truth(left), truth(right)) {
            (Some(false), _) | (_, Some(false)) => boolean(false),
            (Some(true), Some(true)) => boolean(true),
            _ => Value::Null,
        },
        Operator::Or => match (truth(left), truth(right)) {
            (Some(true), _) | (_, Some(true)) => boolean(true),
            (Some(false), Some(false)) => boolean(false),
            _ => Value::Null,
        },
        Operator::Concat => match (as_text(left), as_text(right)) {
            (Some(left), Some(right)) => Value::text(&(left + &right)),
            _ => Value::Null,
        },
        _ => compare(left, right).map_or(Value::Null, |order| {
            boolean(match operator {
                Operator::Eq => order.is_eq(),
                Operator::NotEq => order.is_ne(),
                Operator::Less => order.is_lt(),
                Operator::LessEq => order.is_le(),
                Operator::Greater => order.is_gt(),
                _ => order.is_ge(),
            })
        }),
    }
}

/// SQLite's order: NULL compares to nothing, numbers come before texts.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    #[expect(clippy::cast_precision_loss, reason = "mixed comparisons happen as reals")]
    let real = |int: i64| int as f64;
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Real(a), Value::Real(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Real(b)) => real(*a).partial_cmp(b),
        (Value::Real(a), Value::Int(b)) => a.partial_cmp(&real(*b)),
        (Value::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Text(_), _) => Some(Ordering::Greater),
        (_, Value::Text(_)) => Some(Ordering::Less),
        (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
        (Value::Time(_), _) | (_, Value::Time(_)) => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Null | Value::Time(_) => None,
        Value::Int(int) => Some(*int != 0),
        Value::Real(real) => Some(*real != 0.0),
        Value::Text(text) => {
            let number: String =
                text.trim_start().chars().take_while(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')).collect();
            Some(number.parse::<f64>().is_ok_and(|number| number != 0.0))
        }
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Time(_) => None,
        Value::Text(text) => Some(text.to_string()),
        other => Some(value_text(other, TimeFormat::Legacy)),
    }
}
