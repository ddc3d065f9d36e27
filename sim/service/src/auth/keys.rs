//! The keys that tokens may be signed with, and the signature of a token.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::{Map, Value as Json};

use super::claims::{Token, check_claims};
use crate::error::WireError;

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

impl Keys {
    /// Reads a JSON Web Key Set.
    ///
    /// # Errors
    /// When it is malformed, or a key has an unknown type or algorithm.
    pub fn from_jwks(text: &str) -> Result<Self, KeyError> {
        let problem = |index: usize, problem: String| KeyError { index, problem };
        let set: JwkSet = serde_json::from_str(text).map_err(|error| problem(0, error.to_string()))?;
        let mut keys = Self::default();
        for (index, jwk) in set.keys.iter().enumerate() {
            keys.add(jwk).map_err(|text| problem(index, text))?;
        }
        Ok(keys)
    }

    /// Reads those keys of a JSON Web Key Set that tokens can be signed with. A set may hold keys for other purposes.
    ///
    /// # Errors
    /// When it is not a key set.
    pub fn from_usable_jwks(text: &str) -> Result<Self, serde_json::Error> {
        // `JwkSet` refuses the whole set for one key of a type that it does not know.
        #[derive(serde::Deserialize)]
        struct KeySet {
            keys: Vec<Json>,
        }
        let set: KeySet = serde_json::from_str(text)?;
        let mut keys = Self::default();
        for key in set.keys {
            let added = serde_json::from_value(key).map_err(|error| error.to_string()).and_then(|jwk| keys.add(&jwk));
            if let Err(problem) = added {
                tracing::debug!(problem, "a key that is not for tokens");
            }
        }
        Ok(keys)
    }

    fn add(&mut self, jwk: &Jwk) -> Result<(), String> {
        let key = Key::from_jwk(jwk)?;
        match &jwk.common.key_id {
            Some(id) => {
                self.by_id.insert(id.clone(), key);
            }
            None => self.without_id.push(key),
        }
        Ok(())
    }

    /// One HS256 key.
    #[must_use]
    pub fn hs256(key_id: &str, secret: &[u8]) -> Self {
        let key = Key { key: DecodingKey::from_secret(secret), algorithm: Some(Algorithm::HS256) };
        Self { by_id: BTreeMap::from([(key_id.to_owned(), key)]), without_id: Vec::new() }
    }

    /// Adds a key, or replaces the one with the same id.
    pub fn add_hs256(&mut self, key_id: &str, secret: &[u8]) {
        self.by_id.append(&mut Self::hs256(key_id, secret).by_id);
    }

    /// Whether there is a key for a token that names this one, or none.
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

    /// Adds the keys of another set. They replace those with the same id.
    pub fn extend(&mut self, other: &Self) {
        self.by_id.extend(other.by_id.iter().map(|(id, key)| (id.clone(), key.clone())));
        self.without_id.extend(other.without_id.iter().cloned());
    }

    /// Verifies a token. It is taken apart here and not by `jsonwebtoken`, whose errors do not tell the official
    /// service's codes apart.
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
/// 401 when there is none, or its form is neither `Token …` nor `Bearer …`.
pub fn token_of(header: Option<&str>) -> Result<&str, WireError> {
    header
        .and_then(|text| text.strip_prefix("Token ").or_else(|| text.strip_prefix("Bearer ")))
        .filter(|token| !token.is_empty() && !token.contains(char::is_whitespace))
        .ok_or_else(|| WireError::unauthorized("PSYNC_S2106", "Authentication required"))
}

/// The id of the key that a token names. The token is not verified yet.
#[must_use]
pub fn key_id_of(token: &str) -> Option<String> {
    let header = json_object(token.split('.').next()?)?;
    header.get("kid").and_then(Json::as_str).map(ToOwned::to_owned)
}

fn json_object(part: &str) -> Option<Map<String, Json>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_kinds_are_passed_over() {
        let text = r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"a","k":"c2VjcmV0"},
            {"kty":"RSA","alg":"RSA-OAEP","kid":"b","n":"AQAB","e":"AQAB"},{"kty":"what"}]}"#;
        let keys = Keys::from_usable_jwks(text).expect("a key set");
        assert!(keys.knows(Some("a")));
        assert!(!keys.knows(Some("b")));
        assert!(Keys::from_usable_jwks("{}").is_err());
    }
}
