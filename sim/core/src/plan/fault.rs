//! Faults as data: what goes wrong in a plan, whom it strikes, how hard and for how long.
//!
//! What a fault does is the world's; when and how often one strikes is drawn from scenarios.

use serde::{Deserialize, Serialize};

use super::Intent;

/// A fault. Each is small data, strikes at its step's time, and ends after `for_us` or when the run heals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The device has no network, knows it, and closes its connections: airplane mode, radio lost.
    Offline {
        /// The device.
        device: u32,
        /// How long.
        for_us: u64,
    },
    /// Messages between the device and one or both servers vanish; nobody is told: a captive portal, a broken route.
    Partition {
        /// The device.
        device: u32,
        /// Which server it cannot reach.
        from: Server,
        /// Which way messages vanish.
        direction: Direction,
        /// How long.
        for_us: u64,
    },
    /// Messages of the device take longer: a slow mobile network.
    Slow {
        /// The device.
        device: u32,
        /// Added to every delay, one way.
        latency_us: u64,
        /// Greatest further delay, drawn a message.
        jitter_us: u64,
        /// Bytes a second, each way; 0 is unlimited.
        bandwidth: u64,
        /// How long.
        for_us: u64,
    },
    /// Each request of the device to the server may meet one of these fates, drawn by its own key: Wi-Fi at the edge.
    Lossy {
        /// The device.
        device: u32,
        /// Which server.
        server: Server,
        /// Percent of requests that vanish on their way; the connection resets at the request's timeout.
        request_lost: u8,
        /// Percent of replies that vanish after the server acted; the connection resets at once.
        reply_lost: u8,
        /// Percent of requests that arrive twice, as proxies and HTTP clients retry.
        duplicated: u8,
        /// How long.
        for_us: u64,
    },
    /// The device's stream ends in the middle of a line: a proxy that closes an idle or long connection.
    StreamCut {
        /// The device.
        device: u32,
    },
    /// The device's open stream goes silent in both directions without an end: a NAT entry that expired. It resets
    /// when healed.
    HalfOpen {
        /// The device.
        device: u32,
        /// How long.
        for_us: u64,
    },
    /// The app is killed after this many further SQLite commits of its sync engine and interpreter, and starts again
    /// after `down_us`.
    Crash {
        /// The device.
        device: u32,
        /// Further commits before the kill; 0 is at once.
        after_steps: u32,
        /// How long it stays down.
        down_us: u64,
    },
    /// All timers and sockets of the app freeze: a closed laptop, a backgrounded phone. On resuming, its sockets are
    /// dead without its knowing.
    Suspend {
        /// The device.
        device: u32,
        /// How long.
        for_us: u64,
    },
    /// The browser tab that owns the connection is closed; another tab of the same database takes over.
    TabClose {
        /// The device, of kind web.
        device: u32,
        /// How long nobody owns the connection.
        handover_us: u64,
    },
    /// The device's clock jumps.
    ClockJump {
        /// The device.
        device: u32,
        /// By how much.
        by_us: i64,
    },
    /// Tokens that the device fetches name another audience.
    WrongAudience {
        /// The device.
        device: u32,
        /// How long.
        for_us: u64,
    },
    /// The backend is killed and comes back. Requests in flight are reset, before or after their commit as drawn.
    BackendDown {
        /// How long it stays down.
        for_us: u64,
    },
    /// The sync service is killed and comes back: its streams end, its storage stays.
    ServiceDown {
        /// How long it stays down.
        for_us: u64,
    },
    /// The sync service stops answering and streams nothing, then goes on.
    ServicePaused {
        /// How long.
        for_us: u64,
    },
    /// Replication from the database to the service stands still, then catches up.
    ReplicationStalled {
        /// How long.
        for_us: u64,
    },
    /// The connection of replication is cut: streams stay open, and it takes the service so long to connect again.
    ReplicationCut {
        /// How long.
        for_us: u64,
    },
    /// The replication slot is lost with what it held. So long after, the service makes another, with a new snapshot.
    SlotDropped {
        /// How long.
        for_us: u64,
    },
    /// The database is killed and comes back: the backend refuses uploads, the service write checkpoints.
    PostgresDown {
        /// How long it stays down.
        for_us: u64,
    },
    /// The database stops answering, then goes on: whoever asks it waits.
    PostgresPaused {
        /// How long.
        for_us: u64,
    },
    /// The backend is killed in the middle of the next upload of the device, or after [`KILL_WAITS_US`](super::KILL_WAITS_US) if there is
    /// none.
    BackendKilled {
        /// The device.
        device: u32,
        /// At which instant of its upload.
        instant: Instant,
        /// How long it stays down.
        down_us: u64,
    },
    /// The service compacts its buckets, while clients stream.
    Compaction,
    /// The service is deployed anew with a changed sync configuration: the same rules as a new version, so that every
    /// bucket has another name and is downloaded again. The old buckets are served a moment longer.
    SyncConfigChanged {
        /// How long it is down in between.
        down_us: u64,
    },
    /// Tokens are signed with a new key from now on. The backend holds the old one until its tokens have expired; the
    /// service learns of the new one so long after.
    KeyRotated {
        /// How long.
        lag_us: u64,
    },
    /// The device's database is gone, with its queue: the browser evicts it, the phone is wiped. The app starts anew
    /// after `down_us`, as another installation with another client id.
    StorageLost {
        /// The device.
        device: u32,
        /// How long it stays down.
        down_us: u64,
    },
    /// An old copy of the device's database takes the place of the present one: a backup, a cloned disk. It has the
    /// same client id and counts on from where it was, so that operation ids are used again for something else.
    CopyRestored {
        /// The device.
        device: u32,
        /// How old the copy is by then.
        age_us: u64,
        /// How long the app stays down.
        down_us: u64,
    },
    /// Something befalls a container of the stack.
    Container {
        /// Which.
        part: Part,
        /// What.
        how: Befalls,
        /// How long; a restart takes as long as it takes.
        for_us: u64,
    },
    /// The cache forgets everything.
    CacheFlushed,
    /// An administrator or a batch job writes to the database, past the backend, in one transaction.
    ServerWrite {
        /// What it does: inserts, sets and deletes.
        intents: Vec<Intent>,
    },
}

/// An instant in the middle of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instant {
    /// The request is there, nothing of it is committed.
    BeforeCommit,
    /// The transaction is committed, the reply not sent.
    AfterCommit,
}

/// A container of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The upload backend.
    Backend,
    /// The sync service.
    Service,
    /// The database.
    Postgres,
    /// The cache.
    Redis,
    /// The bucket storage, where that is a MongoDB.
    Mongodb,
}

/// What befalls a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Befalls {
    /// It is killed, and started again in the end.
    Kill,
    /// It is told to end, and started again in the end.
    Stop,
    /// It is told to end, and started again at once.
    Restart,
    /// It is frozen, and goes on in the end.
    Pause,
    /// It is cut off from the network, and connected again in the end.
    Disconnect,
}

/// A server as a device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// The sync service.
    Service,
    /// The upload backend.
    Backend,
    /// Both.
    Both,
}

/// Which way messages vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the device to the server.
    Up,
    /// From the server to the device.
    Down,
    /// Both ways.
    Both,
}

impl Fault {
    /// The name that scenario files and reports use, such as `reply-lost` for its dominant effect.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Offline { .. } => "offline",
            Self::Partition { .. } => "partition",
            Self::Slow { .. } => "slow",
            Self::Lossy { .. } => "lossy",
            Self::StreamCut { .. } => "stream-cut",
            Self::HalfOpen { .. } => "half-open",
            Self::Crash { .. } => "crash",
            Self::Suspend { .. } => "suspend",
            Self::TabClose { .. } => "tab-close",
            Self::ClockJump { .. } => "clock-jump",
            Self::WrongAudience { .. } => "wrong-audience",
            Self::BackendDown { .. } => "backend-down",
            Self::ServiceDown { .. } => "service-down",
            Self::ServicePaused { .. } => "service-paused",
            Self::ReplicationStalled { .. } => "replication-stalled",
            Self::ReplicationCut { .. } => "replication-cut",
            Self::SlotDropped { .. } => "slot-dropped",
            Self::PostgresDown { .. } => "postgres-down",
            Self::PostgresPaused { .. } => "postgres-paused",
            Self::BackendKilled { .. } => "backend-killed",
            Self::Compaction => "compaction",
            Self::SyncConfigChanged { .. } => "sync-config-changed",
            Self::KeyRotated { .. } => "key-rotated",
            Self::Container { .. } => "container",
            Self::CacheFlushed => "cache-flushed",
            Self::ServerWrite { .. } => "server-write",
            Self::StorageLost { .. } => "storage-lost",
            Self::CopyRestored { .. } => "copy-restored",
        }
    }

    /// How long it lasts; `None` for one that strikes in a moment and needs no end.
    #[must_use]
    pub fn duration(&self) -> Option<std::time::Duration> {
        match self {
            Self::Offline { for_us, .. }
            | Self::Partition { for_us, .. }
            | Self::Slow { for_us, .. }
            | Self::Lossy { for_us, .. }
            | Self::HalfOpen { for_us, .. }
            | Self::Suspend { for_us, .. }
            | Self::WrongAudience { for_us, .. }
            | Self::BackendDown { for_us }
            | Self::ServiceDown { for_us }
            | Self::ServicePaused { for_us }
            | Self::ReplicationStalled { for_us }
            | Self::ReplicationCut { for_us }
            | Self::SlotDropped { for_us }
            | Self::PostgresDown { for_us }
            | Self::PostgresPaused { for_us } => Some(std::time::Duration::from_micros(*for_us)),
            Self::SyncConfigChanged { down_us } => Some(std::time::Duration::from_micros(*down_us)),
            Self::Container { how: Befalls::Restart, .. } => None,
            Self::Container { for_us, .. } => Some(std::time::Duration::from_micros(*for_us)),
            Self::KeyRotated { lag_us } => Some(std::time::Duration::from_micros(*lag_us)),
            Self::StreamCut { .. }
            | Self::Crash { .. }
            | Self::TabClose { .. }
            | Self::ClockJump { .. }
            | Self::BackendKilled { .. }
            | Self::StorageLost { .. }
            | Self::CopyRestored { .. }
            | Self::Compaction
            | Self::CacheFlushed
            | Self::ServerWrite { .. } => None,
        }
    }

    /// The device that it strikes, if it strikes one.
    #[must_use]
    pub fn device(&self) -> Option<u32> {
        match self {
            Self::Offline { device, .. }
            | Self::Partition { device, .. }
            | Self::Slow { device, .. }
            | Self::Lossy { device, .. }
            | Self::StreamCut { device }
            | Self::HalfOpen { device, .. }
            | Self::Crash { device, .. }
            | Self::Suspend { device, .. }
            | Self::TabClose { device, .. }
            | Self::ClockJump { device, .. }
            | Self::WrongAudience { device, .. }
            | Self::BackendKilled { device, .. }
            | Self::StorageLost { device, .. }
            | Self::CopyRestored { device, .. } => Some(*device),
            Self::BackendDown { .. }
            | Self::ServiceDown { .. }
            | Self::ServicePaused { .. }
            | Self::ReplicationStalled { .. }
            | Self::ReplicationCut { .. }
            | Self::SlotDropped { .. }
            | Self::PostgresDown { .. }
            | Self::PostgresPaused { .. }
            | Self::Compaction
            | Self::SyncConfigChanged { .. }
            | Self::KeyRotated { .. }
            | Self::Container { .. }
            | Self::CacheFlushed
            | Self::ServerWrite { .. } => None,
        }
    }
}
