//! What signs tokens, and what they say.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};

/// A key, with its name.
#[derive(Clone)]
pub struct Signer {
    /// How it signs.
    pub algorithm: Algorithm,
    /// The key itself.
    pub key: EncodingKey,
    /// Its name in tokens.
    pub kid: Option<String>,
}

/// What a token says. Times are in seconds since 1970.
#[derive(Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// The audience.
    pub aud: String,
    /// When it was issued.
    pub iat: i64,
    /// When it expires.
    pub exp: i64,
}

impl Signer {
    /// Signs a token.
    ///
    /// # Errors
    /// When the key is none for its algorithm.
    pub fn sign(&self, claims: &Claims) -> Result<String, String> {
        let header = Header { kid: self.kid.clone(), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|error| error.to_string())
    }
}
