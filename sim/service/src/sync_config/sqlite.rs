//! SQLite's semantics of single values, which the expressions of sync queries follow.

use std::cmp::Ordering;

use fixtures::Value;
use serde_json::Value as Json;

use crate::json::{TimeFormat, value_text};

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

/// The distinct elements of a JSON array, as SQL values without NULL. Other values have none.
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

pub(super) fn member(of: &Value, key: &Value, text: bool) -> Value {
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

/// SQLite's order: NULL is not comparable, numbers come before texts.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
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

pub(super) fn truth(value: &Value) -> Option<bool> {
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

pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Time(_) => None,
        Value::Text(text) => Some(text.to_string()),
        other => Some(value_text(other, TimeFormat::Legacy)),
    }
}
