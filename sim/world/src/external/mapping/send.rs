//! An upload sent in the form that the endpoint takes.

use std::collections::BTreeMap;

use backend::wire::{UploadRequest, WireOp, WireTransaction};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use reqwest::RequestBuilder;
use serde_json::{Map, Value as Json, json};
use sim_stack::existing_stack::http::Http;

use super::answer::UploadAnswer;
use super::types::{BodyKind, Mapping, OperationRequest, Route, SendUnit};

impl Mapping {
    /// Sends an upload of ours to the endpoint at `base`.
    pub(in crate::external) async fn send(&self, http: &Http, base: &str, token: &str, body: &Bytes) -> UploadAnswer {
        let Ok(upload) = serde_json::from_slice::<UploadRequest>(body) else {
            return UploadAnswer { status: StatusCode::BAD_REQUEST, body: Bytes::new() };
        };
        match &self.unit {
            SendUnit::AsIs(route) => {
                let body = String::from_utf8_lossy(body);
                let request = self.request(http, base, route, token, &HeaderMap::new(), Some(&body));
                self.device_answer(http.send(request).await)
            }
            SendUnit::Transaction { route, list, fields } => {
                for transaction in &upload.transactions {
                    let ops: Vec<Json> =
                        transaction.ops.iter().map(|op| entry(&upload, transaction, op, fields)).collect();
                    let body = Json::Object(Map::from_iter([(list.clone(), Json::Array(ops))])).to_string();
                    let request = self.request(http, base, route, token, &HeaderMap::new(), Some(&body));
                    let answer = self.device_answer(http.send(request).await);
                    if !answer.status.is_success() {
                        return answer;
                    }
                }
                // A bare success says that everything was applied.
                UploadAnswer { status: StatusCode::OK, body: Bytes::from_static(b"{}") }
            }
            SendUnit::Operation(requests) => {
                let mut answers = Vec::new();
                for transaction in &upload.transactions {
                    match self.one_by_one(http, base, token, transaction, requests).await {
                        Ok(answer) => answers.push(answer),
                        Err(answer) => return answer,
                    }
                }
                UploadAnswer { status: StatusCode::OK, body: json!({ "transactions": answers }).to_string().into() }
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
        [put, patch, delete]: &[OperationRequest; 3],
    ) -> Result<Json, UploadAnswer> {
        let mut ops: Vec<Json> = Vec::new();
        let mut is_refused = false;
        for op in &transaction.ops {
            if is_refused {
                ops.push(json!({"op_id": op.op_id, "outcome": "rolled_back", "reason": "not attempted"}));
                continue;
            }
            let operation = match op.op.as_str() {
                "PUT" => put,
                "PATCH" => patch,
                _ => delete,
            };
            let route = Route { path: filled(&operation.route.path, op), method: operation.route.method.clone() };
            let request = self.request(http, base, &route, token, &operation.headers, operation.body.of(op).as_deref());
            let reply = http.send(request).await;
            let reason = reply.as_ref().ok().and_then(|reply| self.refusal(reply));
            let answer = self.device_answer(reply);
            if let Some(reason) = reason {
                is_refused = true;
                ops.push(json!({"op_id": op.op_id, "outcome": "rejected", "reason": reason}));
            } else if answer.status.is_success() {
                ops.push(json!({"op_id": op.op_id, "outcome": "applied"}));
            } else {
                return Err(answer);
            }
        }
        let outcome = if is_refused { "refused" } else { "committed" };
        Ok(json!({"tx_id": transaction.tx_id, "outcome": outcome, "ops": ops}))
    }

    fn request(
        &self,
        http: &Http,
        base: &str,
        route: &Route,
        token: &str,
        headers: &HeaderMap,
        body: Option<&str>,
    ) -> RequestBuilder {
        let request = http.request(route.method.clone(), &format!("{base}{}", route.path), Some(token), body);
        request.headers(self.headers.clone()).headers(headers.clone())
    }
}

impl BodyKind {
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
fn entry(
    upload: &UploadRequest,
    transaction: &WireTransaction,
    op: &WireOp,
    fields: &BTreeMap<String, String>,
) -> Json {
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http::Request;

    use super::super::file::PRESETS;
    use super::*;

    /// A request as an endpoint sees it: method, path and query, the headers asked about, the body.
    type Seen = (String, String, Vec<Option<String>>, Json);

    /// Sends an upload of three operations through a mapping to an endpoint that gives these answers, one a request and
    /// the last for ever.
    fn sent(mapping: &Mapping, answers: &[(u16, &str)]) -> (Vec<Seen>, UploadAnswer) {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let answers: Vec<(u16, String)> = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let record = seen.clone();
        let router = axum::Router::new().fallback(move |request: Request<axum::body::Body>| {
            let (record, answers) = (record.clone(), answers.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.expect("a small body");
                let header =
                    |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
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
        let answer = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let base = format!("http://{}", listener.local_addr().expect("it has one"));
            tokio::spawn(async move { axum::serve(listener, router).await });
            let http = Http::new(Duration::from_secs(60)).expect("a client");
            mapping.send(&http, &base, "the-token", &upload.to_string().into()).await
        });
        let seen = seen.lock().expect("nothing panics with it").clone();
        (seen, answer)
    }

    fn preset(name: &str) -> Mapping {
        let (_, text) = PRESETS.iter().find(|(preset, _)| *preset == name).expect("there is one");
        Mapping::parse(text, &|variable| Some(format!("the value of {variable}"))).expect("presets are sound")
    }

    #[test]
    fn the_baseline_gets_what_the_sdks_serialise() {
        let (seen, answer) = sent(&preset("baseline"), &[(200, "ok")]);
        let headers = vec![Some("Bearer the-token".to_owned()), None, None, Some("application/json".to_owned())];
        let body = json!({"batch": [
            {"op_id": 1, "op": "PUT", "type": "notes", "id": "a b", "tx_id": 7, "data": {"title": "x", "n": 0.1}},
            {"op_id": 2, "op": "PATCH", "type": "notes", "id": "c", "tx_id": 7, "data": {"title": null}},
            {"op_id": 3, "op": "DELETE", "type": "notes", "id": "d", "tx_id": 7},
        ]});
        assert_eq!(seen, [("POST".to_owned(), "/upload".to_owned(), headers, body)]);
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"{}"[..]));
    }

    #[test]
    fn postgrest_gets_one_request_an_operation() {
        let (seen, answer) = sent(&preset("supabase"), &[(201, "")]);
        let asked: Vec<(&str, &str, &Json)> =
            seen.iter().map(|(method, path, _, body)| (&**method, &**path, body)).collect();
        let (row, data) = (json!({"id": "a b", "title": "x", "n": 0.1}), json!({"title": null}));
        assert_eq!(
            asked,
            [
                ("POST", "/rest/v1/notes", &row),
                ("PATCH", "/rest/v1/notes?id=eq.c", &data),
                ("DELETE", "/rest/v1/notes?id=eq.d", &Json::Null),
            ]
        );
        for (_, _, headers, _) in &seen {
            assert_eq!(
                headers[..2],
                [Some("Bearer the-token".to_owned()), Some("the value of SUPABASE_ANON_KEY".to_owned())]
            );
        }
        assert_eq!(seen[0].2[2].as_deref(), Some("resolution=merge-duplicates,return=minimal"));
        let reply: Json = serde_json::from_slice(&answer.body).expect("our own wire");
        assert_eq!(reply["transactions"][0]["outcome"], "committed");
    }

    #[test]
    fn what_postgrest_refuses_for_good_ends_the_transaction() {
        let (seen, answer) = sent(&preset("supabase"), &[(201, ""), (409, r#"{"code":"23505"}"#)]);
        assert_eq!(seen.len(), 2, "the rest is not sent");
        let reply: Json = serde_json::from_slice(&answer.body).expect("our own wire");
        let transaction = &reply["transactions"][0];
        assert_eq!(transaction["outcome"], "refused");
        let outcomes: Vec<&Json> =
            transaction["ops"].as_array().into_iter().flatten().map(|op| &op["outcome"]).collect();
        assert_eq!(outcomes, ["applied", "rejected", "rolled_back"]);
        assert_eq!(transaction["ops"][1]["reason"], "23505");
        // Anything else is tried again.
        let (seen, answer) = sent(&preset("supabase"), &[(500, r#"{"code":"57014"}"#)]);
        assert_eq!((seen.len(), answer.status), (1, StatusCode::INTERNAL_SERVER_ERROR));
    }

    /// The connector of the first handler throws on everything but 2xx, and its SDK tries again.
    #[test]
    fn with_the_baseline_every_status_but_success_is_tried_again() {
        for status in [400, 409, 413, 422, 500] {
            let (_, answer) = sent(&preset("baseline"), &[(status, "too large")]);
            assert!(![400, 413].contains(&answer.status.as_u16()), "a device gives up after {status}");
        }
        let (_, answer) = sent(&preset("baseline"), &[(413, "too large")]);
        assert_eq!(&answer.body[..], b"HTTP 413 Payload Too Large: too large");
    }

    #[test]
    fn devices_get_answers_that_they_understand() {
        let answer = "[answer]\nrefused = [409]\nfailed = { field = \"success\", is = false }";
        let text = format!(
            "unit = \"transaction\"\n[request]\npath = \"/x\"\nlist = \"l\"\nfields = {{ op = \"o\", table = \"t\", id = \"i\" }}\n{answer}"
        );
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
}
