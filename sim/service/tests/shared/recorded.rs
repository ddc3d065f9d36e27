//! Exchanges that were recorded with the official service: how they are read and compared.

use serde_json::{Value as Json, json};

/// Blanks what differs between deployments.
pub(crate) fn normalise(line: &str) -> String {
    let mut line = line.to_owned();
    if line.starts_with("{\"error") {
        // The order of keys in errors is the official service's own.
        return serde_json::from_str::<Json>(&line).expect("an error is JSON").to_string();
    }
    for (key, ends) in [("\"checksum\":", [',', '}']), ("\"subkey\":\"", ['"', '"']), ("\"bucket\":\"", ['#', '#'])] {
        let mut out = String::new();
        let mut rest = line.as_str();
        while let Some(at) = rest.find(key) {
            let (before, value) = rest.split_at(at + key.len());
            out.push_str(before);
            out.push('_');
            rest = &value[value.find(ends).expect("the value ends")..];
        }
        out.push_str(rest);
        line = out;
    }
    line
}

/// A request with its authorization, and what the official service answered.
pub(crate) struct AuthExchange<'t> {
    pub(crate) title: &'t str,
    pub(crate) authorization: Option<String>,
    pub(crate) method: &'t str,
    pub(crate) path: &'t str,
    pub(crate) body: &'t str,
    pub(crate) status: &'t str,
    /// The answer's body, where it was recorded.
    pub(crate) answer: Option<&'t str>,
}

impl AuthExchange<'_> {
    /// Compares a status, headers and a body with what was recorded.
    pub(crate) fn check(&self, status: http::StatusCode, headers: &http::HeaderMap, body: &str) {
        assert_eq!(status.as_str(), self.status, "{}", self.title);
        assert_eq!(headers["access-control-allow-origin"], "*", "{}", self.title);
        if let Some(answer) = self.answer {
            let json = |text: &str| serde_json::from_str::<Json>(text).expect("JSON");
            assert_eq!(json(body), json(answer), "{}", self.title);
        }
    }
}

/// The exchanges of a trace. `sign` makes an authorization of a key, whether its secret is the right one, and claims,
/// whose times are moved to `now_s`.
pub(crate) fn auth_exchanges<'t>(
    trace: &'t str,
    now_s: i64,
    sign: impl Fn(&str, bool, &Json) -> String,
) -> Vec<AuthExchange<'t>> {
    let mut all = Vec::new();
    for section in trace.split("## ").skip(1) {
        let (title, lines) = section.split_once('\n').expect("a title and more");
        let mut authorization = None;
        let mut answers = Vec::new();
        let mut request = None;
        for line in lines.lines() {
            let (verb, rest) = line.split_once(' ').expect("a verb and more");
            let mut words = rest.splitn(3, ' ');
            match verb {
                "token" => {
                    let (key, secret) = (words.next().expect("a key"), words.next().expect("a secret"));
                    let mut claims: Json = serde_json::from_str(words.next().expect("claims")).expect("JSON");
                    for claim in ["iat", "exp"] {
                        claims[claim] = json!(claims[claim].as_i64().expect("seconds") + now_s);
                    }
                    authorization = Some(sign(key, secret == "right", &claims));
                }
                "header" => authorization = Some(rest.to_owned()),
                "ask" => {
                    let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
                    request = Some((method, path, words.next().unwrap_or("")));
                }
                "<<" => answers.push(rest),
                other => panic!("unknown verb {other}"),
            }
        }
        let (method, path, body) = request.expect("a request in each section");
        let (status, answer) = (answers[0], answers.get(1).copied());
        all.push(AuthExchange { title, authorization, method, path, body, status, answer });
    }
    all
}
