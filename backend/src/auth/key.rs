//! Keys that sign and verify tokens.

use jsonwebtoken::errors::Error;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

/// A symmetric key, for HS256.
#[derive(Clone)]
pub struct Key {
    /// Its name in token headers.
    pub kid: String,
    /// The shared secret.
    pub secret: Vec<u8>,
    /// When it stops verifying; `None`: it is in use.
    pub retires_us: Option<i64>,
}

/// A key pair, for RS256, ES256 or EdDSA.
#[derive(Clone)]
pub struct KeyPair {
    /// Its name in token headers.
    pub kid: String,
    /// The only algorithm that it is used with.
    pub algorithm: Algorithm,
    /// The private key, PKCS#8 in PEM.
    pub private_pem: String,
    /// The public key. Its `kid`, `alg` and `use` are filled in.
    pub public: Jwk,
    /// When it stops verifying; `None`: it is in use.
    pub retires_us: Option<i64>,
}

/// A key ready for use.
#[derive(Clone)]
pub(super) struct LoadedKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
    pub(super) encoding: EncodingKey,
    /// As the key set shows it.
    pub(super) jwk: Jwk,
    pub(super) retires_us: Option<i64>,
}

impl LoadedKey {
    /// Whether whoever sees the JWK can sign.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.jwk.algorithm, AlgorithmParameters::OctetKey(_))
    }
}

impl From<&Key> for LoadedKey {
    fn from(key: &Key) -> Self {
        let encoding = EncodingKey::from_secret(&key.secret);
        let mut jwk = Jwk::from_encoding_key(&encoding, Algorithm::HS256).expect("every secret has a JWK");
        jwk.common.key_id = Some(key.kid.clone());
        Self {
            kid: key.kid.clone(),
            algorithm: Algorithm::HS256,
            decoding: DecodingKey::from_secret(&key.secret),
            encoding,
            jwk,
            retires_us: key.retires_us,
        }
    }
}

impl TryFrom<&KeyPair> for LoadedKey {
    type Error = Error;

    fn try_from(pair: &KeyPair) -> Result<Self, Error> {
        let pem = pair.private_pem.as_bytes();
        let encoding = match &pair.public.algorithm {
            AlgorithmParameters::RSA(_) => EncodingKey::from_rsa_pem(pem)?,
            AlgorithmParameters::EllipticCurve(_) => EncodingKey::from_ec_pem(pem)?,
            _ => EncodingKey::from_ed_pem(pem)?,
        };
        let mut jwk = pair.public.clone();
        jwk.common.key_id = Some(pair.kid.clone());
        jwk.common.key_algorithm = Some(pair.algorithm.into());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let decoding = DecodingKey::from_jwk(&jwk)?;
        let (kid, algorithm, retires_us) = (pair.kid.clone(), pair.algorithm, pair.retires_us);
        Ok(Self { kid, algorithm, decoding, encoding, jwk, retires_us })
    }
}
