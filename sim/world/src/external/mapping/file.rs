//! The file of a mapping, and the presets: read and checked.

use std::collections::BTreeMap;
use std::path::Path;

use backend::PolicyKind;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde::Deserialize;

use super::types::{AnswerRules, BodyKind, Mapping, OperationRequest, Route, SendUnit};

/// The presets, by name.
pub(super) const PRESETS: [(&str, &str); 3] = [
    ("syncstorm", include_str!("../mappings/syncstorm.toml")),
    ("baseline", include_str!("../mappings/baseline.toml")),
    ("supabase", include_str!("../mappings/supabase.toml")),
];

/// The parts of an operation that a mapping may name.
const PARTS: [&str; 8] = ["op_id", "op", "table", "id", "tx_id", "data", "old", "client_id"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Unit {
    AsIs,
    Transaction,
    Operation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    policy: Option<String>,
    unit: Unit,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    request: Option<RequestEntry>,
    put: Option<OperationEntry>,
    patch: Option<OperationEntry>,
    delete: Option<OperationEntry>,
    #[serde(default)]
    answer: AnswerRules,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestEntry {
    path: String,
    method: Option<String>,
    list: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationEntry {
    path: String,
    method: String,
    #[serde(default)]
    body: BodyKind,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl Mapping {
    /// A preset by its name, or a file.
    ///
    /// # Errors
    /// What is wrong with it: file, field, and what would be right.
    pub fn read(name: &str) -> Result<Self, String> {
        let preset = PRESETS.iter().find(|(preset, _)| *preset == name);
        let text = match preset {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(Path::new(name)).map_err(|error| {
                let names = PRESETS.map(|(preset, _)| preset).join(", ");
                format!("--mapping {name}: {error}; name a file, or one of {names}")
            })?,
        };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::parse(&text, &variable).map_err(|problem| format!("--mapping {name}: {problem}"))
    }

    pub(super) fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        let policy = file.policy.as_deref().map(|name| {
            let names = PolicyKind::ALL.map(|kind| kind.to_string()).join(", ");
            name.parse::<PolicyKind>().map_err(|_| format!("policy: {name:?} is none of {names}"))
        });
        let unit = match file.unit {
            Unit::Operation => {
                let operation = |name: &str, entry: Option<OperationEntry>| {
                    let entry = entry
                        .ok_or_else(|| format!("{name}: missing; unit = \"operation\" needs put, patch and delete"))?;
                    let headers = headers(&format!("{name}.headers"), &entry.headers, variable)?;
                    Ok::<_, String>(OperationRequest {
                        route: route(name, &entry.path, &entry.method)?,
                        body: entry.body,
                        headers,
                    })
                };
                if file.request.is_some() {
                    return Err(
                        "request: has no meaning where unit = \"operation\"; write put, patch and delete".to_owned()
                    );
                }
                SendUnit::Operation(Box::new([
                    operation("put", file.put)?,
                    operation("patch", file.patch)?,
                    operation("delete", file.delete)?,
                ]))
            }
            unit => {
                let given = [("put", &file.put), ("patch", &file.patch), ("delete", &file.delete)];
                if let Some((name, _)) = given.into_iter().find(|(_, entry)| entry.is_some()) {
                    return Err(format!("{name}: has a meaning where unit = \"operation\" alone; write request"));
                }
                let request = file.request.ok_or("request: missing; write [request] with a path")?;
                let route = route("request", &request.path, request.method.as_deref().unwrap_or("POST"))?;
                if unit == Unit::AsIs {
                    if request.list.is_some() || !request.fields.is_empty() {
                        return Err("request.list, request.fields: our own wire has its own names".to_owned());
                    }
                    SendUnit::AsIs(route)
                } else {
                    let list = request.list.ok_or("request.list: missing; name the field that holds the operations")?;
                    for part in ["op", "table", "id"] {
                        if !request.fields.contains_key(part) {
                            return Err(format!("request.fields.{part}: missing; an operation is nothing without it"));
                        }
                    }
                    if let Some(other) = request.fields.keys().find(|part| !PARTS.contains(&part.as_str())) {
                        return Err(format!("request.fields.{other}: unknown; there are {}", PARTS.join(", ")));
                    }
                    SendUnit::Transaction { route, list, fields: request.fields }
                }
            }
        };
        if file.answer.code.is_none() && !file.answer.refused_codes.is_empty() {
            return Err("answer.refused_codes: answer.code is missing, the field that they stand in".to_owned());
        }
        if let Some(status) = file.answer.refused.iter().find(|status| !(400..600).contains(*status)) {
            return Err(format!("answer.refused: {status} is no status of an error (400 to 599)"));
        }
        Ok(Self {
            policy: policy.transpose()?,
            unit,
            headers: headers("headers", &file.headers, variable)?,
            answer: file.answer,
        })
    }
}

fn route(name: &str, path: &str, method: &str) -> Result<Route, String> {
    if !path.starts_with('/') || path.contains(char::is_whitespace) {
        return Err(format!("{name}.path: {path:?} must begin with a slash, such as /upload"));
    }
    let known = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let method = known.into_iter().find(|known| known.as_str() == method);
    let method = method.ok_or_else(|| format!("{name}.method: must be POST, PUT, PATCH or DELETE"))?;
    Ok(Route { path: path.to_owned(), method })
}

fn headers(
    field: &str,
    given: &BTreeMap<String, String>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let value = match value.strip_prefix('$') {
            Some(variable_name) => variable(variable_name)
                .ok_or_else(|| format!("{field}.{name}: the variable {variable_name} of the environment is not set"))?,
            None => value.clone(),
        };
        let name: HeaderName = name.parse().map_err(|_| format!("{field}.{name}: is no name of a header"))?;
        let mut value: HeaderValue =
            value.parse().map_err(|_| format!("{field}.{name}: its value is none of a header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_mappings_say_what_would_be_right() {
        let request = "[request]\npath = \"/upload\"\n";
        let table = [
            ("unit = \"batch\"", "line 1: unknown variant `batch`"),
            ("unit = \"as-is\"", "request: missing"),
            (
                "unit = \"as-is\"\npolicy = \"newest\"\n[request]\npath = \"/x\"",
                "policy: \"newest\" is none of field-merge",
            ),
            ("unit = \"as-is\"\n[request]\npath = \"x\"", "request.path: \"x\" must begin with a slash"),
            ("unit = \"as-is\"\n[request]\npath = \"/x\"\nmethod = \"GET\"", "request.method: must be POST"),
            (&format!("unit = \"transaction\"\n{request}"), "request.list: missing"),
            (
                &format!("unit = \"transaction\"\n{request}list = \"l\"\nfields = {{ op = \"o\" }}"),
                "request.fields.table: missing",
            ),
            (
                &format!(
                    "unit = \"transaction\"\n{request}list = \"l\"\nfields = {{ op = \"o\", table = \"t\", id = \"i\", row = \"r\" }}"
                ),
                "request.fields.row: unknown; there are op_id",
            ),
            (&format!("unit = \"operation\"\n{request}"), "request: has no meaning"),
            ("unit = \"operation\"", "put: missing"),
            (
                &format!("unit = \"as-is\"\n{request}[answer]\nrefused = [200]"),
                "answer.refused: 200 is no status of an error",
            ),
            (&format!("unit = \"as-is\"\n{request}[answer]\nrefused_codes = [\"2\"]"), "answer.code is missing"),
            (
                &format!("unit = \"as-is\"\n[headers]\nkey = \"$NOWHERE\"\n{request}"),
                "headers.key: the variable NOWHERE of the environment is not set",
            ),
            (&format!("unit = \"as-is\"\ncolour = 1\n{request}"), "line 2: unknown field `colour`"),
        ];
        for (text, expect) in table {
            let said = Mapping::parse(text, &|_| None).expect_err(text);
            assert!(said.contains(expect), "{text}\n{said}");
        }
        let said = Mapping::read("/nowhere.toml").expect_err("there is no such file");
        assert!(said.contains("--mapping /nowhere.toml") && said.contains("syncstorm, baseline, supabase"), "{said}");
    }
}
