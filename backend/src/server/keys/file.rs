//! A key as its file stores it: generation, and the public half as a JWK.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, EncodingKey};
use p256::SecretKey;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use serde::{Deserialize, Serialize};

use crate::auth::Algorithm;
use crate::server::keys::error::KeyError;

/// Bits of an RSA key.
const RSA_BITS: usize = 2048;

/// The content of a key file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct KeyFile {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) created_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retires_us: Option<i64>,
    /// A shared secret, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
    /// A private key, PKCS#8 in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) private_pem: Option<String>,
}

fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::Generate(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn generate(algorithm: Algorithm, now_us: i64) -> Result<KeyFile, KeyError> {
    let failed = |error: &dyn std::fmt::Display| KeyError::Generate(error.to_string());
    let name: String = random::<6>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let kid = format!("{}-{name}", format!("{algorithm:?}").to_lowercase());
    let (mut secret, mut private_pem) = (None, None);
    match algorithm {
        Algorithm::HS256 => secret = Some(URL_SAFE_NO_PAD.encode(random::<32>()?)),
        Algorithm::RS256 => {
            let key = RsaPrivateKey::new(&mut OsRng, RSA_BITS).map_err(|error| failed(&error))?;
            private_pem = Some(key.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(&error))?.to_string());
        }
        Algorithm::ES256 => {
            let key = SecretKey::random(&mut OsRng);
            private_pem = Some(key.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(&error))?.to_string());
        }
        Algorithm::EdDSA => {
            let key = SigningKey::from_bytes(&random::<32>()?);
            private_pem = Some(key.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(&error))?.to_string());
        }
        other => return Err(KeyError::Generate(format!("{other:?} is not supported"))),
    }
    Ok(KeyFile { kid, algorithm, created_us: now_us, retires_us: None, secret, private_pem })
}

/// The public half of a private key.
pub(super) fn public_key(algorithm: Algorithm, private_pem: &str) -> Result<Jwk, String> {
    let pem = private_pem.as_bytes();
    let jwk = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(pem).and_then(|key| Jwk::from_encoding_key(&key, algorithm)),
        Algorithm::ES256 => EncodingKey::from_ec_pem(pem).and_then(|key| Jwk::from_encoding_key(&key, algorithm)),
        // The file holds PKCS#8 version 2, from which `from_encoding_key` cannot derive the public half.
        Algorithm::EdDSA => {
            let key = SigningKey::from_pkcs8_pem(private_pem).map_err(|error| error.to_string())?;
            Jwk::from_decoding_key(&DecodingKey::from_ed_der(key.verifying_key().as_bytes()), Some(algorithm))
        }
        other => return Err(format!("{other:?} is not supported")),
    };
    jwk.map_err(|error| error.to_string())
}
