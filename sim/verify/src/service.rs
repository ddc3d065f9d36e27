//! The sync service: its probes, its answer to a token, a client's first line, and pages of other origins.

use http::Method;
use reqwest::Response;

use super::claim;
use super::{Check, Lines};
use sim_stack::existing_stack::ExistingStack;
use sim_stack::existing_stack::http::Reply;

const LINES: [&str; 4] = ["readiness", "token is accepted", "a client connects", "CORS"];
/// Where the service takes its keys and audiences from.
const SETTINGS: &str = "client_auth in its configuration";
/// No stream's first line is longer, in bytes.
const LINE_MAX_BYTES: usize = 1 << 20;

/// The body of a stream's request, as clients send it; it changes nothing.
pub(super) fn stream_request(client_id: &str) -> String {
    serde_json::json!({
        "client_id": client_id, "raw_data": true, "include_checksum": true, "buckets": [], "parameters": {}
    })
    .to_string()
}

/// The lines about the service.
pub(super) async fn checks(target: &ExistingStack) -> Vec<Check> {
    let mut lines = Lines::about("service");
    let Some(url) = &target.service else {
        lines.skip_all(&["liveness"], "no --powersync-url");
        lines.skip_all(&LINES, "no --powersync-url");
        return lines.checks;
    };
    match target.http.get(&format!("{url}/probes/liveness"), None).await {
        Err(none) => {
            let (diagnosis, fix) = none.words("the sync service", url);
            lines.failed("liveness", diagnosis, fix);
            lines.skip_all(&LINES, "the service does not answer: see `liveness`");
            return lines.checks;
        }
        Ok(reply) => probe(&mut lines, "liveness", &reply, "its replication engine stands still"),
    }
    match target.http.get(&format!("{url}/probes/readiness"), None).await {
        Err(none) => lines.failed("readiness", none.words("the sync service", url).0, "see its log"),
        Ok(reply) => probe(&mut lines, "readiness", &reply, "it has not begun to serve"),
    }
    token(target, url, &mut lines).await;
    match &target.origin {
        None => lines.skipped("CORS", "no --origin"),
        Some(origin) => match target.http.preflight(&format!("{url}/sync/stream"), origin).await {
            Ok(reply) => cors(&mut lines, "the sync service", origin, &reply),
            Err(none) => lines.failed("CORS", none.words("the sync service", url).0, "see its log"),
        },
    }
    lines.checks
}

fn probe(lines: &mut Lines, name: &str, reply: &Reply, meaning: &str) {
    match reply.status {
        200 => lines.ok(name, "200"),
        404 => lines.failed(
            name,
            "it answers, but there are no probes: this is another service, or they are not switched on",
            "set healthcheck.probes.use_http: true in the service's configuration, and check the address",
        ),
        _ => lines.failed(
            name,
            format!("it answers {}: {meaning}", reply.told()),
            "look at the service's log; it needs the database, its bucket storage and a sync configuration",
        ),
    }
}

async fn token(target: &ExistingStack, url: &str, lines: &mut Lines) {
    let Some(token) = &target.token else {
        lines.skip_all(&LINES[1..3], "no token: name --token-secret, --token-key or --token-command");
        return;
    };
    let body = stream_request(&format!("syncstorm-verify-{}", std::process::id()));
    let stream = format!("{url}/sync/stream");
    let request = target.http.request(Method::POST, &stream, Some(&token.text), Some(&body));
    let response = match target.http.open(request).await {
        Ok(response) => response,
        Err(none) => {
            let (diagnosis, fix) = none.words("the sync service", url);
            lines.failed("token is accepted", diagnosis, fix);
            return lines.skipped("a client connects", "it was not answered");
        }
    };
    let status = response.status().as_u16();
    if status == 200 {
        lines.ok("token is accepted", format!("sub {:?}, {}", token.subject(), token.key_words()));
        return first_line(target, response, lines).await;
    }
    let reply = target.http.whole(response, LINE_MAX_BYTES).await.unwrap_or_else(|_| Reply::without_body(status));
    if status == 401 {
        let (diagnosis, fix) = claim::refused("the service", SETTINGS, &reply, token, target);
        lines.failed("token is accepted", diagnosis, fix);
        return lines.skipped("a client connects", "its token is refused");
    }
    // The body is checked first and the token after it: 400 says nothing about the token, the others that it was good.
    let json = reply.json();
    let (diagnosis, fix) = match (status, json["error"]["code"].as_str().unwrap_or_default()) {
        (500, "PSYNC_S2302") => (
            "no sync configuration is active yet: the service is still replicating, or its configuration is wrong"
                .to_owned(),
            "wait until the first replication is over; if it never is, the service's log names what is wrong",
        ),
        (429, _) => ("too many streams are open".to_owned(), "raise the service's limit, or end clients that hang"),
        (404, _) => (
            "there is no /sync/stream at that address: it is not a PowerSync service".to_owned(),
            "name the sync service's own address with --powersync-url",
        ),
        _ => (format!("the stream is answered with {}", reply.told()), "look at the service's log"),
    };
    match status {
        429 | 500 => lines.ok("token is accepted", format!("as far as the answer {status} tells: it is no 401")),
        _ => lines.skipped("token is accepted", format!("the answer {status} does not tell")),
    }
    lines.failed("a client connects", diagnosis, fix);
}

/// The honest test of readiness: a stream whose first line is a checkpoint.
async fn first_line(target: &ExistingStack, mut response: Response, lines: &mut Lines) {
    let mut text = Vec::new();
    let read = async {
        while !text.contains(&b'\n') && text.len() < LINE_MAX_BYTES {
            let Ok(Some(chunk)) = response.chunk().await else { break };
            text.extend_from_slice(&chunk);
        }
    };
    let in_time = tokio::time::timeout(target.patience(), read).await.is_ok();
    let line = String::from_utf8_lossy(text.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
    let name = "a client connects";
    if line.starts_with("{\"checkpoint\"") {
        return lines.ok(name, "the first line of its stream is a checkpoint");
    }
    if line.contains("\"token_expires_in\":0") {
        let ago =
            target.token.as_ref().and_then(sim_stack::existing_stack::token::Token::expired_s).unwrap_or_default();
        return lines.failed(
            name,
            format!("exp: the token expired {ago} s ago, and the stream ends at once"),
            "mint a new token",
        );
    }
    if !in_time {
        return lines.failed(
            name,
            "the stream opens, and no checkpoint comes: the service has not replicated anything yet",
            "look at the database's lines here and at the service's log; a first replication may take its time",
        );
    }
    let shown: String = line.chars().take(120).collect();
    lines.failed(
        name,
        format!("the stream begins with {shown:?} and not with a checkpoint"),
        "look at the service's log",
    );
}

/// Whether a browser lets a page of the origin post JSON with a token, by what the preflight was answered.
pub(super) fn cors(lines: &mut Lines, who: &str, origin: &str, reply: &Reply) {
    let allowed = reply.header("access-control-allow-origin");
    let headers = reply.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
    let lacks = |name: &str| !headers.split(',').any(|one| one.trim() == name);
    let fix = format!(
        "let {who} allow {origin}, with the headers authorization and content-type (the backend's --cors-origin)"
    );
    if !matches!(allowed, Some(one) if one == "*" || one.eq_ignore_ascii_case(origin)) {
        let shown = allowed.map_or_else(|| "no origin".to_owned(), |one| format!("{one:?}"));
        return lines.failed("CORS", format!("{who} allows {shown}: a browser lets no page of {origin} call it"), fix);
    }
    // `*` does not stand for authorization.
    if let Some(header) = ["authorization", "content-type"].into_iter().find(|name| lacks(name)) {
        return lines.failed("CORS", format!("{who} does not allow the header {header} to pages of {origin}"), fix);
    }
    if !(200..300).contains(&reply.status) {
        return lines.failed("CORS", format!("{who} answers the preflight with status {}", reply.status), fix);
    }
    lines.ok("CORS", format!("{origin} may call it"));
}
