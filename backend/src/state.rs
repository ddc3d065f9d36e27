//! What the routes share: application, policy, store, clock, keys, limits.

use std::sync::{Arc, PoisonError, RwLock};

use crate::auth::Auth;
use crate::policy::Policy;
use crate::rules::Rules;
use crate::upload::{Clock, Engine, Store};

/// Thirty days.
pub const RETENTION_US: i64 = 30 * 86_400 * 1_000_000;

/// The parts of a backend.
pub struct Config {
    /// The application.
    pub rules: Arc<Rules>,
    /// The policy: a [`crate::PolicyKind`]'s own, or one that wraps it.
    pub policy: Arc<dyn Policy>,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Clock,
    /// Which tokens are accepted.
    pub auth: Auth,
    /// Limits of a request.
    pub limits: Limits,
    /// How long ledger, tombstones and aliases are kept; [`RETENTION_US`] by default.
    pub retention_us: i64,
    /// Whether `/auth/token` issues tokens and the key set shows symmetric keys.
    pub is_development: bool,
}

/// The limits of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The greatest size of a body.
    pub body_bytes_max: usize,
    /// The greatest number of operations in a request.
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
    /// A backend made of these parts.
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

    /// Replaces the accepted keys, from the next request on.
    pub fn set_auth(&self, auth: Auth) {
        // The lock is only held to copy a pointer, so a poisoned one still holds a whole value.
        *self.auth.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(auth);
    }

    pub(crate) fn auth(&self) -> Arc<Auth> {
        self.auth.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
