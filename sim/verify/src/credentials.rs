//! Usual passwords, secrets and keys, really tried: what lets anybody in who has read a guide.
//!
//! Each attempt is one login with a word of a short list; a server that bans who fails too often may ban this machine.

use std::time::Duration;

use ::backend::store::postgres::tls::{Address, SslMode};
use jsonwebtoken::{Algorithm, EncodingKey};

use super::mongodb::{Entry, NoAnswer, ReplicaSet};
use super::service::stream_request;
use super::stores::{is_about_password, ping};
use super::weak_secrets::{PASSWORD_BYTES_MIN, PublicFiles};
use super::{Lines, Outcome, failed};
use sim_stack::existing_stack::database::{NoSession, connect};
use sim_stack::existing_stack::token::{self, USUAL_KID};
use sim_stack::existing_stack::{ExistingStack, password_of};
use sim_stack::signer::Signer;

/// What images, guides and people in a hurry take for a password; the user's own name is tried too.
const PASSWORDS: [&str; 10] =
    ["password", "postgres", "flowstate", "changeme", "secret", "admin", "root", "example", "123456", "test"];
/// What guides and frameworks show as the secret of tokens.
const SECRETS: [&str; 16] = [
    "secret",
    "dev-secret",
    "your-secret-key",
    "your-256-bit-secret",
    "your-256-bit-secret-key",
    "a-string-secret-at-least-256-bits-long",
    "super-secret-jwt-token-with-at-least-32-characters-long",
    "local-dev-key",
    "local-dev-secret",
    "powersync",
    "powersync-dev",
    "powersync-dev-secret",
    "flowstate",
    "jwt-secret",
    "changeme",
    "development",
];
/// The roles that images make.
const MONGODB_USERS: [&str; 3] = ["root", "admin", "user"];

/// What trying passwords came to.
enum Tried {
    /// Nobody was asked for anything.
    Open,
    /// Somebody was let in.
    Usual { user: String },
    /// So many were refused.
    Refused(usize),
    /// It could not be tried.
    Unknown(String),
}

impl Tried {
    fn outcome(self, what: &str, fix: &str) -> Outcome {
        match self {
            Self::Open => failed(format!("{what} lets anybody in without a password"), fix),
            Self::Usual { user } => {
                failed(format!("{what} lets {user} in with a password that anybody would try first"), fix)
            }
            Self::Refused(count) => Outcome::Ok { note: format!("{count} usual ones, and none at all, were refused") },
            Self::Unknown(reason) => Outcome::Skipped { reason },
        }
    }
}

/// The passwords of the three stores.
pub(super) async fn passwords(
    target: &ExistingStack,
    replica_set: Option<&ReplicaSet>,
    public: &PublicFiles,
    lines: &mut Lines,
) {
    // What was refused is well unless the stack's own password is one that anybody could find.
    let own = |outcome: Outcome, url: Option<&String>, what: &str, fix: &str| {
        let why = url.and_then(|url| password_of(url)).and_then(|own| public.why_weak(&own, PASSWORD_BYTES_MIN));
        match (outcome, why) {
            (Outcome::Ok { .. }, Some(why)) => failed(format!("the password of {what} {why}"), fix),
            (outcome, _) => outcome,
        }
    };
    match &target.postgres {
        None => lines.skipped("PostgreSQL password", "no --postgres-url"),
        Some(url) => {
            let fix = "ALTER ROLE … PASSWORD with a long random one (`openssl rand -hex 32`), scram-sha-256 in pg_hba.conf, \
                       and the same in the settings of the backend and the service";
            let tried = postgres(url, target.patience()).await.unwrap_or_else(Tried::Unknown);
            let outcome = tried.outcome("PostgreSQL", fix);
            lines.add("PostgreSQL password", own(outcome, Some(url), "PostgreSQL", fix));
        }
    }
    match &target.redis {
        None => lines.skipped("Redis password", "no --redis-url"),
        Some(url) => {
            let fix = "set requirepass to a long random one, and the same in the backend's REDIS_URL";
            let tried = redis(url, target.patience()).await.unwrap_or_else(Tried::Unknown);
            let outcome = tried.outcome("Redis", fix);
            lines.add("Redis password", own(outcome, Some(url), "Redis", fix));
        }
    }
    match replica_set {
        None => lines.skipped("MongoDB password", "no --mongodb-url"),
        Some(replica_set) => {
            let fix =
                "start mongod with --auth (and --keyFile in a replica set), and give its users long random passwords";
            let tried = mongodb(replica_set, target.patience()).await;
            let tried = tried.unwrap_or_else(|none| Tried::Unknown(none.words(replica_set.first())));
            let outcome = tried.outcome("MongoDB", fix);
            lines.add("MongoDB password", own(outcome, target.mongodb.as_ref(), "MongoDB", fix));
        }
    }
}

async fn postgres(url: &str, patience: Duration) -> Result<Tried, String> {
    let own = Address::parse(url)?;
    let named = own.connector()?.0;
    let named = named.get_user().unwrap_or("postgres").to_owned();
    let mut attempts: Vec<(String, Option<&str>)> = vec![(named.clone(), None)];
    let mut users = vec![named];
    if users[0] != "postgres" {
        users.push("postgres".to_owned());
    }
    attempts.extend(users.iter().flat_map(|user| PASSWORDS.map(|word| (user.clone(), Some(word)))));
    let own_name = users[0].clone();
    attempts.push((own_name.clone(), Some(own_name.as_str())));
    let tried = attempts.len() - 1;
    let authority = rest_of(&own.url);
    for (user, word) in attempts {
        let password = word.map_or_else(String::new, |word| format!(":{word}"));
        // Over TLS where the server can: the address of the stack says what else it needs.
        let mode = if own.mode == SslMode::Disable { SslMode::Disable } else { SslMode::Prefer };
        let address = Address { url: format!("postgres://{user}{password}@{authority}"), mode, root: None };
        match (connect(&address, patience).await, word) {
            (Ok(_), None) => return Ok(Tried::Open),
            (Ok(_), Some(_)) => return Ok(Tried::Usual { user: format!("role {user:?}") }),
            (Err(NoSession::Password(_) | NoSession::NotAllowed(_)), _) => {}
            (Err(other), _) => return Err(format!("a login could not be tried: {other:?}")),
        }
    }
    Ok(Tried::Refused(tried))
}

/// A URL without scheme, name and password.
pub(super) fn rest_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find('/').unwrap_or(rest.len());
    rest[..end].rfind('@').map_or(rest, |at| &rest[at + 1..])
}

async fn redis(url: &str, patience: Duration) -> Result<Tried, String> {
    let (place, scheme) = (rest_of(url), url.split("://").next().unwrap_or("redis"));
    let words = std::iter::once(None).chain(PASSWORDS.map(Some)).chain([Some("redis")]);
    for word in words {
        let user = word.map_or_else(String::new, |word| format!(":{word}@"));
        match tokio::time::timeout(patience, ping(&format!("{scheme}://{user}{place}"))).await {
            Ok(Ok(())) if word.is_none() => return Ok(Tried::Open),
            Ok(Ok(())) => return Ok(Tried::Usual { user: "the default user".to_owned() }),
            Ok(Err(error)) if is_about_password(&error) => {}
            Ok(Err(error)) => return Err(format!("a login could not be tried: {error}")),
            Err(_) => return Err("it does not answer in time".to_owned()),
        }
    }
    Ok(Tried::Refused(PASSWORDS.len() + 1))
}

async fn mongodb(replica_set: &ReplicaSet, patience: Duration) -> Result<Tried, NoAnswer> {
    let host = replica_set.first();
    let member = replica_set.member(host, patience);
    match member.is_open().await? {
        Some(true) => return Ok(Tried::Open),
        Some(false) => {}
        None => return Ok(Tried::Unknown(format!("{host} does not tell whether it wants a password"))),
    }
    let mut users: Vec<&str> = replica_set.user.as_deref().into_iter().chain(MONGODB_USERS).collect();
    users.dedup();
    let mut tried = 0;
    for user in users {
        for word in PASSWORDS.into_iter().chain([user]) {
            tried += 1;
            if member.enter(user, word).await? == Entry::Granted {
                return Ok(Tried::Usual { user: format!("user {user:?}") });
            }
        }
    }
    Ok(Tried::Refused(tried))
}

/// Tokens that anybody could make: of usual secrets, and of no key at all.
pub(super) async fn tokens(target: &ExistingStack, public: &PublicFiles, lines: &mut Lines) {
    for (name, url, who) in [
        ("service takes no usual token", &target.service, "the service"),
        ("backend takes no usual token", &target.backend, "the backend"),
    ] {
        let Some(url) = url else {
            lines.skipped(name, if who == "the service" { "no --powersync-url" } else { "no --backend-url" });
            continue;
        };
        match accepted(target, public, url, who == "the service").await {
            Ok(None) => lines.ok(name, "all were refused with 401"),
            Ok(Some(what)) => lines.failed(
                name,
                format!("{who} takes a token that {what} made: whoever has read a guide is any user"),
                "sign with a key pair of your own (the backend makes one), and take the usual key out of the settings",
            ),
            Err(reason) => lines.skipped(name, reason),
        }
    }
}

/// Which forged token is taken.
async fn accepted(
    target: &ExistingStack,
    public: &PublicFiles,
    url: &str,
    is_service: bool,
) -> Result<Option<String>, String> {
    let subject =
        target.token.as_ref().map_or_else(|| "local-user".to_owned(), sim_stack::existing_stack::token::Token::subject);
    let mut kids: Vec<Option<String>> = vec![Some(USUAL_KID.to_owned()), None];
    kids.extend(target.token.iter().map(|token| token.kid.clone()).filter(Option::is_some));
    kids.dedup();
    let mut forged: Vec<(String, String)> = Vec::new();
    let usual = SECRETS.map(|secret| (secret.to_owned(), "a usual secret".to_owned()));
    let published = public.candidates().into_iter().map(|(text, file)| (text, format!("a text of {file}")));
    let secrets: Vec<(String, String)> = usual.into_iter().chain(published).collect();
    for kid in kids {
        for (secret, what) in &secrets {
            let key = EncodingKey::from_secret(secret.as_bytes());
            let signer = Signer { algorithm: Algorithm::HS256, key, kid: kid.clone() };
            let token = token::mint(&signer, &subject, &target.audience)?;
            let kid = kid.as_ref().map_or_else(|| "no kid".to_owned(), |kid| format!("kid {kid:?}"));
            forged.push((token.text, format!("{what} ({kid})")));
        }
    }
    if let Some((text, _)) = forged.first() {
        let payload = text.split('.').nth(1).unwrap_or_default();
        // {"alg":"none"}
        forged.push((format!("eyJhbGciOiJub25lIn0.{payload}."), "nobody (alg none)".to_owned()));
    }
    // Every one is tried: an answer that tells nothing of one says nothing of the next.
    let mut untold = None;
    for (token, what) in forged {
        match probed(target, url, is_service, Some(&token)).await? {
            401 | 403 => {}
            // Whatever comes after the token was looked at: it was believed.
            200..=299 | 400 | 413 | 415 | 422 => return Ok(Some(what)),
            status => {
                untold.get_or_insert(format!("the answer {status} does not tell whether a token was taken"));
            }
        }
    }
    untold.map_or(Ok(None), Err)
}

/// The status that a request is answered with which changes nothing: a stream's, or an upload of nothing.
pub(super) async fn probed(
    target: &ExistingStack,
    url: &str,
    is_service: bool,
    token: Option<&str>,
) -> Result<u16, String> {
    let asked = if is_service {
        let body = stream_request("syncstorm-audit");
        let request = target.http.request(http::Method::POST, &format!("{url}/sync/stream"), token, Some(&body));
        target.http.open(request).await.map(|response| response.status().as_u16())
    } else {
        target.http.post(&format!("{url}/upload"), token, "{}").await.map(|reply| reply.status)
    };
    asked.map_err(|none| none.words(if is_service { "the service" } else { "the backend" }, url).0)
}
