//! What signs tokens, and what they say.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};

/// A key, with its name.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
    /// Its name in tokens.
    pub(crate) kid: Option<String>,
}

/// What a token says. Times are in seconds since 1970.
#[derive(Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
}

impl Signer {
    /// Signs a token.
    ///
    /// # Errors
    /// When the key is none for its algorithm.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, String> {
        let header = Header { kid: self.kid.clone(), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|error| error.to_string())
    }
}
