//! A row as a device or a service writes it, typed by the schema.

use fixtures::{Row, Table, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

/// Reads one row's JSON object; keys that are no columns are skipped, missing ones are NULL.
pub(super) fn parse(table: &Table, json: &str) -> Option<Row> {
    struct Columns<'a> {
        table: &'a Table,
    }
    impl<'de> Visitor<'de> for Columns<'_> {
        type Value = Vec<Value>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a row as a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let columns = &self.table.columns;
            let mut values = vec![Value::Null; columns.len()];
            let mut hint = 0;
            while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                let index = if columns.get(hint).is_some_and(|column| column.name == *key) {
                    Some(hint)
                } else {
                    self.table.column_index(&key)
                };
                match index {
                    Some(index) => {
                        hint = index + 1;
                        let json: serde_json::Value = map.next_value()?;
                        // What the column's type does not have is kept as its text: it is there, and no value of the server's.
                        let value = Value::from_json(columns[index].ty, &json);
                        values[index] = value.unwrap_or_else(|_| Value::text(&json.to_string()));
                    }
                    None => {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
            }
            Ok(values)
        }
    }
    impl<'de> DeserializeSeed<'de> for Columns<'_> {
        type Value = Vec<Value>;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_map(self)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    Columns { table }.deserialize(&mut reader).ok().map(Row::from)
}

#[cfg(test)]
mod tests {
    use fixtures::App;

    use super::*;

    #[test]
    fn a_value_that_the_column_cannot_hold_is_kept_as_text() {
        let app = App::builtin("flowstate").expect("it is built in");
        let table = &app.schema.tables[app.schema.table_index("tasks").expect("it is there")];
        let column = table.column_index("total_pomodoros").expect("it is there");
        let row = parse(table, r#"{"title":"a","total_pomodoros":"many"}"#).expect("the row is there");
        assert_eq!(row[column], Value::text("\"many\""));
        assert_eq!(parse(table, "[1]"), None, "that is no row");
    }
}
