//! Tokens: which key signed one, whether it is good now, and what it says. Time is the caller's.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fixtures::Value;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::{Map, Value as Json};

use crate::error::WireError;
use crate::sync_config::expression::sql_value;

/// How far clocks may be apart when `exp` and `nbf` are judged.
const TOLERANCE_S: f64 = 60.0;
/// The longest time that a token may be good for.
const LIFETIME_MAX_S: f64 = 86_400.0;

/// The keys that tokens may be signed with.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    by_id: BTreeMap<String, Key>,
    without_id: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    key: DecodingKey,
    /// The only algorithm, when the key names one.
    algorithm: Option<Algorithm>,
}

/// A key set that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {index} of the key set: {problem}")]
pub struct KeyError {
    /// Its position in the set.
    pub index: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// What a good token says.
#[derive(Clone, Debug)]
pub struct Token {
    /// The payload.
    pub payload: Json,
    /// `exp`, in seconds since 1970.
    pub expires_s: i64,
    /// `sub` as a SQL value: `request.user_id()`.
    pub user_id: Value,
    /// `sub` as text, for the write checkpoint key.
    pub subject: String,
}

impl Keys {
    /// Reads a JSON Web Key Set.
    ///
    /// # Errors
    /// When it is malformed, or a key is of a kind that is not known.
    pub fn from_jwks(text: &str) -> Result<Self, KeyError> {
        let problem = |index: usize, problem: String| KeyError { index, problem };
        let set: JwkSet = serde_json::from_str(text).map_err(|error| problem(0, error.to_string()))?;
        let mut keys = Self::default();
        for (index, jwk) in set.keys.iter().enumerate() {
            let key = Key::from_jwk(jwk).map_err(|text| problem(index, text))?;
            match &jwk.common.key_id {
                Some(id) => {
                    keys.by_id.insert(id.clone(), key);
                }
                None => keys.without_id.push(key),
            }
        }
        Ok(keys)
    }

    /// One HS256 key.
    #[must_use]
    pub fn hs256(key_id: &str, secret: &[u8]) -> Self {
        let key = Key { key: DecodingKey::from_secret(secret), algorithm: Some(Algorithm::HS256) };
        Self { by_id: BTreeMap::from([(key_id.to_owned(), key)]), without_id: Vec::new() }
    }

    /// Adds a key, or replaces the one of its id: for rotation.
    pub fn add_hs256(&mut self, key_id: &str, secret: &[u8]) {
        self.by_id.append(&mut Self::hs256(key_id, secret).by_id);
    }

    /// Whether a token that names this key, or none, can be judged.
    #[must_use]
    pub fn knows(&self, key_id: Option<&str>) -> bool {
        !self.without_id.is_empty() || key_id.is_some_and(|id| self.by_id.contains_key(id))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len() + self.without_id.len()
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over the keys of another set; those of the same id replace.
    pub fn extend(&mut self, other: &Self) {
        self.by_id.extend(other.by_id.iter().map(|(id, key)| (id.clone(), key.clone())));
        self.without_id.extend(other.without_id.iter().cloned());
    }

    /// Judges a token.
    ///
    /// # Errors
    /// 401 with the code that the official service gives.
    pub fn verify(&self, token: &str, audience: &[String], now_us: i64) -> Result<Token, WireError> {
        let refused = |text: &str| WireError::unauthorized("PSYNC_S2101", text);
        let malformed = || refused("Token is not a well-formed JWT. Check the token format.");
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let header = json_object(header).ok_or_else(malformed)?;
        let algorithm = header
            .get("alg")
            .and_then(Json::as_str)
            .and_then(|name| name.parse::<Algorithm>().ok())
            .filter(|algorithm| !matches!(algorithm, Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512))
            .ok_or_else(|| refused("Unsupported token algorithm"))?;
        let message = &token[..token.len() - signature.len() - 1];
        self.check_signature(header.get("kid").and_then(Json::as_str), algorithm, message, signature)?;
        let payload = json_object(payload).ok_or_else(malformed)?;
        check_claims(payload, audience, now_us)
    }

    fn check_signature(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        message: &str,
        signature: &str,
    ) -> Result<(), WireError> {
        let refused = |text: &str| WireError::unauthorized("PSYNC_S2101", text);
        let good = |key: &Key| {
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, algorithm).unwrap_or(false)
        };
        if let Some(key) = key_id.and_then(|id| self.by_id.get(id)) {
            return if !key.fits(algorithm) {
                Err(refused(&format!("Unexpected token algorithm {algorithm:?}")))
            } else if good(key) {
                Ok(())
            } else {
                Err(refused("signature verification failed"))
            };
        }
        if self.without_id.iter().any(|key| key.fits(algorithm) && good(key)) {
            return Ok(());
        }
        Err(refused(
            "Could not find an appropriate key in the keystore. The key is missing or no key matched the token KID",
        ))
    }
}

impl Key {
    fn from_jwk(jwk: &Jwk) -> Result<Self, String> {
        let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
        let algorithm = match &jwk.common.key_algorithm {
            None => None,
            Some(name) => {
                let name = name.to_string();
                Some(name.parse().map_err(|_| format!("algorithm {name} is not known"))?)
            }
        };
        Ok(Self { key, algorithm })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let family: AlgorithmFamily = self.key.family();
        self.algorithm.map_or_else(|| family.algorithms().contains(&algorithm), |own| own == algorithm)
    }
}

/// The token of an `Authorization` header.
///
/// # Errors
/// 401 when there is none, or it has another form than `Token …` or `Bearer …`.
pub fn token_of(header: Option<&str>) -> Result<&str, WireError> {
    header
        .and_then(|text| text.strip_prefix("Token ").or_else(|| text.strip_prefix("Bearer ")))
        .filter(|token| !token.is_empty() && !token.contains(char::is_whitespace))
        .ok_or_else(|| WireError::unauthorized("PSYNC_S2106", "Authentication required"))
}

/// Which key a token says signed it, before anything about it is believed.
#[must_use]
pub fn key_id_of(token: &str) -> Option<String> {
    let header = json_object(token.split('.').next()?)?;
    header.get("kid").and_then(Json::as_str).map(ToOwned::to_owned)
}

fn check_claims(payload: Map<String, Json>, audience: &[String], now_us: i64) -> Result<Token, WireError> {
    let refused = |code: &'static str, text: &str| Err(WireError::unauthorized(code, text));
    for claim in ["sub", "iat", "exp", "aud"] {
        if !payload.contains_key(claim) {
            let code = if claim == "aud" { "PSYNC_S2105" } else { "PSYNC_S2101" };
            return refused(code, &format!("missing required \"{claim}\" claim"));
        }
    }
    let number = |claim: &str| match payload.get(claim).and_then(Json::as_f64) {
        Some(seconds) => Ok(seconds),
        None => Err(WireError::unauthorized("PSYNC_S2101", format!("\"{claim}\" claim must be a number"))),
    };
    #[expect(clippy::cast_precision_loss, reason = "a second is judged, with a tolerance of a minute")]
    let now_s = (now_us / 1_000_000) as f64;
    let (issued, expires) = (number("iat")?, number("exp")?);
    if payload.contains_key("nbf") && number("nbf")? > now_s + TOLERANCE_S {
        return refused("PSYNC_S2101", "\"nbf\" claim timestamp check failed");
    }
    if expires <= now_s - TOLERANCE_S {
        return refused("PSYNC_S2103", "JWT has expired");
    }
    let intended = match &payload["aud"] {
        Json::String(one) => audience.contains(one),
        Json::Array(all) => all.iter().filter_map(Json::as_str).any(|one| audience.iter().any(|own| own == one)),
        _ => false,
    };
    if !intended {
        return refused("PSYNC_S2105", &format!("Unexpected \"aud\" claim value: {}", payload["aud"]));
    }
    let lifetime = expires - issued;
    if lifetime > LIFETIME_MAX_S {
        let text = format!("Token must expire in a maximum of {LIFETIME_MAX_S} seconds, got {lifetime}s");
        return refused("PSYNC_S2104", &text);
    }
    if !matches!(payload.get("parameters"), None | Some(Json::Null | Json::Object(_))) {
        return refused("PSYNC_S2101", "Payload parameters must be an object");
    }
    let subject = match &payload["sub"] {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds is far from the limits")]
    let expires_s = expires as i64;
    Ok(Token { expires_s, user_id: sql_value(payload.get("sub")), subject, payload: Json::Object(payload) })
}

fn json_object(part: &str) -> Option<Map<String, Json>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
