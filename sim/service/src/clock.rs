//! The clock of a service. Whoever starts a service chooses it.

use std::sync::Arc;

/// Gives microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;
