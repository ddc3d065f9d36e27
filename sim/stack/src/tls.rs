//! TLS of clients, with ring.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, Error, RootCertStore};

/// Chooses ring for this process. rustls is linked with a second provider, which `pgwire-replication` asks for, and then
/// a client that names none (Redis) panics.
pub fn choose_ring() {
    // It may have been chosen before.
    let _ = ring::default_provider().install_default();
}

/// The configuration of a client that trusts these authorities.
///
/// # Errors
/// When ring knows no usual version of TLS.
pub fn client_config(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}
