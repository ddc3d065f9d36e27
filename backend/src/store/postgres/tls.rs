//! How the connection is protected: libpq's `sslmode`.
//!
//! | `sslmode` | Encrypted | The server is |
//! |---|---|---|
//! | `disable` | never | not checked |
//! | `prefer` (the default, as in libpq) | if the server can | not checked |
//! | `require` | always | not checked; with `sslrootcert`, as `verify-ca` |
//! | `verify-ca` | always | one with a certificate of the authority |
//! | `verify-full` | always | one with a certificate of the authority for the host in the URL |
//!
//! The authority is `sslrootcert`, a PEM file. Without it, or with `system`, the machine's own authorities are used.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode as Encryption;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::postgres::error::with_source;

/// libpq's `sslmode`, without `allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted; the certificate is not checked.
    Require,
    /// Encrypted; the certificate is checked, its host name is not.
    VerifyCa,
    /// Encrypted; certificate and host name are checked.
    VerifyFull,
}

/// A database's URL, split into what `tokio-postgres` understands and what it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The rest of the URL. It may hold a password.
    pub url: String,
    /// `sslmode`.
    pub mode: SslMode,
    /// `sslrootcert`.
    pub root: Option<String>,
}

impl Address {
    /// Takes `sslmode` and `sslrootcert` out of a URL.
    ///
    /// # Errors
    /// When one of them is malformed. The message does not repeat the URL.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut root, mut rest) = (SslMode::Prefer, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => {
                    mode = match value {
                        "disable" => SslMode::Disable,
                        "prefer" => SslMode::Prefer,
                        "require" => SslMode::Require,
                        "verify-ca" => SslMode::VerifyCa,
                        "verify-full" => SslMode::VerifyFull,
                        other => {
                            return Err(format!(
                                "sslmode={other} is not known; there are disable, prefer, require, verify-ca and verify-full"
                            ));
                        }
                    }
                }
                Some(("sslrootcert", value)) => root = Some(percent_decoded(value)?),
                _ => rest.push(pair),
            }
        }
        if mode == SslMode::Require && root.is_some() {
            mode = SslMode::VerifyCa;
        }
        let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        Ok(Self { url, mode, root })
    }

    /// The configuration and the TLS connector for this URL.
    ///
    /// # Errors
    /// When the URL or the certificate of the authority cannot be read.
    pub fn connector(&self) -> Result<(tokio_postgres::Config, MakeRustlsConnect), String> {
        let mut config: tokio_postgres::Config = self.url.parse().map_err(|error| with_source(&error))?;
        config.ssl_mode(self.encryption());
        Ok((config, MakeRustlsConnect::new(self.client()?)))
    }

    fn encryption(&self) -> Encryption {
        match self.mode {
            SslMode::Disable => Encryption::Disable,
            SslMode::Prefer => Encryption::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Encryption::Require,
        }
    }

    /// The client's side of TLS.
    fn client(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        if matches!(self.mode, SslMode::Disable | SslMode::Prefer | SslMode::Require) {
            let unchecked = Arc::new(Verifier { provider, authority: None });
            return Ok(builder.dangerous().with_custom_certificate_verifier(unchecked).with_no_client_auth());
        }
        let roots = Arc::new(self.roots()?);
        if self.mode == SslMode::VerifyFull {
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        let authority = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| error.to_string())?;
        let verifier = Arc::new(Verifier { provider, authority: Some(authority) });
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match self.root.as_deref().filter(|path| *path != "system") {
            Some(path) => {
                let unreadable = |error: rustls::pki_types::pem::Error| format!("sslrootcert {path}: {error}");
                for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                    let certificate = certificate.map_err(unreadable)?;
                    roots.add(certificate).map_err(|error| format!("sslrootcert {path}: {error}"))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err("no certificate authority is known; name a PEM file with sslrootcert".to_owned());
        }
        Ok(roots)
    }
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()];
        let value = match digits {
            [Some(high), Some(low)] => {
                std::str::from_utf8(&[high, low]).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        bytes.push(value.ok_or_else(|| format!("{text} is not percent-encoded"))?);
    }
    String::from_utf8(bytes).map_err(|_| format!("{text} is not percent-encoded UTF-8"))
}

/// Accepts a certificate for any host, and without an authority one from any issuer. It still checks that the server has
/// the certificate's key.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        let check = |url: &str, expect: Result<(&str, SslMode, Option<&str>), &str>| {
            let found = Address::parse(url);
            let found = found.as_ref().map(|a| (a.url.as_str(), a.mode, a.root.as_deref())).map_err(String::as_str);
            match (found, expect) {
                (Err(text), Err(wanted)) => assert!(text.contains(wanted), "{url}: {text}"),
                (found, expect) => assert_eq!(found, expect, "{url}"),
            }
        };
        check("postgres://a@b/c", Ok(("postgres://a@b/c", SslMode::Prefer, None)));
        check("postgres://a@b/c?sslmode=disable", Ok(("postgres://a@b/c", SslMode::Disable, None)));
        check(
            "postgres://a@b/c?sslmode=verify-full&application_name=x&sslrootcert=%2Fa%20b.crt",
            Ok(("postgres://a@b/c?application_name=x", SslMode::VerifyFull, Some("/a b.crt"))),
        );
        check("postgres://a@b/c?sslmode=require", Ok(("postgres://a@b/c", SslMode::Require, None)));
        // As in libpq: naming an authority means checking against it.
        check(
            "postgres://a@b/c?sslmode=require&sslrootcert=x.crt",
            Ok(("postgres://a@b/c", SslMode::VerifyCa, Some("x.crt"))),
        );
        check("postgres://a@b/c?sslmode=always", Err("sslmode=always is not known"));
        check("postgres://a@b/c?sslrootcert=%4", Err("percent-encoded"));
    }
}
