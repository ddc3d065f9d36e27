//! The SQL expressions of sync queries, evaluated with SQLite's semantics.
//!
//! An expression draws on a row, on the request, or on neither; [`Expression::reads`] says which.

use std::cmp::Ordering;

use fixtures::{Row, Value};
use serde_json::Value as Json;

use crate::row::{TimeFormat, value_text};

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

    /// Adds the indices of the columns that it reads.
    pub(super) fn columns(&self, found: &mut Vec<usize>) {
        match self {
            Self::Column(column) => found.push(*column),
            Self::Literal(_) | Self::Id | Self::Bucket(_) | Self::Request(_) => {}
            Self::Not(of) | Self::IsNull(of) | Self::Case { of, .. } => of.columns(found),
            Self::Member { of: left, key: right, .. } | Self::Binary(_, left, right) | Self::InArray(left, right) => {
                left.columns(found);
                right.columns(found);
            }
            Self::InList(of, list) => {
                of.columns(found);
                list.iter().for_each(|item| item.columns(found));
            }
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
        Some(Json::Number(number)) => {
            number.as_i64().map_or_else(|| number.as_f64().map_or(Value::Null, Value::Real), Value::Int)
        }
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

pub(super) fn boolean(flag: bool) -> Value {
    Value::Int(i64::from(flag))
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
