//! The request body of `/sync/stream`.

use serde_json::Value as Json;

/// The body of a stream request. Unknown keys are allowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamRequest {
    /// The client's buckets, each with the id of the last operation that the client has.
    pub buckets: Vec<(String, u64)>,
    /// Names the client. With the token's subject it is the key of write checkpoints.
    pub client_id: Option<String>,
    /// The client's parameters: an object.
    pub parameters: Json,
    /// Whether `data` is sent as JSON text; otherwise as nested JSON (legacy).
    pub raw_data: bool,
    /// Whether to send streams that every client is subscribed to.
    pub include_defaults: bool,
    /// Explicit subscriptions.
    pub subscriptions: Vec<Subscription>,
}

/// An explicit subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The stream's name.
    pub stream: String,
    /// Its parameters: an object.
    pub parameters: Json,
    /// A priority in place of the stream's.
    pub override_priority: Option<u8>,
}

impl StreamRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// What is wrong with it, as the official service words it.
    pub fn parse(body: &Json) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut request = Self { include_defaults: true, parameters: empty_object(), ..Self::default() };
        match body.get("buckets") {
            None => {}
            Some(Json::Array(buckets)) => {
                for (index, bucket) in buckets.iter().enumerate() {
                    match bucket_position(bucket, index) {
                        Ok(position) => request.buckets.push(position),
                        Err(problem) => problems.push(problem),
                    }
                }
            }
            Some(_) => problems.push("/buckets: type must be array".to_owned()),
        }
        let mut flag = |key: &str| match body.get(key) {
            None => false,
            Some(Json::Bool(flag)) => *flag,
            Some(_) => {
                problems.push(format!("/{key}: type must be boolean"));
                false
            }
        };
        flag("include_checksum");
        request.raw_data = flag("raw_data");
        match body.get("app_metadata") {
            None => {}
            Some(Json::Object(all)) if all.values().all(Json::is_string) => {}
            Some(_) => problems.push("/app_metadata: type must be object".to_owned()),
        }
        match body.get("parameters") {
            // The official service refuses null, but the client core sends it.
            None | Some(Json::Null) => {}
            Some(parameters @ Json::Object(_)) => request.parameters = parameters.clone(),
            Some(_) => problems.push("/parameters: type must be object".to_owned()),
        }
        match body.get("client_id") {
            None => {}
            Some(Json::String(id)) => request.client_id = Some(id.clone()),
            Some(_) => problems.push("/client_id: type must be string".to_owned()),
        }
        match body.get("streams") {
            None => {}
            Some(Json::Object(streams)) => {
                match streams.get("include_defaults") {
                    None => {}
                    Some(Json::Bool(flag)) => request.include_defaults = *flag,
                    Some(_) => problems.push("/streams/include_defaults: type must be boolean".to_owned()),
                }
                match streams.get("subscriptions") {
                    Some(Json::Array(all)) => {
                        for (index, one) in all.iter().enumerate() {
                            match subscription(one, index) {
                                Ok(subscription) => request.subscriptions.push(subscription),
                                Err(problem) => problems.push(problem),
                            }
                        }
                    }
                    None => problems.push("/streams must have required property 'subscriptions'".to_owned()),
                    Some(_) => problems.push("/streams/subscriptions: type must be array".to_owned()),
                }
            }
            Some(_) => problems.push("/streams: type must be object".to_owned()),
        }
        if problems.is_empty() { Ok(request) } else { Err(problems) }
    }
}

fn empty_object() -> Json {
    Json::Object(serde_json::Map::new())
}

fn bucket_position(bucket: &Json, index: usize) -> Result<(String, u64), String> {
    let place = format!("/buckets/{index}");
    let Json::Object(bucket) = bucket else {
        return Err(format!("{place}: type must be object"));
    };
    let keys = ["name", "after"];
    if let Some(key) = keys.iter().find(|key| !bucket.contains_key(**key)) {
        return Err(format!("{place} must have required property '{key}'"));
    }
    if let Some(key) = keys.iter().find(|key| !bucket[**key].is_string()) {
        return Err(format!("{place}/{key}: type must be string"));
    }
    let text = |key: &str| bucket.get(key).and_then(Json::as_str).expect("checked to be a string");
    match text("after").parse() {
        Ok(after) => Ok((text("name").to_owned(), after)),
        Err(_) => Err(format!("{place}/after: must be a decimal number")),
    }
}

fn subscription(json: &Json, index: usize) -> Result<Subscription, String> {
    let place = format!("/streams/subscriptions/{index}");
    let Json::Object(json) = json else {
        return Err(format!("{place}: type must be object"));
    };
    for key in ["stream", "parameters", "override_priority"] {
        if !json.contains_key(key) {
            return Err(format!("{place} must have required property '{key}'"));
        }
    }
    let Some(stream) = json["stream"].as_str() else {
        return Err(format!("{place}/stream: type must be string"));
    };
    let parameters = match &json["parameters"] {
        Json::Null => empty_object(),
        object @ Json::Object(_) => object.clone(),
        _ => return Err(format!("{place}/parameters: type must be object")),
    };
    let override_priority = match &json["override_priority"] {
        Json::Null => None,
        Json::Number(number) => match number.as_u64().and_then(|level| u8::try_from(level).ok()) {
            Some(level @ 0..=3) => Some(level),
            _ => return Err(format!("{place}/override_priority: must be 0, 1, 2 or 3")),
        },
        _ => return Err(format!("{place}/override_priority: type must be number")),
    };
    Ok(Subscription { stream: stream.to_owned(), parameters, override_priority })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(body: Json, expect: Result<StreamRequest, &[&str]>) {
        let expect = expect.map_err(|problems| problems.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(StreamRequest::parse(&body), expect, "{body}");
    }

    #[test]
    fn request_bodies() {
        let plain = StreamRequest { include_defaults: true, parameters: json!({}), ..StreamRequest::default() };
        check(json!({}), Ok(plain.clone()));
        check(json!({"parameters": null, "only": 3, "binary_data": true}), Ok(plain.clone()));
        check(
            json!({"raw_data": true, "client_id": "c", "parameters": {"a": 1}, "buckets": [{"name": "b", "after": "7"}],
                "streams": {"include_defaults": false, "subscriptions": [
                    {"stream": "s", "parameters": null, "override_priority": 1}]}}),
            Ok(StreamRequest {
                raw_data: true,
                client_id: Some("c".to_owned()),
                parameters: json!({"a": 1}),
                buckets: vec![("b".to_owned(), 7)],
                include_defaults: false,
                subscriptions: vec![Subscription {
                    stream: "s".to_owned(),
                    parameters: json!({}),
                    override_priority: Some(1),
                }],
            }),
        );
        check(
            json!({"raw_data": "yes", "buckets": [{"name": 1}, {"name": 1, "after": "0"}]}),
            Err(&[
                "/buckets/0 must have required property 'after'",
                "/buckets/1/name: type must be string",
                "/raw_data: type must be boolean",
            ]),
        );
        check(json!({"parameters": 1}), Err(&["/parameters: type must be object"]));
        check(
            json!({"streams": {"subscriptions": [{"stream": "s", "parameters": {}}]}}),
            Err(&["/streams/subscriptions/0 must have required property 'override_priority'"]),
        );
    }
}
