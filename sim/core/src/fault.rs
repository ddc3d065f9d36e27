//! Faults as data: what goes wrong in a plan, where, how hard and for how long.
//!
//! This file has the form that plan files and histories store. Everything else about a fault is its row in the
//! table (`table`), which scenarios, the shrinker, worlds and reports read; [`crate::nemesis`] draws faults, and
//! worlds inject them. To add a fault, add its variant here, its row in the table, and its injection in the worlds.

mod settings;
mod table;
mod table_row;
mod timing;

use serde::{Deserialize, Serialize};

pub(crate) use self::settings::{FaultSettings, Strength};
pub use self::table::{FAULTS, FaultName};
pub(crate) use self::table_row::{Aim, Draw};
pub use self::table_row::{Carrier, End, FaultSpec, World};
use crate::intent::Intent;

/// A kill that waits for an upload strikes after this time at the latest.
pub const KILL_WAITS_US: u64 = 10_000_000;

/// A fault. Each strikes at its step's time. The table says which ones the run ends after their time, or earlier
/// when it heals, and which ones end by themselves.
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
    /// Messages between the device and one or both servers vanish without a notice: a captive portal, a broken route.
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
    /// The replication connection is cut: streams stay open, and the service takes this long to connect again.
    ReplicationCut {
        /// How long.
        for_us: u64,
    },
    /// The replication slot is lost with what it held. After this time, the service makes another, with a new snapshot.
    SlotDropped {
        /// How long.
        for_us: u64,
    },
    /// The database is killed and comes back: the backend refuses uploads, the service write checkpoints.
    PostgresDown {
        /// How long it stays down.
        for_us: u64,
    },
    /// The database stops answering, then goes on: requests to it wait.
    PostgresPaused {
        /// How long.
        for_us: u64,
    },
    /// The backend is killed in the middle of the next upload of the device, or after [`KILL_WAITS_US`] if there is
    /// none.
    BackendKilled {
        /// The device.
        device: u32,
        /// At which instant of its upload.
        instant: KillInstant,
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
    /// Tokens are signed with a new key from now on. The backend keeps the old one until its tokens have expired; the
    /// service learns of the new one after this time.
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
    /// A container of the stack is killed, stopped, restarted, paused or disconnected.
    Container {
        /// Which.
        part: StackPart,
        /// What.
        how: ContainerFault,
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

/// When in an upload the backend is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillInstant {
    /// The request has arrived, nothing of it is committed.
    BeforeCommit,
    /// The transaction is committed, the reply not sent.
    AfterCommit,
}

/// A container of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackPart {
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

/// What happens to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerFault {
    /// It is killed, and started again in the end.
    Kill,
    /// It is stopped, and started again in the end.
    Stop,
    /// It is stopped, and started again at once.
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
