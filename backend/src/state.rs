//! What the routes share: application, policy, store, clock, keys, limits.

use std::sync::{Arc, PoisonError, RwLock};

use crate::auth::Auth;
use crate::policy::Policy;
use crate::rules::Rules;
use crate::upload::{Clock, Engine, Store};

/// Thirty days.
pub const RETENTION_US: i64 = 30 * 86_400 * 1_000_000;

/// What a backend is made of.
pub struct Config {
    /// The application.
    pub rules: Arc<Rules>,
    /// The policy: a [`crate::PolicyKind`]'s own, or one that wraps it.
    pub policy: Arc<dyn Policy>,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Clock,
    /// Whom to believe.
    pub auth: Auth,
    /// Sizes.
    pub limits: Limits,
    /// How long ledger, tombstones and aliases are kept; [`RETENTION_US`] by default.
    pub retention_us: i64,
    /// Whether tokens are handed out and symmetric keys are shown.
    pub is_development: bool,
}

/// What a request may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// Operations in a request.
    pub ops_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes_max: 16 * 1024 * 1024, ops_max: 10_000 }
    }
}

/// A running backend; clones share everything.
#[derive(Clone)]
pub struct State {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Arc<dyn Store>,
    auth: Arc<RwLock<Arc<Auth>>>,
    pub(crate) limits: Limits,
    pub(crate) is_development: bool,
}

impl State {
    /// A backend of these parts.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let Config { rules, policy, store, clock, auth, limits, retention_us, is_development } = config;
        Self {
            engine: Arc::new(Engine { rules, policy, clock, retention_us }),
            store,
            auth: Arc::new(RwLock::new(Arc::new(auth))),
            limits,
            is_development,
        }
    }

    /// Whom to believe from the next request on: keys were rotated.
    pub fn set_auth(&self, auth: Auth) {
        // Whoever holds the lock only copies a pointer, so nobody leaves it half done.
        *self.auth.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(auth);
    }

    pub(crate) fn auth(&self) -> Arc<Auth> {
        self.auth.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
