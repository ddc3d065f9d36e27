//! A certificate authority that signs one certificate and is forgotten.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::postgres::PostgresError;

/// PEM texts.
pub(super) struct Certificate {
    /// The authority's certificate, for clients.
    pub(super) authority: String,
    /// The server's certificate.
    pub(super) server: String,
    /// The server's key.
    pub(super) key: String,
}

/// A certificate for `localhost` and 127.0.0.1.
pub(super) fn generate() -> Result<Certificate, PostgresError> {
    made().map_err(|error| PostgresError::Certificate(error.to_string()))
}

fn made() -> Result<Certificate, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "syncstorm, one run");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate()?;
    let server = params.signed_by(&key, &authority)?;
    Ok(Certificate { authority: authority.pem(), server: server.pem(), key: key.serialize_pem() })
}
