//! PostgreSQL's types: from the text that the server writes to the values that sync queries and row data know.
//!
//! Text, numerics, JSON, dates, intervals, ranges and composites keep the server's text, and clients get that text.
//! Everything that clients get in another form is converted here, once, when the change arrives.

use std::collections::BTreeMap;

use fixtures::{Type, Value};

use crate::json::{TimeFormat, value_text, write_string, write_value};

/// How a column's text becomes a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceType {
    /// The server's text as it is.
    Text,
    /// Numbers, booleans and `timestamptz`.
    Scalar(Type),
    /// `timestamp` without a zone.
    Timestamp,
    /// `date`: the server's text, except for the infinities.
    Date,
    /// `time` without a zone.
    Time,
    /// `bytea`: kept as text here, dropped from row data.
    Bytea,
    /// An array, with the type of its elements and their delimiter. Its value is a JSON array as text.
    Array(Box<SourceType>, char),
}

/// A row of `pg_type`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypeRow {
    /// `b`, `d` for a domain, and others.
    pub(crate) kind: char,
    /// The base type of a domain.
    pub(crate) base: u32,
    /// The type of an array's elements.
    pub(crate) element: u32,
    /// `A` for arrays.
    pub(crate) category: char,
    /// The delimiter between the elements of arrays of this type.
    pub(crate) delimiter: char,
}

impl SourceType {
    /// The type of this oid. Domains are their base type when `unwrap_domains`, else text.
    pub(crate) fn of(oid: u32, types: &BTreeMap<u32, TypeRow>, unwrap_domains: bool) -> Self {
        match oid {
            16 => return Self::Scalar(Type::Boolean),
            17 => return Self::Bytea,
            20 | 26 => return Self::Scalar(Type::BigInt),
            21 => return Self::Scalar(Type::SmallInt),
            23 => return Self::Scalar(Type::Integer),
            700 => return Self::Scalar(Type::Real),
            701 => return Self::Scalar(Type::Double),
            1082 => return Self::Date,
            1083 => return Self::Time,
            1114 => return Self::Timestamp,
            1184 => return Self::Scalar(Type::Timestamptz),
            _ => {}
        }
        let Some(row) = types.get(&oid) else {
            return Self::Text;
        };
        if row.kind == 'd' && unwrap_domains {
            return Self::of(row.base, types, unwrap_domains);
        }
        if row.kind == 'b' && row.category == 'A' && row.element != 0 {
            let delimiter = types.get(&row.element).map_or(',', |element| element.delimiter);
            return Self::Array(Box::new(Self::of(row.element, types, unwrap_domains)), delimiter);
        }
        Self::Text
    }

    /// The type that the column has for sync queries and row data.
    pub(crate) fn column_type(&self) -> Type {
        match self {
            Self::Scalar(ty) => *ty,
            _ => Type::Text,
        }
    }

    /// Reads the server's text. What clients cannot hold (an instant outside the years 0 to 9999) is NULL.
    pub(crate) fn value(&self, text: &str, format: TimeFormat) -> Value {
        match self {
            Self::Text | Self::Bytea => Value::text(text),
            Self::Scalar(ty) => Value::from_text(*ty, text).unwrap_or(Value::Null),
            Self::Timestamp => timestamp(text, format),
            Self::Date => match text {
                "infinity" => Value::text("9999-12-31"),
                "-infinity" => Value::text("0000-01-01"),
                _ => Value::text(text),
            },
            Self::Time if format == TimeFormat::Iso8601 => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                Value::text(&format!("{whole}.{fraction:0<6}"))
            }
            Self::Time => Value::text(text),
            Self::Array(element, delimiter) => {
                let mut out = String::with_capacity(text.len() + 8);
                let mut reader = ArrayReader { text, at: 0, delimiter: *delimiter };
                match reader.array(element, format, &mut out) {
                    Some(()) => Value::text(&out),
                    None => Value::text(text),
                }
            }
        }
    }
}

/// A `timestamp`: the server's text in sync rules; with `T` and six digits from edition 2 on.
fn timestamp(text: &str, format: TimeFormat) -> Value {
    let unbounded = text.ends_with("infinity");
    if format == TimeFormat::Legacy && !unbounded {
        return Value::text(text);
    }
    let Some(micros) = fixtures::value::time_from_text(text) else {
        return Value::Null;
    };
    let json = value_text(&Value::Time(micros), format);
    json.strip_prefix('"').and_then(|text| text.strip_suffix("Z\"")).map_or(Value::Null, Value::text)
}

/// Reads an array literal such as `{1,NULL,"a\"b",{2}}`, with or without `[1:2]=` before it.
struct ArrayReader<'t> {
    text: &'t str,
    at: usize,
    delimiter: char,
}

impl ArrayReader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let taken = self.peek() == Some(wanted);
        self.at += if taken { wanted.len_utf8() } else { 0 };
        taken
    }

    fn array(&mut self, element: &SourceType, format: TimeFormat, out: &mut String) -> Option<()> {
        if self.peek() == Some('[') {
            self.at += self.text[self.at..].find('=')? + 1;
        }
        self.list(element, format, out)?;
        (self.at == self.text.len()).then_some(())
    }

    fn list(&mut self, element: &SourceType, format: TimeFormat, out: &mut String) -> Option<()> {
        if !self.take('{') {
            return None;
        }
        out.push('[');
        if self.take('}') {
            out.push(']');
            return Some(());
        }
        loop {
            match self.peek()? {
                '{' => self.list(element, format, out)?,
                '"' => {
                    let text = self.quoted()?;
                    write_element(element, &text, format, out);
                }
                _ => {
                    let from = self.at;
                    let end = self.text[from..].find([self.delimiter, '}'])?;
                    self.at += end;
                    match &self.text[from..from + end] {
                        "NULL" => out.push_str("null"),
                        text => write_element(element, text, format, out),
                    }
                }
            }
            if self.take('}') {
                out.push(']');
                return Some(());
            }
            if !self.take(self.delimiter) {
                return None;
            }
            out.push(',');
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let mut out = String::new();
        self.at += 1;
        loop {
            let mut next = self.peek()?;
            self.at += next.len_utf8();
            match next {
                '"' => return Some(out),
                '\\' => {
                    next = self.peek()?;
                    self.at += next.len_utf8();
                }
                _ => {}
            }
            out.push(next);
        }
    }
}

fn write_element(element: &SourceType, text: &str, format: TimeFormat, out: &mut String) {
    match element {
        SourceType::Bytea => out.push_str("null"),
        SourceType::Text => write_string(out, text),
        _ => write_value(out, &element.value(text, format), element.column_type(), format),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(oid: u32, text: &str, format: TimeFormat, expect: &str) {
        // Arrays of bool, int4, text, float8, timestamptz, bytea; a domain over int4.
        let array = |element: u32| TypeRow { kind: 'b', base: 0, element, category: 'A', delimiter: ',' };
        let mut types: BTreeMap<u32, TypeRow> =
            [(1000, 16), (1007, 23), (1009, 25), (1022, 701), (1185, 1184), (1001, 17)]
                .into_iter()
                .map(|(oid, element)| (oid, array(element)))
                .collect();
        types.insert(50_000, TypeRow { kind: 'd', base: 23, element: 0, category: 'N', delimiter: ',' });
        let ty = SourceType::of(oid, &types, format == TimeFormat::Iso8601);
        let mut out = String::new();
        write_value(&mut out, &ty.value(text, format), ty.column_type(), format);
        assert_eq!(out, expect, "{text} of type {oid}");
        serde_json::from_str::<serde_json::Value>(&out).expect("row data is JSON");
    }

    #[test]
    fn values_of_every_type() {
        use TimeFormat::{Iso8601, Legacy};
        check(16, "t", Legacy, "1");
        check(16, "f", Legacy, "0");
        check(20, "9007199254740993", Legacy, "9007199254740993");
        check(26, "4294967295", Legacy, "4294967295");
        check(21, "-5", Legacy, "-5");
        check(23, "1", Legacy, "1");
        check(700, "0.1", Legacy, "0.1");
        check(701, "2", Legacy, "2.0");
        check(701, "NaN", Legacy, "null");
        check(1700, "12.340", Legacy, "\"12.340\"");
        check(25, "a\"b", Legacy, "\"a\\\"b\"");
        check(3802, "{\"a\": [1, 2.50]}", Legacy, "\"{\\\"a\\\": [1, 2.50]}\"");
        check(2950, "6f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0", Legacy, "\"6f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0\"");
        check(1184, "2026-01-02 01:04:05.678901+00", Legacy, "\"2026-01-02 01:04:05.678901Z\"");
        check(1184, "2026-01-02 01:04:05+00", Iso8601, "\"2026-01-02T01:04:05.000000Z\"");
        check(1184, "infinity", Legacy, "\"9999-12-31 23:59:59Z\"");
        check(1184, "0044-03-15 00:00:00+00 BC", Legacy, "null");
        check(1114, "2026-01-02 03:04:05.6", Legacy, "\"2026-01-02 03:04:05.6\"");
        check(1114, "2026-01-02 03:04:05.6", Iso8601, "\"2026-01-02T03:04:05.600000\"");
        check(1114, "infinity", Legacy, "\"9999-12-31 23:59:59\"");
        check(1082, "2026-01-02", Legacy, "\"2026-01-02\"");
        check(1083, "03:04:05.6", Legacy, "\"03:04:05.6\"");
        check(1083, "03:04:05.6", Iso8601, "\"03:04:05.600000\"");
        check(1083, "03:04:05", Iso8601, "\"03:04:05.000000\"");
        check(50_000, "5", Legacy, "\"5\"");
        check(50_000, "5", Iso8601, "5");
    }

    #[test]
    fn arrays_become_json() {
        use TimeFormat::Legacy;
        check(
            1009,
            "{x,\"y z\",NULL,\"NULL\",\"q\\\"\\\\\"}",
            Legacy,
            r#""[\"x\",\"y z\",null,\"NULL\",\"q\\\"\\\\\"]""#,
        );
        check(1007, "{}", Legacy, "\"[]\"");
        check(1007, "{{1,2},{3,NULL}}", Legacy, "\"[[1,2],[3,null]]\"");
        check(1007, "[0:1]={1,2}", Legacy, "\"[1,2]\"");
        check(1000, "{t,f}", Legacy, "\"[1,0]\"");
        check(1022, "{1,1.5}", Legacy, "\"[1.0,1.5]\"");
        check(1185, "{\"2026-01-02 01:04:05+00\"}", Legacy, r#""[\"2026-01-02 01:04:05Z\"]""#);
        check(1001, "{\"\\\\x00\"}", Legacy, "\"[null]\"");
    }
}
