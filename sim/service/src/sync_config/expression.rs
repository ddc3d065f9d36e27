//! The SQL expressions of sync queries, evaluated with SQLite's semantics.
//!
//! An expression reads a row, the request, both or neither; [`Expression::reads`] says which.

use std::cmp::Ordering;

use fixtures::{Row, Value};
use serde_json::Value as Json;

use super::sqlite::{array_elements, as_text, boolean, compare, member, sql_value, truth};
use crate::json::{TimeFormat, value_text};

/// What an expression reads.
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
        /// Whether it is `upper`.
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

/// The values of a request.
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
    /// What it reads.
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

    /// Its value, which is never [`Value::Time`]. Names that the input does not have are NULL.
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

    /// Whether it is true, as in WHERE: NULL is not.
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
