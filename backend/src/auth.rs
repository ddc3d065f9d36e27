//! Tokens: who sent a request, or why the token is not accepted.
//!
//! `jsonwebtoken` checks signature and claims. `exp`, `nbf` and `aud` are compared here, with the injected clock.

mod error;
mod key;

use std::sync::Arc;

pub use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

use crate::auth::key::LoadedKey;
use crate::wire::{NAME_BYTES_MAX, is_storable};

pub use error::AuthError;
pub use key::{Key, KeyPair};

/// The keys, algorithms and audiences that the backend accepts.
#[derive(Clone)]
pub struct Auth {
    keys: Vec<LoadedKey>,
    /// The key that signs.
    signer: Option<usize>,
    algorithms: Vec<Algorithm>,
    audiences: Vec<String>,
}

impl Auth {
    /// HS256 keys; the first one signs.
    #[must_use]
    pub fn hs256(keys: Vec<Key>, audiences: Vec<String>) -> Self {
        let keys: Vec<LoadedKey> = keys.iter().map(LoadedKey::from).collect();
        let signer = (!keys.is_empty()).then_some(0);
        Self { keys, signer, algorithms: vec![Algorithm::HS256], audiences }
    }

    /// Keys of any kind. Only the listed algorithms are accepted. The first key in use with the first of them signs.
    ///
    /// # Errors
    /// When a key pair cannot be used.
    pub fn new(
        secrets: &[Key],
        pairs: &[KeyPair],
        algorithms: Vec<Algorithm>,
        audiences: Vec<String>,
    ) -> Result<Self, jsonwebtoken::errors::Error> {
        let mut keys: Vec<LoadedKey> = secrets.iter().map(LoadedKey::from).collect();
        for pair in pairs {
            keys.push(LoadedKey::try_from(pair)?);
        }
        let signs = |key: &LoadedKey| key.retires_us.is_none() && Some(&key.algorithm) == algorithms.first();
        let signer = keys.iter().position(signs);
        Ok(Self { keys, signer, algorithms, audiences })
    }

    /// The subject of the bearer token in an `Authorization` header.
    ///
    /// # Errors
    /// When the token is not valid now.
    pub fn subject(&self, authorization: Option<&str>, now_us: i64) -> Result<Arc<str>, AuthError> {
        let token = authorization.and_then(bearer).ok_or(AuthError::Missing)?;
        let header = decode_header(token).map_err(|error| AuthError::Malformed(error.to_string()))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(AuthError::Algorithm(format!("{:?}", header.alg)));
        }
        let kid = header.kid.unwrap_or_default();
        let key = self
            .keys
            .iter()
            .find(|key| key.kid == kid && key.retires_us.is_none_or(|at_us| now_us < at_us))
            .ok_or(AuthError::Key(kid))?;
        // A key verifies only its own algorithm: a public key must never serve as a shared secret.
        if key.algorithm != header.alg {
            return Err(AuthError::Algorithm(format!("{:?} by this key", header.alg)));
        }
        let mut validation = Validation::new(header.alg);
        // Time and audience are compared below, with the injected clock and our own error codes.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = decode::<Claims>(token, &key.decoding, &validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => AuthError::Signature,
                _ => AuthError::Claim(error.to_string()),
            })?
            .claims;
        let now_s = now_us.div_euclid(1_000_000);
        if claims.exp <= now_s {
            return Err(AuthError::Expired(now_s.saturating_sub(claims.exp)));
        }
        if let Some(nbf) = claims.nbf.filter(|nbf| *nbf > now_s) {
            return Err(AuthError::NotYet(nbf.saturating_sub(now_s)));
        }
        if !claims.aud.names().iter().any(|name| self.audiences.contains(name)) {
            return Err(AuthError::Audience(claims.aud.names().join(", ")));
        }
        if claims.sub.is_empty() || !is_storable(&claims.sub) {
            return Err(AuthError::Claim(format!("sub is empty, longer than {NAME_BYTES_MAX} bytes, or holds NUL")));
        }
        Ok(Arc::from(claims.sub))
    }

    /// A token for a subject, signed with the key in use; `None` when there is none.
    #[must_use]
    pub fn mint(&self, subject: &str, now_us: i64, lifetime_s: i64) -> Option<String> {
        let key = &self.keys[self.signer?];
        let now_s = now_us.div_euclid(1_000_000);
        let claims = Claims {
            sub: subject.to_owned(),
            iat: Some(now_s),
            nbf: None,
            exp: now_s.saturating_add(lifetime_s),
            aud: self.audiences.first().map_or(Audience::None, |name| Audience::One(name.clone())),
        };
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
        encode(&header, &claims, &key.encoding).ok()
    }

    /// The key set. Symmetric keys are secrets: `with_secrets` includes them, for development, where the sync service
    /// fetches its key from here.
    #[must_use]
    pub fn jwks(&self, with_secrets: bool) -> serde_json::Value {
        let shown = self.keys.iter().filter(|key| with_secrets || !key.is_secret());
        let keys: Vec<&Jwk> = shown.map(|key| &key.jwk).collect();
        serde_json::json!({ "keys": keys })
    }
}

/// The claims that are used.
#[derive(Debug, Deserialize, Serialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    nbf: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    iat: Option<i64>,
    #[serde(default)]
    aud: Audience,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(untagged)]
enum Audience {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}
