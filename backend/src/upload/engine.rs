//! What an upload is, and what deciding on it takes besides a database.

use std::sync::Arc;

use crate::policy::Policy;
use crate::rules::Rules;
use crate::wire::{BaselineRequest, UploadRequest};

/// A clock: microseconds since 1970-01-01 UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The application, the policy and the clock that uploads are decided with.
#[derive(Clone)]
pub struct Engine {
    /// The application.
    pub rules: Arc<Rules>,
    /// The policy.
    pub policy: Arc<dyn Policy>,
    /// The clock.
    pub clock: Clock,
    /// How long ledger, tombstones and aliases are kept.
    pub retention_us: i64,
}

/// One authenticated request.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The token's subject.
    pub subject: Arc<str>,
    /// When the request was received: `now()` in every transaction of it.
    pub received_us: i64,
    /// What was posted.
    pub body: UploadBody,
}

/// What was posted.
#[derive(Clone, Debug)]
pub enum UploadBody {
    /// The format of this backend.
    Transactions(UploadRequest),
    /// The format of the first upload handler; only `arrival-order` accepts it.
    Batch(BaselineRequest),
}
