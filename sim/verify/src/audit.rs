//! The guide's security checklist: what anybody could guess, reach or read.

use ::backend::store::postgres::tls::{Address, SslMode};

use super::backend::key_set_url;
use super::credentials;
use super::exposure;
use super::mongodb::ReplicaSet;
use super::weak_secrets::{PublicFiles, TOKEN_SECRET_BYTES_MIN};
use super::{Check, Lines};
use sim_stack::existing_stack::ExistingStack;
use sim_stack::existing_stack::database::{NoSession, connect};

/// A page that no stack has business with.
const STRANGER: &str = "https://stranger.invalid";
/// The members of a JWK that are secret.
const PRIVATE_PARTS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// All lines.
pub(super) async fn checks(
    target: &ExistingStack,
    replica_set: Option<&ReplicaSet>,
    public: &PublicFiles,
    secret: Option<&str>,
) -> Vec<Check> {
    let mut guessed = Lines::about("passwords");
    credentials::passwords(target, replica_set, public, &mut guessed).await;
    let mut tokens = Lines::about("tokens");
    if let Some(secret) = secret {
        passed_in(secret, public, &mut tokens);
    }
    credentials::tokens(target, public, &mut tokens).await;
    key_set(target, &mut tokens).await;
    without_token(target, &mut tokens).await;
    hands_out(target, &mut tokens).await;
    let mut network = Lines::about("network");
    exposure::plain_text(target, replica_set, &mut network);
    plain_sessions(target, &mut network).await;
    exposure::ports(target, replica_set, &mut network).await;
    exposure::published(target, &mut network);
    let mut pages = Lines::about("pages");
    cors(target, &mut pages).await;
    [guessed, tokens, network, pages].into_iter().flat_map(|lines| lines.checks).collect()
}

/// The secret that signs tokens, as it was passed in.
fn passed_in(secret: &str, public: &PublicFiles, lines: &mut Lines) {
    let name = "token secret cannot be found";
    match public.why_weak(secret, TOKEN_SECRET_BYTES_MIN) {
        None => lines.ok(name, "it is long, no words, and in no public file of the application"),
        Some(why) => lines.failed(
            name,
            format!("the secret of --token-secret {why}: whoever finds it is any user"),
            "sign with a key pair of your own, or with 32 random bytes (`openssl rand -hex 32`) that stand in no file of the repository",
        ),
    }
}

async fn key_set(target: &ExistingStack, lines: &mut Lines) {
    let name = "key set shows no secret";
    let Some(url) = &target.backend else { return lines.skipped(name, "no --backend-url") };
    let reply = match target.http.get(&key_set_url(url), None).await {
        Ok(reply) => reply,
        Err(none) => return lines.skipped(name, none.words("the backend", url).0),
    };
    let json = reply.json();
    let Some(keys) = json["keys"].as_array() else {
        return lines.skipped(name, format!("there is no key set: status {}", reply.status));
    };
    let secret = |key: &&serde_json::Value| PRIVATE_PARTS.iter().any(|part| key.get(part).is_some());
    let shown: Vec<&str> =
        keys.iter().filter(secret).map(|key| key["kid"].as_str().unwrap_or("without a kid")).collect();
    if shown.is_empty() {
        return lines.ok(name, format!("public halves alone (keys: {})", keys.len()));
    }
    lines.failed(
        name,
        format!("whoever asks is shown the secret part of {}, and can sign as anybody", shown.join(", ")),
        "make new keys (syncstorm-backend rotate-keys), of an algorithm with a public half (ES256), and end development mode",
    );
}

async fn without_token(target: &ExistingStack, lines: &mut Lines) {
    let name = "upload wants a token";
    let Some(url) = &target.backend else { return lines.skipped(name, "no --backend-url") };
    match credentials::probed(target, url, false, None).await {
        Ok(401 | 403) => lines.ok(name, "401 without one"),
        Ok(status @ (200..=299 | 400 | 413 | 415 | 422)) => lines.failed(
            name,
            format!("POST /upload without a token is answered {status}, not 401: anybody can write"),
            "let the backend check the bearer token before it reads the body",
        ),
        Ok(status) => lines.skipped(name, format!("the answer {status} does not tell")),
        Err(reason) => lines.skipped(name, reason),
    }
}

async fn hands_out(target: &ExistingStack, lines: &mut Lines) {
    let name = "nobody is handed a token";
    let Some(url) = &target.backend else { return lines.skipped(name, "no --backend-url") };
    let asked =
        target.http.post(&format!("{url}/auth/token"), None, r#"{"sub":"syncstorm-audit","lifetime_s":1}"#).await;
    match asked {
        Ok(reply) if (200..300).contains(&reply.status) => lines.failed(
            name,
            "POST /auth/token gives whoever asks a token for any user: the backend is in development mode",
            "start the backend without --development (SYNC_BACKEND_DEVELOPMENT)",
        ),
        Ok(reply) if matches!(reply.status, 401 | 403 | 404 | 405) => {
            lines.ok(name, format!("status {}", reply.status))
        }
        Ok(reply) => lines.skipped(name, format!("the answer {} does not tell", reply.status)),
        Err(none) => lines.skipped(name, none.words("the backend", url).0),
    }
}

/// Asks for a session in the clear with a password that is surely wrong: whoever minds the password has let the session
/// in. So the real one is not sent.
async fn plain_sessions(target: &ExistingStack, lines: &mut Lines) {
    let name = "PostgreSQL wants TLS";
    let Some(url) = &target.postgres else { return lines.skipped(name, "no --postgres-url") };
    let address = Address::parse(url).and_then(|own| {
        let word = sim_stack::postgres::random_word().map_err(|error| error.to_string())?;
        let user = own.connector()?.0.get_user().unwrap_or("postgres").to_owned();
        let place = credentials::rest_of(&own.url);
        Ok(Address { url: format!("postgres://{user}:{word}@{place}"), mode: SslMode::Disable, root: None })
    });
    let asked = match address {
        Ok(address) => connect(&address, target.patience()).await,
        Err(said) => Err(NoSession::Away(said)),
    };
    let fix = "in pg_hba.conf write hostssl in the place of host (and hostnossl all all all reject), then reload";
    match asked {
        Ok(_) => lines.failed(name, "it takes sessions without TLS, and any password", fix),
        Err(NoSession::Password(_)) => {
            lines.failed(name, "it takes sessions without TLS: passwords and rows can be read on the way", fix)
        }
        Err(NoSession::NotAllowed(said)) if said.contains("pg_hba.conf") => {
            lines.ok(name, "a session without TLS is refused")
        }
        Err(other) => lines.skipped(name, format!("the answer does not tell: {other:?}")),
    }
}

async fn cors(target: &ExistingStack, lines: &mut Lines) {
    let parts = [
        ("backend lets no strange page in", &target.backend, "/upload", "no --backend-url"),
        ("service lets no strange page in with cookies", &target.service, "/sync/stream", "no --powersync-url"),
    ];
    for (index, (name, url, path, without)) in parts.into_iter().enumerate() {
        let Some(url) = url else {
            lines.skipped(name, without);
            continue;
        };
        let reply = match target.http.preflight(&format!("{url}{path}"), STRANGER).await {
            Ok(reply) => reply,
            Err(none) => {
                lines.skipped(name, none.words(if index == 0 { "the backend" } else { "the service" }, url).0);
                continue;
            }
        };
        let allowed = reply.header("access-control-allow-origin").unwrap_or_default();
        let with_cookies = reply.header("access-control-allow-credentials") == Some("true");
        let lets_in = allowed == "*" || allowed.eq_ignore_ascii_case(STRANGER);
        match (lets_in, index) {
            (false, _) => lines.ok(name, "another origin is not allowed"),
            // The official service allows every origin and cannot be told otherwise. It knows no cookies, so a page that
            // has no token gains nothing.
            (true, 1) if !with_cookies => {
                lines.ok(name, "every origin is allowed, as the service is made, but no cookies are")
            }
            _ => lines.failed(
                name,
                format!("pages of every origin may call it (access-control-allow-origin: {allowed})"),
                "name the web client's origin alone (the backend's --cors-origin)",
            ),
        }
    }
}
