//! Who asks, and with which key: a token from a secret, a key file, a command or a deployment's own keys.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value as Json;

use super::args::StackArgs;
use super::jwk;
use super::program::{self, NotRun};
use crate::signer::{Claims, Signer};

/// How long a token of ours is good for, in seconds.
const LIFETIME_S: i64 = 900;
/// The name that the guide gives to a shared secret.
pub const USUAL_KID: &str = "local-dev-key";

/// A token, and what it says of itself.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// `alg` of its header.
    pub algorithm: String,
    /// `kid` of its header: the key's name.
    pub kid: Option<String>,
    /// Its claims, as they stand.
    pub claims: Json,
}

/// Where tokens come from.
#[derive(Clone)]
pub enum Source {
    /// They are signed here, for anybody.
    Signer(Signer),
    /// A command prints one, for whomever it likes.
    Command {
        /// What a shell runs.
        command: String,
        /// How long it may take.
        patience: Duration,
    },
}

impl Source {
    /// A token that is good from now on, for a subject if that can be chosen.
    ///
    /// # Errors
    /// Why there is none.
    pub fn token(&self, subject: &str, audience: &str) -> Result<Token, String> {
        match self {
            Self::Signer(signer) => mint(signer, subject, audience),
            Self::Command { command, patience } => of_command(command, *patience),
        }
    }
}

/// A token for a subject, good from now on.
///
/// # Errors
/// When the key signs none.
pub fn mint(signer: &Signer, subject: &str, audience: &str) -> Result<Token, String> {
    let now_s = now_s();
    let (sub, aud) = (subject.to_owned(), audience.to_owned());
    Token::read(&signer.sign(&Claims { sub, aud, iat: now_s, exp: now_s + LIFETIME_S })?)
}

impl Token {
    /// Reads a token without believing it.
    ///
    /// # Errors
    /// When it is no JWT.
    pub fn read(text: &str) -> Result<Self, String> {
        let none = || "not a JWT: three parts of base64url, with dots between them".to_owned();
        let parts: Vec<&str> = text.split('.').collect();
        let [header, payload, _] = parts.as_slice() else { return Err(none()) };
        let part = |part: &str| -> Option<Json> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok().filter(Json::is_object)
        };
        let (header, claims) = part(header).zip(part(payload)).ok_or_else(none)?;
        Ok(Self {
            text: text.to_owned(),
            algorithm: header["alg"].as_str().unwrap_or("none").to_owned(),
            kid: header["kid"].as_str().map(str::to_owned),
            claims,
        })
    }

    /// `sub`, as text.
    pub fn subject(&self) -> String {
        match &self.claims["sub"] {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// `aud`, as it stands.
    pub fn audience(&self) -> String {
        self.claims["aud"].to_string()
    }

    /// For how many seconds it has been expired; `None` when it is good.
    pub fn expired_s(&self) -> Option<i64> {
        let expires = self.claims["exp"].as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "a time in seconds is far from the limits")]
        let ago = now_s() - expires as i64;
        (ago >= 0).then_some(ago)
    }

    /// The key, for sentences.
    pub fn key_words(&self) -> String {
        self.kid.as_ref().map_or_else(|| "no key (it has no kid)".to_owned(), |kid| format!("key {kid:?}"))
    }
}

/// The machine's time, in seconds since 1970.
pub fn now_s() -> i64 {
    ::backend::server::machine_clock_us().div_euclid(1_000_000)
}

/// Where the arguments say that tokens come from; `None` when they do not.
///
/// # Errors
/// What is wrong, with the flag.
pub fn of_arguments(args: &StackArgs) -> Result<Option<(&'static str, Source)>, String> {
    let sources = [args.token_secret.is_some(), args.token_key.is_some(), args.token_command.is_some()];
    if sources.iter().filter(|source| **source).count() > 1 {
        return Err("--token-secret, --token-key, --token-command: name one of them".to_owned());
    }
    if let Some(command) = &args.token_command {
        let source = Source::Command { command: command.clone(), patience: args.patience() };
        return Ok(Some(("--token-command", source)));
    }
    let (flag, signer) = match (&args.token_secret, &args.token_key) {
        (Some(secret), _) if secret.is_empty() => return Err("--token-secret: is empty".to_owned()),
        (Some(secret), _) => {
            let key = EncodingKey::from_secret(secret.as_bytes());
            let kid = args.kid.clone().unwrap_or_else(|| USUAL_KID.to_owned());
            ("--token-secret", Signer { algorithm: Algorithm::HS256, key, kid: Some(kid) })
        }
        (None, Some(path)) => {
            let wrong = |said: String| format!("--token-key {}: {said}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            let signer = jwk::read(&text).map_err(wrong)?;
            let kid = args.kid.clone().or(signer.kid);
            ("--token-key", Signer { kid, ..signer })
        }
        (None, None) => return Ok(None),
    };
    Ok(Some((flag, Source::Signer(signer))))
}

fn of_command(command: &str, patience: Duration) -> Result<Token, String> {
    match program::run("sh", &["-c", command], patience) {
        Ok(said) if said.success => {
            let text = said.stdout.trim();
            Token::read(text).map_err(|problem| format!("what it prints is {problem}"))
        }
        Ok(said) => Err(format!("it failed: {}", said.stderr.lines().last().unwrap_or("without a word"))),
        Err(NotRun::Absent) => Err("there is no shell sh to run it".to_owned()),
        Err(NotRun::Late) => Err("it did not end in time (--patience-seconds)".to_owned()),
        Err(NotRun::Failed(said)) => Err(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read() {
        let key = EncodingKey::from_secret(b"x");
        let signer = Signer { algorithm: Algorithm::HS256, key, kid: Some("k".to_owned()) };
        let token = mint(&signer, "somebody", "here").expect("it signs");
        assert_eq!((token.subject().as_str(), token.audience().as_str()), ("somebody", "\"here\""));
        assert_eq!((token.kid.as_deref(), token.algorithm.as_str(), token.expired_s()), (Some("k"), "HS256", None));
        for text in ["", "a.b", "a.b.c", "e30.e30", "W10.e30.x"] {
            assert!(Token::read(text).is_err(), "{text}");
        }
    }
}
