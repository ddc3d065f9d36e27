//! Sets that a column holds as a JSON array of strings.

use std::collections::BTreeSet;

use fixtures::Value;

/// The members in order, each once; `None` if the value is no JSON array of strings. NULL is the empty set.
pub(crate) fn members(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Text(text) => {
            let mut members: Vec<String> = serde_json::from_str(text).ok()?;
            let mut seen = BTreeSet::new();
            members.retain(|member| seen.insert(member.clone()));
            Some(members)
        }
        _ => None,
    }
}

/// Whether two values have the same members.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let sorted = |value| {
        members(value).map(|mut members| {
            members.sort_unstable();
            members
        })
    };
    one == other || sorted(one).is_some_and(|one| sorted(other) == Some(one))
}

/// The server's set, less what `old` had and `data` lacks, with what `data` has and `old` lacked: the server's
/// order, then additions in the operation's order. Unchanged membership keeps the server's text. `None` if any of
/// the three is no set.
pub(super) fn merge(server: &Value, old: &Value, data: &Value) -> Option<Value> {
    let (mut result, old, data) = (members(server)?, members(old)?, members(data)?);
    let before = result.len();
    result.retain(|member| !old.contains(member) || data.contains(member));
    let removed = result.len() < before;
    let added: Vec<String> =
        data.into_iter().filter(|member| !old.contains(member) && !result.contains(member)).collect();
    if !removed && added.is_empty() {
        return Some(server.clone());
    }
    result.extend(added);
    Some(text(&result))
}

fn text(members: &[String]) -> Value {
    Value::text(&serde_json::to_string(members).expect("strings always serialize"))
}
