//! Tokens: who sent a request, and why a token is not believed.
//!
//! Signature and claims are checked by a library; `exp`, `nbf` and `aud` are compared here, with the injected clock.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

use crate::wire::{NAME_BYTES_MAX, is_storable};

/// Whom the backend believes.
#[derive(Clone)]
pub struct Auth {
    keys: Vec<Held>,
    /// The key that signs.
    signer: Option<usize>,
    algorithms: Vec<Algorithm>,
    audiences: Vec<String>,
}

/// A symmetric key, for HS256.
#[derive(Clone)]
pub struct Key {
    /// Its name in token headers.
    pub kid: String,
    /// The shared secret.
    pub secret: Vec<u8>,
    /// From when on tokens signed with it are refused; `None` = the key in use.
    pub retires_us: Option<i64>,
}

/// A key pair, for RS256, ES256 or EdDSA.
#[derive(Clone)]
pub struct KeyPair {
    /// Its name in token headers.
    pub kid: String,
    /// The one algorithm that it is used with.
    pub algorithm: Algorithm,
    /// The private key, PKCS#8 in PEM.
    pub private_pem: String,
    /// The public key as a JWK, without `kid`, `alg` and `use`.
    pub public: Jwk,
    /// From when on tokens signed with it are refused; `None` = the key in use.
    pub retires_us: Option<i64>,
}

/// The parts of a public key, base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jwk {
    /// Modulus and exponent.
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// A point of P-256.
    P256 {
        /// Its x.
        x: String,
        /// Its y.
        y: String,
    },
    /// A point of Ed25519.
    Ed25519 {
        /// Its x.
        x: String,
    },
}

/// A key ready for use.
#[derive(Clone)]
struct Held {
    kid: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
    encoding: EncodingKey,
    /// As the key set shows it.
    jwk: serde_json::Value,
    is_secret: bool,
    retires_us: Option<i64>,
}

impl From<&Key> for Held {
    fn from(key: &Key) -> Self {
        let jwk = serde_json::json!(
            {"kty": "oct", "alg": "HS256", "kid": key.kid, "k": URL_SAFE_NO_PAD.encode(&key.secret)}
        );
        Self {
            kid: key.kid.clone(),
            algorithm: Algorithm::HS256,
            decoding: DecodingKey::from_secret(&key.secret),
            encoding: EncodingKey::from_secret(&key.secret),
            jwk,
            is_secret: true,
            retires_us: key.retires_us,
        }
    }
}

impl TryFrom<&KeyPair> for Held {
    type Error = jsonwebtoken::errors::Error;

    fn try_from(pair: &KeyPair) -> Result<Self, Self::Error> {
        let pem = pair.private_pem.as_bytes();
        let (decoding, encoding, mut jwk) = match &pair.public {
            Jwk::Rsa { n, e } => (
                DecodingKey::from_rsa_components(n, e)?,
                EncodingKey::from_rsa_pem(pem)?,
                serde_json::json!({"kty": "RSA", "n": n, "e": e}),
            ),
            Jwk::P256 { x, y } => (
                DecodingKey::from_ec_components(x, y)?,
                EncodingKey::from_ec_pem(pem)?,
                serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}),
            ),
            Jwk::Ed25519 { x } => (
                DecodingKey::from_ed_components(x)?,
                EncodingKey::from_ed_pem(pem)?,
                serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
            ),
        };
        jwk["kid"] = pair.kid.clone().into();
        jwk["alg"] = serde_json::to_value(pair.algorithm).unwrap_or_default();
        jwk["use"] = "sig".into();
        let (kid, algorithm, retires_us) = (pair.kid.clone(), pair.algorithm, pair.retires_us);
        Ok(Self { kid, algorithm, decoding, encoding, jwk, is_secret: false, retires_us })
    }
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization: Bearer …`.
    #[error("the Authorization header holds no bearer token")]
    Missing,
    /// Not a JWT.
    #[error("the token is not a JWT: {0}")]
    Malformed(String),
    /// An algorithm that is not allowed here.
    #[error("tokens signed with {0} are not accepted here")]
    Algorithm(String),
    /// A key that is not known here.
    #[error("no key is called {0:?}")]
    Key(String),
    /// The signature is not that of the key.
    #[error("the signature does not match the key")]
    Signature,
    /// A claim is missing or of another type.
    #[error("a claim is missing or malformed: {0}")]
    Claim(String),
    /// `exp` has passed.
    #[error("the token expired {0} s ago")]
    Expired(i64),
    /// `nbf` has not come.
    #[error("the token becomes valid in {0} s")]
    NotYet(i64),
    /// `aud` is for somebody else.
    #[error("the token is for another audience: {0}")]
    Audience(String),
}

impl AuthError {
    /// A stable name for the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing-token",
            Self::Malformed(_) => "malformed-token",
            Self::Algorithm(_) => "algorithm",
            Self::Key(_) => "unknown-key",
            Self::Signature => "bad-signature",
            Self::Claim(_) => "claim",
            Self::Expired(_) => "expired",
            Self::NotYet(_) => "not-yet-valid",
            Self::Audience(_) => "wrong-audience",
        }
    }
}

/// The claims that matter.
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

impl Auth {
    /// HS256 keys; the first one signs.
    #[must_use]
    pub fn hs256(keys: Vec<Key>, audiences: Vec<String>) -> Self {
        let keys: Vec<Held> = keys.iter().map(Held::from).collect();
        let signer = (!keys.is_empty()).then_some(0);
        Self { keys, signer, algorithms: vec![Algorithm::HS256], audiences }
    }

    /// Keys of any kind. Only the algorithms listed are accepted; the first key that is in use and has the first
    /// of them signs.
    ///
    /// # Errors
    /// When a key pair is none.
    pub fn new(
        secrets: &[Key],
        pairs: &[KeyPair],
        algorithms: Vec<Algorithm>,
        audiences: Vec<String>,
    ) -> Result<Self, jsonwebtoken::errors::Error> {
        let mut keys: Vec<Held> = secrets.iter().map(Held::from).collect();
        for pair in pairs {
            keys.push(Held::try_from(pair)?);
        }
        let signs = |key: &Held| key.retires_us.is_none() && Some(&key.algorithm) == algorithms.first();
        let signer = keys.iter().position(signs);
        Ok(Self { keys, signer, algorithms, audiences })
    }

    /// The subject of the bearer token in an `Authorization` header.
    ///
    /// # Errors
    /// Whatever makes the token unbelievable now.
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
        // A key is good for its own algorithm alone: a public key must never serve as a shared secret.
        if key.algorithm != header.alg {
            return Err(AuthError::Algorithm(format!("{:?} by this key", header.alg)));
        }
        let mut validation = Validation::new(header.alg);
        // Time and audience are compared below, with the injected clock and with words of our own.
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

    /// The key set. A symmetric key is a secret: it is in the set only where `with_secrets` says so, which is for
    /// development, where the sync service takes its key from here.
    #[must_use]
    pub fn jwks(&self, with_secrets: bool) -> serde_json::Value {
        let shown = self.keys.iter().filter(|key| with_secrets || !key.is_secret);
        let keys: Vec<&serde_json::Value> = shown.map(|key| &key.jwk).collect();
        serde_json::json!({ "keys": keys })
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}
