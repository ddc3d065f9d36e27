//! Private keys as people keep them: PKCS#8 in PEM, a JWK, or a key file of the backend.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose_jwk::{EcCurves, Jwk, Key, OkpCurves};
use jsonwebtoken::{Algorithm, EncodingKey};
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::Value as Json;

use crate::signer::Signer;

/// Reads a key.
///
/// # Errors
/// What is wrong with it, in words that repeat nothing of it.
pub fn read(text: &str) -> Result<Signer, String> {
    if !text.trim_start().starts_with('{') {
        return of_pem(text, None);
    }
    let json: Json = serde_json::from_str(text).map_err(|error| format!("not JSON ({:?})", error.classify()))?;
    let kid = json["kid"].as_str().map(str::to_owned);
    if let Some(pem) = json["private_pem"].as_str() {
        return of_pem(pem, kid);
    }
    if let Some(secret) = json["secret"].as_str() {
        let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| "`secret` is not base64url".to_owned())?;
        return Ok(Signer { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(&secret), kid });
    }
    let other = || "neither PKCS#8 in PEM nor a private JWK of kty oct, EC (P-256), OKP (Ed25519) or RSA".to_owned();
    if json["kty"].is_null() {
        return Err(other());
    }
    // What the parser says may repeat what it read.
    let jwk: Jwk = serde_json::from_value(json).map_err(|_| "not a JWK, or one that lacks a part".to_owned())?;
    let unusable = |_: &dyn std::fmt::Debug| "the JWK holds no usable private key".to_owned();
    let is_public = || "the JWK has no `d`; a private key is needed".to_owned();
    let pem = match jwk.key {
        Key::Oct(key) => {
            return Ok(Signer { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(&key.k), kid });
        }
        Key::Ec(key) if key.crv == EcCurves::P256 => {
            key.d.as_ref().ok_or_else(is_public)?;
            p256::SecretKey::try_from(key).map_err(|error| unusable(&error))?.to_pkcs8_pem(LineEnding::LF)
        }
        Key::Okp(key) if key.crv == OkpCurves::Ed25519 => {
            let seed: [u8; 32] = key.d.ok_or_else(is_public)?.as_ref().try_into().map_err(|error| unusable(&error))?;
            ed25519_dalek::SigningKey::from_bytes(&seed).to_pkcs8_pem(LineEnding::LF)
        }
        Key::Rsa(key) => {
            key.prv.as_ref().ok_or_else(is_public)?;
            rsa::RsaPrivateKey::try_from(key).map_err(|error| unusable(&error))?.to_pkcs8_pem(LineEnding::LF)
        }
        _ => return Err(other()),
    };
    of_pem(&pem.map_err(|error| unusable(&error))?, kid)
}

fn of_pem(pem: &str, kid: Option<String>) -> Result<Signer, String> {
    let bytes = pem.as_bytes();
    let known = [
        (Algorithm::ES256, EncodingKey::from_ec_pem(bytes)),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(bytes)),
        (Algorithm::RS256, EncodingKey::from_rsa_pem(bytes)),
    ];
    for (algorithm, key) in known {
        if let Ok(key) = key {
            return Ok(Signer { algorithm, key, kid });
        }
    }
    Err("no private key of EC (P-256), Ed25519 or RSA as PKCS#8 in PEM; write one with `openssl genpkey`".to_owned())
}

#[cfg(test)]
mod tests {
    use p256::elliptic_curve::sec1::ToEncodedPoint as _;

    use super::*;

    #[test]
    fn keys_of_every_form() {
        let ec = p256::SecretKey::from_slice(&[7; 32]).expect("a scalar");
        let pem = ec.to_pkcs8_pem(LineEnding::LF).expect("a key").to_string();
        let d = URL_SAFE_NO_PAD.encode([7; 32]);
        let point = ec.public_key().to_encoded_point(false);
        let [x, y] = [point.x(), point.y()].map(|half| URL_SAFE_NO_PAD.encode(half.expect("not at infinity")));
        let table = [
            (pem.clone(), Ok(Algorithm::ES256)),
            (serde_json::json!({"kid": "a", "private_pem": pem}).to_string(), Ok(Algorithm::ES256)),
            (
                serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "d": d}).to_string(),
                Ok(Algorithm::ES256),
            ),
            (serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": d, "d": d}).to_string(), Ok(Algorithm::EdDSA)),
            (serde_json::json!({"kty": "oct", "k": d}).to_string(), Ok(Algorithm::HS256)),
            (serde_json::json!({"kid": "a", "secret": d}).to_string(), Ok(Algorithm::HS256)),
            (serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}).to_string(), Err("has no `d`")),
            (serde_json::json!({"kty": "EC", "crv": "P-256", "d": d}).to_string(), Err("lacks a part")),
            (serde_json::json!({"kty": "OKP", "crv": "X25519", "x": d, "d": d}).to_string(), Err("neither")),
            ("nothing".to_owned(), Err("PKCS#8 in PEM")),
            ("{".to_owned(), Err("not JSON")),
            ("{}".to_owned(), Err("neither")),
        ];
        for (text, expect) in table {
            match (read(&text), expect) {
                (Ok(found), Ok(algorithm)) => {
                    assert_eq!(found.algorithm, algorithm);
                    let header = jsonwebtoken::Header::new(algorithm);
                    jsonwebtoken::encode(&header, &serde_json::json!({}), &found.key).expect("it signs");
                }
                (Err(said), Err(words)) => assert!(said.contains(words) && !said.contains(&d), "{said}"),
                (found, expect) => panic!("{text}: {:?}, expected {expect:?}", found.map(|key| key.algorithm)),
            }
        }
    }
}
