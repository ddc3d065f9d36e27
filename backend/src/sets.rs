//! Sets of strings, stored as JSON arrays in text columns.

use fixtures::Value;

/// Reads a set: NULL is the empty set; `None` for anything but an array of strings.
pub(crate) fn members(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Text(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// Whether two values hold the same members; `None` when one of them is not a set.
pub(crate) fn same_members(a: &Value, b: &Value) -> Option<bool> {
    let (a, b) = (members(a)?, members(b)?);
    Some(a.iter().all(|member| b.contains(member)) && b.iter().all(|member| a.contains(member)))
}

/// Three-way merge: the server's members, minus what is in `old` and not in `data`, plus what is in `data` and not in
/// `old`. Server order comes first, then additions in the operation's order. If the members do not change, the server's
/// text stays. `None` when one of them is not a set.
pub(crate) fn merge(server: &Value, old: &Value, data: &Value) -> Option<Value> {
    let (server_members, old, data) = (members(server)?, members(old)?, members(data)?);
    let mut merged: Vec<&String> =
        server_members.iter().filter(|member| data.contains(member) || !old.contains(member)).collect();
    let kept = merged.len();
    for member in &data {
        if !old.contains(member) && !merged.contains(&member) {
            merged.push(member);
        }
    }
    if kept == server_members.len() && merged.len() == kept {
        return Some(server.clone());
    }
    Some(Value::text(&serde_json::to_string(&merged).expect("strings always serialize")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges() {
        let check = |server: &str, old: &str, data: &str, expect: &str| {
            let value = |text: &str| if text == "null" { Value::Null } else { Value::text(text) };
            let merged = merge(&value(server), &value(old), &value(data));
            let shown = match &merged {
                None => "no set",
                Some(Value::Null) => "null",
                Some(value) => value.as_text().expect("sets are texts"),
            };
            assert_eq!(shown, expect, "server {server}, old {old}, data {data}");
        };
        check(r#"["a","b"]"#, r#"["a"]"#, r#"["a","c"]"#, r#"["a","b","c"]"#);
        check(r#"["a","b"]"#, r#"["a"]"#, "[]", r#"["b"]"#);
        check(r#"["a"]"#, "null", r#"["c","b"]"#, r#"["a","c","b"]"#);
        check("null", r#"["a"]"#, r#"["a","b"]"#, r#"["b"]"#);
        // Removed by one, added again by another who saw neither: it stays.
        check(r#"["a"]"#, "[]", r#"["a"]"#, r#"["a"]"#);
        // Unchanged membership keeps the text, white space included.
        check(r#"[ "a", "b" ]"#, r#"["a"]"#, r#"["b","a"]"#, r#"[ "a", "b" ]"#);
        check("null", r#"["a"]"#, "[]", "null");
        check(r#"{"a":1}"#, "[]", r#"["a"]"#, "no set");
        check(r#"["a"]"#, "[]", "[1]", "no set");
    }
}
