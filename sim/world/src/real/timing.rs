//! How fast plan time may pass in an environment, and by whose clock its servers go.

use std::time::Duration;

/// How much longer devices wait on a silent stream where the service goes by the machine's clock. Its keepalives come
/// every 20 s by that clock, and plan time passes up to 300 times as fast while nothing is under way.
pub const STREAM_IDLE_FACTOR: u32 = 120;

/// What a plan's thread must know of its environment's servers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// How far plan time may jump before the servers are given a moment.
    pub(crate) leap: Duration,
    /// How long that moment is, at least.
    pub(crate) moment: Duration,
    /// How long a plan may take by the machine's clock before it is given up.
    pub(crate) plan_limit: Duration,
    /// How often the service, or the database for it, is asked how far it has replicated, at most: at first, and when it
    /// lags for long. A database of somebody else's has other things to do.
    pub(crate) replication_poll: Duration,
    pub(crate) replication_poll_max: Duration,
    /// After replication has caught up, lines follow within this time.
    pub(crate) lines_after_replication: Duration,
    /// After a part of a stream, the next may follow within this time.
    pub(crate) lines_after_lines: Duration,
    /// Whether the service goes by the machine's clock.
    pub(crate) service_uses_machine_clock: bool,
    /// Whether the backend does.
    pub(crate) backend_uses_machine_clock: bool,
}
