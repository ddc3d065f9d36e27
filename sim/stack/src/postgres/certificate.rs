//! A certificate authority that signs one certificate and is forgotten.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::postgres::PostgresError;

/// PEM texts.
pub struct Certificate {
    /// The authority's certificate, for clients.
    pub authority: String,
    /// The server's certificate.
    pub server: String,
    /// The server's key.
    pub key: String,
}

/// A certificate for these hosts and addresses.
pub fn generate(hosts: &[&str]) -> Result<Certificate, PostgresError> {
    made(hosts).map_err(|error| PostgresError::Certificate(error.to_string()))
}

fn made(hosts: &[&str]) -> Result<Certificate, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "syncstorm");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate()?;
    let server = params.signed_by(&key, &authority)?;
    Ok(Certificate { authority: authority.pem(), server: server.pem(), key: key.serialize_pem() })
}
