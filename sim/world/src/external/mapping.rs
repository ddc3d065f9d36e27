//! How an upload endpoint is spoken to that is not ours: a small file, and presets of it.
//!
//! | Field | |
//! |---|---|
//! | `policy` | what the backend is held to; left out: the rules of policy.toml alone, and no model |
//! | `unit` | what a request is: `as-is` our own wire and backend (with `--annotate-commits`), `transaction` one transaction, `operation` one operation |
//! | `headers` | of each request; a value that begins with `$` is a variable of the environment |
//! | `request` | for `as-is` and `transaction`: `path`, `method` (POST); for `transaction`: `list`, the field that holds the operations, and `fields`: our part of an operation (`op_id`, `op`, `table`, `id`, `tx_id`, `data`, `old`, `client_id`) = its name there |
//! | `put`, `patch`, `delete` | for `operation`: `path` with `{table}` and `{id}`, `method`, `body` (`row` the data with the id, `data`, or none), `headers` |
//! | `answer` | `refused`: the statuses that end a transaction for good; `code` and `refused_codes`: a field of an error, and the beginnings of its value that do so; `failed`: `{ field, is }`, by which a 2xx says that it failed; `conflicts`: the path of our conflict records |
//!
//! Everything that fails otherwise is tried again, as the devices do.

use std::collections::BTreeMap;
use std::path::Path;

use backend::PolicyKind;
use backend::wire::{UploadRequest, WireOp, WireTransaction};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use sim_stack::target::http::{Http, NoReply, Reply, request};
use crate::real::share::Endpoint;

/// The presets, by name.
const PRESETS: [(&str, &str); 3] = [
    ("syncstorm", include_str!("mappings/syncstorm.toml")),
    ("baseline", include_str!("mappings/baseline.toml")),
    ("supabase", include_str!("mappings/supabase.toml")),
];

/// The parts of an operation that a mapping may name.
const PARTS: [&str; 8] = ["op_id", "op", "table", "id", "tx_id", "data", "old", "client_id"];

/// How an upload is sent, and what its answer means.
#[derive(Debug)]
pub struct Mapping {
    /// What the backend is held to.
    pub policy: Option<PolicyKind>,
    unit: Sending,
    headers: HeaderMap,
    answer: Answer,
}

#[derive(Debug)]
enum Sending {
    AsIs(Place),
    Transaction { place: Place, list: String, fields: BTreeMap<String, String> },
    /// For PUT, PATCH and DELETE.
    Operation(Box<[Single; 3]>),
}

/// Where a request goes.
#[derive(Debug)]
struct Place {
    path: String,
    method: Method,
}

/// A request for one operation.
#[derive(Debug)]
struct Single {
    place: Place,
    body: Body,
    headers: HeaderMap,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Body {
    /// The columns that were written, and the id.
    Row,
    /// The columns that were written.
    Data,
    #[default]
    None,
}

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
    put: Option<SingleEntry>,
    patch: Option<SingleEntry>,
    delete: Option<SingleEntry>,
    #[serde(default)]
    answer: Answer,
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
struct SingleEntry {
    path: String,
    method: String,
    #[serde(default)]
    body: Body,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(default)]
    refused: Vec<u16>,
    code: Option<String>,
    #[serde(default)]
    refused_codes: Vec<String>,
    failed: Option<Failed>,
    conflicts: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failed {
    field: String,
    is: Json,
}

/// What a device is answered.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
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

    fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
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
                let single = |name: &str, entry: Option<SingleEntry>| {
                    let entry = entry.ok_or_else(|| format!("{name}: missing; unit = \"operation\" needs put, patch and delete"))?;
                    let headers = headers(&format!("{name}.headers"), &entry.headers, variable)?;
                    Ok::<_, String>(Single { place: place(name, &entry.path, &entry.method)?, body: entry.body, headers })
                };
                if file.request.is_some() {
                    return Err("request: has no meaning where unit = \"operation\"; write put, patch and delete".to_owned());
                }
                Sending::Operation(Box::new([
                    single("put", file.put)?,
                    single("patch", file.patch)?,
                    single("delete", file.delete)?,
                ]))
            }
            unit => {
                let given = [("put", &file.put), ("patch", &file.patch), ("delete", &file.delete)];
                if let Some((name, _)) = given.into_iter().find(|(_, entry)| entry.is_some()) {
                    return Err(format!("{name}: has a meaning where unit = \"operation\" alone; write request"));
                }
                let request = file.request.ok_or("request: missing; write [request] with a path")?;
                let place = place("request", &request.path, request.method.as_deref().unwrap_or("POST"))?;
                if unit == Unit::AsIs {
                    if request.list.is_some() || !request.fields.is_empty() {
                        return Err("request.list, request.fields: our own wire has its own names".to_owned());
                    }
                    Sending::AsIs(place)
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
                    Sending::Transaction { place, list, fields: request.fields }
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

    /// What that says of whoever takes uploads.
    pub(super) fn endpoint(&self) -> Endpoint {
        match self.unit {
            Sending::AsIs(_) => Endpoint::Notes,
            Sending::Transaction { .. } => Endpoint::Transactions,
            Sending::Operation(_) => Endpoint::Operations,
        }
    }

    /// Where our conflict records are, if the endpoint has them.
    pub(super) fn conflicts(&self) -> Option<&str> {
        self.answer.conflicts.as_deref()
    }

    /// Sends an upload of ours to the endpoint at `base`.
    pub(super) async fn send(&self, http: &Http, base: &str, token: &str, body: &Bytes) -> Told {
        let Ok(upload) = serde_json::from_slice::<UploadRequest>(body) else {
            return Told { status: StatusCode::BAD_REQUEST, body: Bytes::new() };
        };
        match &self.unit {
            Sending::AsIs(place) => {
                let body = String::from_utf8_lossy(body);
                let request = self.request(base, place, token, &HeaderMap::new(), Some(&body));
                self.told(http.send(request).await)
            }
            Sending::Transaction { place, list, fields } => {
                for transaction in &upload.transactions {
                    let ops: Vec<Json> = transaction.ops.iter().map(|op| entry(&upload, transaction, op, fields)).collect();
                    let body = Json::Object(Map::from_iter([(list.clone(), Json::Array(ops))])).to_string();
                    let request = self.request(base, place, token, &HeaderMap::new(), Some(&body));
                    let told = self.told(http.send(request).await);
                    if !told.status.is_success() {
                        return told;
                    }
                }
                // A bare success says that everything was applied.
                Told { status: StatusCode::OK, body: Bytes::from_static(b"{}") }
            }
            Sending::Operation(singles) => {
                let mut answers = Vec::new();
                for transaction in &upload.transactions {
                    match self.one_by_one(http, base, token, transaction, singles).await {
                        Ok(answer) => answers.push(answer),
                        Err(told) => return told,
                    }
                }
                Told { status: StatusCode::OK, body: json!({ "transactions": answers }).to_string().into() }
            }
        }
    }

    /// One operation after the other; the first that is refused for good ends the transaction.
    async fn one_by_one(
        &self,
        http: &Http,
        base: &str,
        token: &str,
        transaction: &WireTransaction,
        [put, patch, delete]: &[Single; 3],
    ) -> Result<Json, Told> {
        let mut ops: Vec<Json> = Vec::new();
        let mut is_refused = false;
        for op in &transaction.ops {
            if is_refused {
                ops.push(json!({"op_id": op.op_id, "outcome": "rolled_back", "reason": "not attempted"}));
                continue;
            }
            let single = match op.op.as_str() {
                "PUT" => put,
                "PATCH" => patch,
                _ => delete,
            };
            let place = Place { path: filled(&single.place.path, op), method: single.place.method.clone() };
            let request = self.request(base, &place, token, &single.headers, single.body.of(op).as_deref());
            let reply = http.send(request).await;
            let reason = reply.as_ref().ok().and_then(|reply| self.refusal(reply));
            let told = self.told(reply);
            if let Some(reason) = reason {
                is_refused = true;
                ops.push(json!({"op_id": op.op_id, "outcome": "rejected", "reason": reason}));
            } else if told.status.is_success() {
                ops.push(json!({"op_id": op.op_id, "outcome": "applied"}));
            } else {
                return Err(told);
            }
        }
        let outcome = if is_refused { "refused" } else { "committed" };
        Ok(json!({"tx_id": transaction.tx_id, "outcome": outcome, "ops": ops}))
    }

    fn request(
        &self,
        base: &str,
        place: &Place,
        token: &str,
        headers: &HeaderMap,
        body: Option<&str>,
    ) -> Request<Full<Bytes>> {
        let mut request = request(place.method.clone(), &format!("{base}{}", place.path), Some(token), body);
        request.headers_mut().extend(self.headers.clone());
        request.headers_mut().extend(headers.clone());
        request
    }

    /// Why an answer ends its transaction for good, if it does.
    fn refusal(&self, reply: &Reply) -> Option<String> {
        let status = reply.status;
        if (200..300).contains(&status) {
            return None;
        }
        let body = reply.json();
        let code = self.answer.code.as_ref().and_then(|field| body[field.as_str()].as_str());
        if let Some(code) = code.filter(|code| self.answer.refused_codes.iter().any(|begins| code.starts_with(begins.as_str()))) {
            return Some(code.to_owned());
        }
        self.answer.refused.contains(&status).then(|| format!("HTTP {status}"))
    }

    /// What a device is told of an answer. Devices give up after 400 and 413, and try again after everything else.
    fn told(&self, reply: Result<Reply, NoReply>) -> Told {
        let plain = |status: StatusCode| Told { status, body: Bytes::new() };
        let reply = match reply {
            Ok(reply) => reply,
            Err(NoReply::Refused | NoReply::Name(_)) => return plain(StatusCode::SERVICE_UNAVAILABLE),
            Err(_) => return plain(StatusCode::GATEWAY_TIMEOUT),
        };
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
        if status.is_success() {
            let says_failed = |failed: &Failed| reply.json().get(&failed.field) == Some(&failed.is);
            return match self.answer.failed.as_ref().is_some_and(says_failed) {
                true => plain(StatusCode::INTERNAL_SERVER_ERROR),
                false => Told { status, body: reply.body },
            };
        }
        let ends = matches!(status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE);
        match (self.refusal(&reply).is_some(), ends) {
            (true, false) => plain(StatusCode::BAD_REQUEST),
            (false, true) => plain(StatusCode::CONFLICT),
            _ => Told { status, body: reply.body },
        }
    }
}

impl Body {
    fn of(self, op: &WireOp) -> Option<String> {
        let mut data = op.data.clone().unwrap_or_default();
        match self {
            Self::None => return None,
            Self::Data => {}
            Self::Row => {
                data.insert("id".to_owned(), Json::String(op.id.clone()));
            }
        }
        Some(Json::Object(data).to_string())
    }
}

/// An operation by the names of the endpoint; what it does not have is left out.
fn entry(upload: &UploadRequest, transaction: &WireTransaction, op: &WireOp, fields: &BTreeMap<String, String>) -> Json {
    let part = |name: &str| match name {
        "op_id" => Some(json!(op.op_id)),
        "op" => Some(json!(op.op)),
        "table" => Some(json!(op.table)),
        "id" => Some(json!(op.id)),
        "tx_id" => Some(json!(transaction.tx_id)),
        "data" => op.data.clone().map(Json::Object),
        "old" => op.old.clone().map(Json::Object),
        _ => Some(json!(upload.client_id)),
    };
    Json::Object(fields.iter().filter_map(|(name, theirs)| Some((theirs.clone(), part(name)?))).collect())
}

fn filled(path: &str, op: &WireOp) -> String {
    path.replace("{table}", &encoded(&op.table)).replace("{id}", &encoded(&op.id))
}

/// Percent-encoded, as a part of a path or query.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

fn place(name: &str, path: &str, method: &str) -> Result<Place, String> {
    if !path.starts_with('/') || path.contains(char::is_whitespace) {
        return Err(format!("{name}.path: {path:?} must begin with a slash, such as /upload"));
    }
    let known = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let method = known.into_iter().find(|known| known.as_str() == method);
    let method = method.ok_or_else(|| format!("{name}.method: must be POST, PUT, PATCH or DELETE"))?;
    Ok(Place { path: path.to_owned(), method })
}

fn headers(
    place: &str,
    given: &BTreeMap<String, String>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let value = match value.strip_prefix('$') {
            Some(variable_name) => variable(variable_name)
                .ok_or_else(|| format!("{place}.{name}: the variable {variable_name} of the environment is not set"))?,
            None => value.clone(),
        };
        let name: HeaderName = name.parse().map_err(|_| format!("{place}.{name}: is no name of a header"))?;
        let mut value: HeaderValue = value.parse().map_err(|_| format!("{place}.{name}: its value is none of a header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    /// A request as an endpoint sees it: method, path and query, the headers asked about, the body.
    type Seen = (String, String, Vec<Option<String>>, Json);

    /// Sends an upload of three operations through a mapping to an endpoint that gives these answers, one a request and
    /// the last for ever.
    fn sent(mapping: &Mapping, answers: &[(u16, &str)]) -> (Vec<Seen>, Told) {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let answers: Vec<(u16, String)> = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let record = seen.clone();
        let router = axum::Router::new().fallback(move |request: Request<axum::body::Body>| {
            let (record, answers) = (record.clone(), answers.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.expect("a small body");
                let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
                let mut record = record.lock().expect("nothing panics with it");
                let (status, text) = answers[record.len().min(answers.len() - 1)].clone();
                record.push((
                    parts.method.to_string(),
                    parts.uri.to_string(),
                    ["authorization", "apikey", "prefer", "content-type"].map(header).into(),
                    serde_json::from_slice(&body).unwrap_or_default(),
                ));
                (StatusCode::from_u16(status).expect("a status"), text)
            }
        });
        let upload = json!({"client_id": "c", "transactions": [{"tx_id": 7, "ops": [
            {"op_id": 1, "op": "PUT", "table": "notes", "id": "a b", "data": {"title": "x", "n": 0.1}},
            {"op_id": 2, "op": "PATCH", "table": "notes", "id": "c", "data": {"title": null}, "old": {"title": "y"}},
            {"op_id": 3, "op": "DELETE", "table": "notes", "id": "d", "old": {"title": "z"}},
        ]}]});
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let told = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let base = format!("http://{}", listener.local_addr().expect("it has one"));
            tokio::spawn(async move { axum::serve(listener, router).await });
            let http = Http::new(Duration::from_secs(60)).expect("a client");
            mapping.send(&http, &base, "the-token", &upload.to_string().into()).await
        });
        let seen = seen.lock().expect("nothing panics with it").clone();
        (seen, told)
    }

    fn preset(name: &str) -> Mapping {
        let (_, text) = PRESETS.iter().find(|(preset, _)| *preset == name).expect("there is one");
        Mapping::parse(text, &|variable| Some(format!("the value of {variable}"))).expect("presets are sound")
    }

    #[test]
    fn the_baseline_is_sent_what_the_sdks_serialise() {
        let (seen, told) = sent(&preset("baseline"), &[(200, "ok")]);
        let headers = vec![Some("Bearer the-token".to_owned()), None, None, Some("application/json".to_owned())];
        let body = json!({"batch": [
            {"op_id": 1, "op": "PUT", "type": "notes", "id": "a b", "tx_id": 7, "data": {"title": "x", "n": 0.1}},
            {"op_id": 2, "op": "PATCH", "type": "notes", "id": "c", "tx_id": 7, "data": {"title": null}},
            {"op_id": 3, "op": "DELETE", "type": "notes", "id": "d", "tx_id": 7},
        ]});
        assert_eq!(seen, [("POST".to_owned(), "/upload".to_owned(), headers, body)]);
        assert_eq!((told.status, &told.body[..]), (StatusCode::OK, &b"{}"[..]));
    }

    #[test]
    fn postgrest_is_sent_one_request_an_operation() {
        let (seen, told) = sent(&preset("supabase"), &[(201, "")]);
        let asked: Vec<(&str, &str, &Json)> = seen.iter().map(|(method, path, _, body)| (&**method, &**path, body)).collect();
        let (row, data) = (json!({"id": "a b", "title": "x", "n": 0.1}), json!({"title": null}));
        assert_eq!(asked, [
            ("POST", "/rest/v1/notes", &row),
            ("PATCH", "/rest/v1/notes?id=eq.c", &data),
            ("DELETE", "/rest/v1/notes?id=eq.d", &Json::Null),
        ]);
        for (_, _, headers, _) in &seen {
            assert_eq!(headers[..2], [Some("Bearer the-token".to_owned()), Some("the value of SUPABASE_ANON_KEY".to_owned())]);
        }
        assert_eq!(seen[0].2[2].as_deref(), Some("resolution=merge-duplicates,return=minimal"));
        let answer: Json = serde_json::from_slice(&told.body).expect("our own wire");
        assert_eq!(answer["transactions"][0]["outcome"], "committed");
    }

    #[test]
    fn what_postgrest_refuses_for_good_ends_the_transaction() {
        let (seen, told) = sent(&preset("supabase"), &[(201, ""), (409, r#"{"code":"23505"}"#)]);
        assert_eq!(seen.len(), 2, "the rest is not sent");
        let answer: Json = serde_json::from_slice(&told.body).expect("our own wire");
        let transaction = &answer["transactions"][0];
        assert_eq!(transaction["outcome"], "refused");
        let outcomes: Vec<&Json> = transaction["ops"].as_array().into_iter().flatten().map(|op| &op["outcome"]).collect();
        assert_eq!(outcomes, ["applied", "rejected", "rolled_back"]);
        assert_eq!(transaction["ops"][1]["reason"], "23505");
        // Anything else is tried again.
        let (seen, told) = sent(&preset("supabase"), &[(500, r#"{"code":"57014"}"#)]);
        assert_eq!((seen.len(), told.status), (1, StatusCode::INTERNAL_SERVER_ERROR));
    }

    #[test]
    fn answers_are_what_devices_understand() {
        let answer = "[answer]\nrefused = [409]\nfailed = { field = \"success\", is = false }";
        let text = format!("unit = \"transaction\"\n[request]\npath = \"/x\"\nlist = \"l\"\nfields = {{ op = \"o\", table = \"t\", id = \"i\" }}\n{answer}");
        let mapping = Mapping::parse(&text, &|_| None).expect("it is sound");
        for (status, body, expect) in [
            (200, "", 200),
            (200, r#"{"success":true}"#, 200),
            (200, r#"{"success":false}"#, 500),
            // Given up by a device, and tried again by it.
            (409, "", 400),
            (400, "", 409),
            (401, "", 401),
            (503, "", 503),
        ] {
            assert_eq!(sent(&mapping, &[(status, body)]).1.status.as_u16(), expect, "{status} {body}");
        }
    }

    #[test]
    fn wrong_mappings_are_told_what_would_be_right() {
        let request = "[request]\npath = \"/upload\"\n";
        let table = [
            ("unit = \"batch\"", "line 1: unknown variant `batch`"),
            ("unit = \"as-is\"", "request: missing"),
            ("unit = \"as-is\"\npolicy = \"newest\"\n[request]\npath = \"/x\"", "policy: \"newest\" is none of field-merge"),
            ("unit = \"as-is\"\n[request]\npath = \"x\"", "request.path: \"x\" must begin with a slash"),
            ("unit = \"as-is\"\n[request]\npath = \"/x\"\nmethod = \"GET\"", "request.method: must be POST"),
            (&format!("unit = \"transaction\"\n{request}"), "request.list: missing"),
            (&format!("unit = \"transaction\"\n{request}list = \"l\"\nfields = {{ op = \"o\" }}"), "request.fields.table: missing"),
            (&format!("unit = \"transaction\"\n{request}list = \"l\"\nfields = {{ op = \"o\", table = \"t\", id = \"i\", row = \"r\" }}"), "request.fields.row: unknown; there are op_id"),
            (&format!("unit = \"operation\"\n{request}"), "request: has no meaning"),
            ("unit = \"operation\"", "put: missing"),
            (&format!("unit = \"as-is\"\n{request}[answer]\nrefused = [200]"), "answer.refused: 200 is no status of an error"),
            (&format!("unit = \"as-is\"\n{request}[answer]\nrefused_codes = [\"2\"]"), "answer.code is missing"),
            (&format!("unit = \"as-is\"\n[headers]\nkey = \"$NOWHERE\"\n{request}"), "headers.key: the variable NOWHERE of the environment is not set"),
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
