//! The upload backend: its probes, its key set, its answer to a token, and pages of other origins.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value as Json;

use super::claim;
use super::service::cors;
use super::{Check, Lines};
use sim_stack::existing_stack::ExistingStack;
use sim_stack::existing_stack::token::Token;

const LINES: [&str; 4] = ["readiness", "key set (JWKS)", "token is accepted", "CORS"];
/// Where the backend takes its keys and audiences from.
const SETTINGS: &str = "its state directory and --audience";

/// The lines about the backend, and those about the token's key.
pub(super) async fn checks(target: &ExistingStack) -> (Vec<Check>, Vec<Check>) {
    let (mut lines, mut keys) = (Lines::about("backend"), Lines::about("token"));
    let Some(url) = &target.backend else {
        lines.skipped("liveness", "no --backend-url");
        lines.skip_all(&LINES, "no --backend-url");
        keys.skipped("key is in the key set", "no --backend-url");
        return (lines.checks, keys.checks);
    };
    match target.http.get(&format!("{url}/probes/liveness"), None).await {
        Err(none) => {
            let (diagnosis, fix) = none.words("the backend", url);
            lines.failed("liveness", diagnosis, fix);
            lines.skip_all(&LINES, "the backend does not answer: see `liveness`");
            keys.skipped("key is in the key set", "the backend does not answer");
            return (lines.checks, keys.checks);
        }
        Ok(reply) => match reply.status {
            200 => lines.ok("liveness", "200"),
            404 => lines.skipped("liveness", "it answers, and has no /probes/liveness"),
            _ => lines.failed("liveness", format!("it answers {}", reply.told()), "look at the backend's log"),
        },
    }
    match target.http.get(&format!("{url}/probes/readiness"), None).await {
        Ok(reply) if reply.status == 200 => lines.ok("readiness", "200"),
        Ok(reply) if reply.status == 404 => lines.skipped("readiness", "it answers, and has no /probes/readiness"),
        Ok(reply) => lines.failed(
            "readiness",
            format!("it answers {}", reply.told()),
            "let the backend reach its database (DATABASE_URL); uploads are refused until it does",
        ),
        Err(none) => lines.failed("readiness", none.words("the backend", url).0, "look at the backend's log"),
    }
    let set = key_set(target, url, &mut lines).await;
    match (&target.token, set) {
        (None, _) => {
            keys.skipped("key is in the key set", "no token: name --token-secret, --token-key or --token-command")
        }
        (_, None) => keys.skipped("key is in the key set", "there is no key set"),
        (Some(token), Some(set)) => key_is_shown(token, &set, &mut keys),
    }
    token(target, url, &mut lines).await;
    match &target.origin {
        None => lines.skipped("CORS", "no --origin"),
        Some(origin) => match target.http.preflight(&format!("{url}/upload"), origin).await {
            Ok(reply) => cors(&mut lines, "the backend", origin, &reply),
            Err(none) => lines.failed("CORS", none.words("the backend", url).0, "look at the backend's log"),
        },
    }
    (lines.checks, keys.checks)
}

/// Where the key set is.
pub(super) fn key_set_url(url: &str) -> String {
    format!("{url}/.well-known/jwks.json")
}

async fn key_set(target: &ExistingStack, url: &str, lines: &mut Lines) -> Option<Vec<Json>> {
    let name = "key set (JWKS)";
    let reply = match target.http.get(&key_set_url(url), None).await {
        Ok(reply) => reply,
        Err(none) => {
            lines.failed(name, none.words("the backend", url).0, "look at the backend's log");
            return None;
        }
    };
    let json = reply.json();
    match (reply.status, json["keys"].as_array()) {
        (200, Some(keys)) => {
            lines.ok(name, format!("keys: {}", keys.len()));
            Some(keys.clone())
        }
        _ => {
            lines.failed(
                name,
                format!("GET /.well-known/jwks.json is no object with an array `keys`: {}", reply.told()),
                "serve the public keys as {\"keys\": [...]} there; the sync service fetches them from it",
            );
            None
        }
    }
}

/// Whether the set has the key that signed the token, by name and by signature.
fn key_is_shown(token: &Token, set: &[Json], keys: &mut Lines) {
    let name = "key is in the key set";
    let of_name: Vec<&Json> = set.iter().filter(|key| key["kid"].as_str() == token.kid.as_deref()).collect();
    if of_name.is_empty() && token.algorithm.starts_with("HS") {
        // A shared secret has no public half: the service must have it from its own configuration.
        return keys.skipped(name, "the token is signed with a shared secret, which no key set should show");
    }
    let shown: Vec<&str> = set.iter().filter_map(|key| key["kid"].as_str()).collect();
    if of_name.is_empty() {
        return keys.failed(
            name,
            format!("kid: the token names {}; the set has {}", token.key_words(), shown.join(", ")),
            "sign with a key of the set, or name its kid with --kid; after a rotation, mint new tokens",
        );
    }
    match signed_by(token, of_name[0]) {
        Ok(true) => keys.ok(name, token.key_words()),
        Ok(false) => keys.failed(
            name,
            format!("signature: the set's {} is another key than signed the token", token.key_words()),
            "sign with the private half of the key that the set shows under this kid",
        ),
        Err(said) => keys.skipped(name, format!("the set's {} cannot be used here: {said}", token.key_words())),
    }
}

/// Whether a public key verifies the token's signature; its claims are no matter here.
fn signed_by(token: &Token, key: &Json) -> Result<bool, String> {
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.clone()).map_err(|error| error.to_string())?;
    let key = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    let algorithm: Algorithm = token.algorithm.parse().map_err(|_| format!("algorithm {}", token.algorithm))?;
    let Some((message, signature)) = token.text.rsplit_once('.') else { return Ok(false) };
    if !key.family().algorithms().contains(&algorithm) {
        return Ok(false);
    }
    Ok(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap_or(false))
}

async fn token(target: &ExistingStack, url: &str, lines: &mut Lines) {
    let name = "token is accepted";
    let Some(token) = &target.token else {
        return lines.skipped(name, "no token: name --token-secret, --token-key or --token-command");
    };
    // A route that changes nothing.
    match target.http.get(&format!("{url}/conflicts?after=0"), Some(&token.text)).await {
        Ok(reply) => match reply.status {
            200 => lines.ok(name, format!("sub {:?}, {}", token.subject(), token.key_words())),
            401 => {
                let (diagnosis, fix) = claim::refused("the backend", SETTINGS, &reply, token, target);
                lines.failed(name, diagnosis, fix);
            }
            404 => lines.skipped(name, "the backend has no route that takes a token and changes nothing"),
            _ => lines.skipped(name, format!("the answer does not tell: {}", reply.told())),
        },
        Err(none) => lines.failed(name, none.words("the backend", url).0, "look at the backend's log"),
    }
}
