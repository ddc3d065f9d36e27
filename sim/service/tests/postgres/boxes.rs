//! A table of boxes, its sync rules, and its rows as a client lists them.

use serde_json::Value as Json;

use crate::rig::{Rig, lines};

pub(crate) const BOXES: &str = "CREATE TABLE boxes (id text PRIMARY KEY, label text, size integer)";
pub(crate) const RULES: &str = "bucket_definitions: {all: {data: SELECT * FROM boxes}}";
/// The visible rows of `boxes`, as a client lists them.
pub(crate) const ROWS: &str = "SELECT 'boxes/' || id || ' {\"id\":' || to_json(id) || ',\"label\":' || \
    coalesce(to_json(label)::text, 'null') || ',\"size\":' || coalesce(size::text, 'null') || '}' \
    FROM boxes ORDER BY id COLLATE \"C\"";

pub(crate) fn rows(rig: &Rig) -> Vec<String> {
    lines(&rig.cluster.sql(ROWS))
}

/// (operation, id, data) of all data lines.
pub(crate) fn ops(lines: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines {
        let line: Json = serde_json::from_str(line).expect("a line is JSON");
        for op in line["data"]["data"].as_array().into_iter().flatten() {
            let text = |key: &str| op[key].as_str().unwrap_or("-").to_owned();
            found.push(format!("{} {} {}", text("op"), text("object_id"), text("data")));
        }
    }
    found
}
