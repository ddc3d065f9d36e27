//! Which cryptography TLS uses where a client leaves the choice to rustls.

use rustls::crypto::ring;

/// Chooses ring for this process. rustls is linked with a second provider, which `pgwire-replication` asks for, and then
/// a client that names none (Redis) panics.
pub fn choose_ring() {
    // It may have been chosen before.
    let _ = ring::default_provider().install_default();
}
