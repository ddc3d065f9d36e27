//! Drawing faults: which exist in a plan at all, how often they strike, whom, when and how hard.
//!
//! Swarm: most faults of a scenario are absent from most of its plans, so that plans differ in kind. What a fault
//! does is the world's; here it is data.

use rand::Rng as _;
use serde::Deserialize;

use crate::plan::{Befalls, Device, Direction, Fault, Instant, KILL_WAITS_US, Kind, Part, Server};
use crate::scenario::Parameters;
use crate::scenario::range::Range;
use crate::seed::Rng;

/// The chance that a fault named in `swarm` exists in a plan.
const SWARM_CHANCE: f64 = 0.35;

/// A crash that waits for commits strikes at last so long after it was told to.
pub(crate) const CRASH_WAITS_US: u64 = 10_000_000;
/// How long a container may take to restart.
const RESTART_US: u64 = 10_000_000;
/// How long a device needs to notice that its stream ended and to open another.
const RECONNECT_US: u64 = 1_000_000;

/// A fault that scenario files may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultName {
    Offline,
    Partition,
    Slow,
    Lossy,
    StreamCut,
    HalfOpen,
    Crash,
    Suspend,
    TabClose,
    ClockJump,
    WrongAudience,
    BackendDown,
    ServiceDown,
    ServicePaused,
    ReplicationStalled,
    ReplicationCut,
    SlotDropped,
    PostgresDown,
    PostgresPaused,
    BackendKilled,
    Compaction,
    SyncConfigChanged,
    KeyRotated,
    ServerWrite,
    StorageLost,
    CopyRestored,
    Container,
    CacheFlushed,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Aim {
    /// At any time of the workload.
    Anywhere,
    /// Around a transaction of the device that it strikes, when its upload is near.
    Transaction,
}

/// A fault that a plan may hold.
#[derive(Clone, Debug)]
pub(crate) struct FaultSpec {
    pub(crate) name: FaultName,
    /// The chance that it exists in a plan.
    pub(crate) chance: f64,
    /// How often it then strikes.
    pub(crate) times: Range,
    pub(crate) aim: Aim,
    /// Seconds from the beginning, instead of an aim.
    pub(crate) at_s: Option<Range>,
    /// The kinds of device that it may strike; empty: all.
    pub(crate) kinds: Vec<Kind>,
    with: Strength,
}

/// How hard it strikes; what a fault does not have is not looked at.
#[derive(Clone, Debug)]
struct Strength {
    for_s: Range,
    latency_ms: Range,
    jitter_ms: Range,
    bandwidth: Range,
    request_lost: Range,
    reply_lost: Range,
    duplicated: Range,
    after_steps: Range,
    by_s: Range,
    age_s: Range,
    server: Option<Server>,
    direction: Option<Direction>,
    instant: Option<Instant>,
    part: Option<Part>,
    how: Option<Befalls>,
}

/// A transaction of the workload: when and whose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at_us: i64,
    pub(crate) device: u32,
}

impl FaultName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Partition => "partition",
            Self::Slow => "slow",
            Self::Lossy => "lossy",
            Self::StreamCut => "stream-cut",
            Self::HalfOpen => "half-open",
            Self::Crash => "crash",
            Self::Suspend => "suspend",
            Self::TabClose => "tab-close",
            Self::ClockJump => "clock-jump",
            Self::WrongAudience => "wrong-audience",
            Self::BackendDown => "backend-down",
            Self::ServiceDown => "service-down",
            Self::ServicePaused => "service-paused",
            Self::ReplicationStalled => "replication-stalled",
            Self::ReplicationCut => "replication-cut",
            Self::SlotDropped => "slot-dropped",
            Self::PostgresDown => "postgres-down",
            Self::PostgresPaused => "postgres-paused",
            Self::BackendKilled => "backend-killed",
            Self::Compaction => "compaction",
            Self::SyncConfigChanged => "sync-config-changed",
            Self::KeyRotated => "key-rotated",
            Self::ServerWrite => "server-write",
            Self::StorageLost => "storage-lost",
            Self::CopyRestored => "copy-restored",
            Self::Container => "container",
            Self::CacheFlushed => "cache-flushed",
        }
    }

    fn aim(self) -> Aim {
        match self {
            Self::Lossy
            | Self::Crash
            | Self::TabClose
            | Self::BackendDown
            | Self::Suspend
            | Self::PostgresDown
            | Self::PostgresPaused
            | Self::BackendKilled
            | Self::StorageLost
            | Self::CopyRestored => Aim::Transaction,
            _ => Aim::Anywhere,
        }
    }

    /// Its parameters, by their names in files, and how long it lasts by default.
    fn parameters(self) -> (&'static [&'static str], Range) {
        match self {
            Self::Offline => (&["for_s"], Range::new(1.0, 30.0)),
            Self::Partition => (&["for_s", "server", "direction"], Range::new(1.0, 30.0)),
            Self::Slow => (&["for_s", "latency_ms", "jitter_ms", "bandwidth"], Range::new(5.0, 30.0)),
            Self::Lossy => (&["for_s", "server", "request_lost", "reply_lost", "duplicated"], Range::new(2.0, 20.0)),
            Self::StreamCut => (&[], Range::exactly(0.0)),
            Self::HalfOpen => (&["for_s"], Range::new(5.0, 90.0)),
            Self::Crash => (&["for_s", "after_steps"], Range::new(0.1, 10.0)),
            Self::Suspend => (&["for_s"], Range::new(5.0, 120.0)),
            Self::TabClose => (&["for_s"], Range::new(0.0, 5.0)),
            Self::ClockJump => (&["by_s"], Range::exactly(0.0)),
            Self::WrongAudience => (&["for_s"], Range::new(1.0, 10.0)),
            Self::BackendDown | Self::ServiceDown => (&["for_s"], Range::new(0.5, 10.0)),
            Self::ServicePaused | Self::ReplicationStalled => (&["for_s"], Range::new(1.0, 20.0)),
            // The official service was seen to need about 18 s.
            Self::ReplicationCut => (&["for_s"], Range::new(17.0, 19.0)),
            Self::SlotDropped => (&["for_s"], Range::new(0.5, 10.0)),
            Self::PostgresDown => (&["for_s"], Range::new(0.5, 15.0)),
            Self::PostgresPaused => (&["for_s"], Range::new(0.5, 40.0)),
            Self::BackendKilled => (&["for_s", "instant"], Range::new(0.5, 10.0)),
            Self::SyncConfigChanged => (&["for_s"], Range::new(0.5, 5.0)),
            Self::KeyRotated => (&["for_s"], Range::new(0.0, 30.0)),
            Self::StorageLost => (&["for_s"], Range::new(0.5, 20.0)),
            Self::CopyRestored => (&["for_s", "age_s"], Range::new(0.5, 20.0)),
            Self::Container => (&["for_s", "part", "how"], Range::new(0.5, 10.0)),
            Self::Compaction | Self::ServerWrite | Self::CacheFlushed => (&[], Range::exactly(0.0)),
        }
    }
}

impl FaultSpec {
    /// With default strength, in some plans only.
    pub(crate) fn swarm(name: FaultName) -> Self {
        let mut spec = Self::plain(name);
        spec.chance = SWARM_CHANCE;
        spec.times = Range::new(1.0, 3.0);
        spec
    }

    /// In every plan, once, with the strength that a file gives.
    pub(crate) fn always(name: FaultName, with: &Parameters) -> Result<Self, (String, String)> {
        let (own, _) = name.parameters();
        let given = [
            ("for_s", with.for_s),
            ("latency_ms", with.latency_ms),
            ("jitter_ms", with.jitter_ms),
            ("bandwidth", with.bandwidth),
            ("request_lost", with.request_lost),
            ("reply_lost", with.reply_lost),
            ("duplicated", with.duplicated),
            ("after_steps", with.after_steps),
            ("by_s", with.by_s),
            ("age_s", with.age_s),
        ];
        let others = [
            ("server", with.server.is_some()),
            ("direction", with.direction.is_some()),
            ("instant", with.instant.is_some()),
            ("part", with.part.is_some()),
            ("how", with.how.is_some()),
        ];
        let named = given.iter().map(|(name, range)| (*name, range.is_some())).chain(others);
        if let Some((field, _)) = named.clone().find(|(field, given)| *given && !own.contains(field)) {
            let has = if own.is_empty() { "nothing".to_owned() } else { own.join(", ") };
            return Err((format!("with.{field}"), format!("the fault {} has {has}", name.as_str())));
        }
        for (field, range) in given {
            let Some(range) = range else { continue };
            if range.min < 0.0 && field != "by_s" {
                return Err((format!("with.{field}"), "is not below 0".to_owned()));
            }
            if matches!(field, "request_lost" | "reply_lost" | "duplicated") && range.max > 100.0 {
                return Err((format!("with.{field}"), "is a percentage".to_owned()));
            }
        }
        let mut spec = Self::plain(name);
        let lossy = with.request_lost.is_some() || with.reply_lost.is_some() || with.duplicated.is_some();
        let unnamed = Range::exactly(0.0);
        let strength = &mut spec.with;
        strength.for_s = with.for_s.unwrap_or(strength.for_s);
        strength.latency_ms = with.latency_ms.unwrap_or(strength.latency_ms);
        strength.jitter_ms = with.jitter_ms.unwrap_or(strength.jitter_ms);
        strength.bandwidth = with.bandwidth.unwrap_or(strength.bandwidth);
        // Naming one fate of a request means that one; naming none means all of them.
        strength.request_lost = with.request_lost.unwrap_or(if lossy { unnamed } else { strength.request_lost });
        strength.reply_lost = with.reply_lost.unwrap_or(if lossy { unnamed } else { strength.reply_lost });
        strength.duplicated = with.duplicated.unwrap_or(if lossy { unnamed } else { strength.duplicated });
        strength.after_steps = with.after_steps.unwrap_or(strength.after_steps);
        strength.age_s = with.age_s.unwrap_or(strength.age_s);
        strength.by_s = with.by_s.unwrap_or(strength.by_s);
        strength.server = with.server;
        strength.direction = with.direction;
        strength.instant = with.instant;
        strength.part = with.part;
        strength.how = with.how;
        Ok(spec)
    }

    fn plain(name: FaultName) -> Self {
        let (_, for_s) = name.parameters();
        Self {
            name,
            chance: 1.0,
            times: Range::exactly(1.0),
            aim: name.aim(),
            at_s: None,
            kinds: if name == FaultName::TabClose { vec![Kind::Web] } else { Vec::new() },
            with: Strength {
                for_s,
                latency_ms: Range::new(100.0, 1500.0),
                jitter_ms: Range::new(0.0, 1000.0),
                bandwidth: Range::new(2_000.0, 100_000.0),
                request_lost: Range::new(0.0, 40.0),
                reply_lost: Range::new(0.0, 60.0),
                duplicated: Range::new(0.0, 40.0),
                after_steps: Range::new(0.0, 10.0),
                by_s: Range::new(-3600.0, 3600.0),
                age_s: Range::new(1.0, 60.0),
                server: None,
                direction: None,
                instant: None,
                part: None,
                how: None,
            },
        }
    }

    /// The container that it strikes, if a file names one.
    pub(crate) fn part(&self) -> Option<Part> {
        self.with.part.filter(|_| self.name == FaultName::Container)
    }

    /// Draws its strikes in one plan, as (time, fault). `end_us` is when the workload ends.
    pub(crate) fn strikes(
        &self,
        rng: &mut Rng,
        devices: &[Device],
        moments: &[Moment],
        end_us: i64,
    ) -> Vec<(i64, Fault)> {
        if !rng.random_bool(self.chance) {
            return Vec::new();
        }
        let suits = |device: u32| self.kinds.is_empty() || self.kinds.contains(&devices[device as usize].kind);
        let able: Vec<u32> = (0..devices.len() as u32).filter(|device| suits(*device)).collect();
        if able.is_empty() {
            return Vec::new();
        }
        let mut strikes = Vec::new();
        for _ in 0..self.times.count(rng) {
            let device = able[rng.random_range(0..able.len())];
            let (at_us, device) = match (self.at_s, self.aim) {
                (Some(range), _) => (range.seconds(rng), device),
                (None, Aim::Anywhere) => (rng.random_range(0..=end_us.max(1)), device),
                (None, Aim::Transaction) => self.near_a_transaction(rng, moments, suits).unwrap_or((0, device)),
            };
            strikes.push((at_us, self.fault(rng, device)));
        }
        strikes
    }

    /// A moment around some transaction of some device that it may strike.
    fn near_a_transaction(&self, rng: &mut Rng, moments: &[Moment], suits: impl Fn(u32) -> bool) -> Option<(i64, u32)> {
        for _ in 0..16 {
            let moment = moments.get(rng.random_range(0..moments.len().max(1)))?;
            if suits(moment.device) {
                let after_us = match self.name {
                    // It must be there before the upload is.
                    FaultName::Lossy | FaultName::BackendKilled => -Range::new(0.0, 500.0).milliseconds(rng),
                    // Most uploads begin within a second of the transaction and take two round trips; some wait for
                    // a retry.
                    _ if rng.random_bool(0.7) => Range::new(0.0, 1400.0).milliseconds(rng),
                    _ => Range::new(0.0, 7000.0).milliseconds(rng),
                };
                return Some(((moment.at_us + after_us).max(0), moment.device));
            }
        }
        None
    }

    /// Draws one strike at a device; a fault of a server takes none.
    pub(crate) fn fault(&self, rng: &mut Rng, device: u32) -> Fault {
        let with = &self.with;
        let for_us = with.for_s.seconds(rng).max(0) as u64;
        match self.name {
            FaultName::Offline => Fault::Offline { device, for_us },
            FaultName::Partition => Fault::Partition {
                device,
                from: with.server.unwrap_or_else(|| pick(rng, &[Server::Service, Server::Backend, Server::Both])),
                direction: with
                    .direction
                    .unwrap_or_else(|| pick(rng, &[Direction::Up, Direction::Down, Direction::Both])),
                for_us,
            },
            FaultName::Slow => Fault::Slow {
                device,
                latency_us: with.latency_ms.milliseconds(rng) as u64,
                jitter_us: with.jitter_ms.milliseconds(rng) as u64,
                bandwidth: if rng.random_bool(0.5) { with.bandwidth.int(rng) as u64 } else { 0 },
                for_us,
            },
            FaultName::Lossy => Fault::Lossy {
                device,
                server: with.server.unwrap_or_else(|| pick(rng, &[Server::Backend, Server::Both, Server::Service])),
                request_lost: with.request_lost.percent(rng),
                reply_lost: with.reply_lost.percent(rng),
                duplicated: with.duplicated.percent(rng),
                for_us,
            },
            FaultName::StreamCut => Fault::StreamCut { device },
            FaultName::HalfOpen => Fault::HalfOpen { device, for_us },
            FaultName::Crash => {
                Fault::Crash { device, after_steps: with.after_steps.count(rng), down_us: for_us }
            }
            FaultName::Suspend => Fault::Suspend { device, for_us },
            FaultName::TabClose => Fault::TabClose { device, handover_us: for_us },
            FaultName::ClockJump => Fault::ClockJump { device, by_us: with.by_s.seconds(rng) },
            FaultName::WrongAudience => Fault::WrongAudience { device, for_us },
            FaultName::BackendDown => Fault::BackendDown { for_us },
            FaultName::ServiceDown => Fault::ServiceDown { for_us },
            FaultName::ServicePaused => Fault::ServicePaused { for_us },
            FaultName::ReplicationStalled => Fault::ReplicationStalled { for_us },
            FaultName::ReplicationCut => Fault::ReplicationCut { for_us },
            FaultName::SlotDropped => Fault::SlotDropped { for_us },
            FaultName::PostgresDown => Fault::PostgresDown { for_us },
            FaultName::PostgresPaused => Fault::PostgresPaused { for_us },
            FaultName::BackendKilled => Fault::BackendKilled {
                device,
                instant: with.instant.unwrap_or_else(|| pick(rng, &[Instant::BeforeCommit, Instant::AfterCommit])),
                down_us: for_us,
            },
            FaultName::CopyRestored => Fault::CopyRestored {
                device,
                age_us: with.age_s.seconds(rng).max(0) as u64,
                down_us: for_us,
            },
            FaultName::StorageLost => Fault::StorageLost { device, down_us: for_us },
            FaultName::Container => Fault::Container {
                // Not every stack has the other one: whoever wants it names it.
                part: with.part.unwrap_or_else(|| pick(rng, &[Part::Backend, Part::Service, Part::Postgres, Part::Redis])),
                how: with.how.unwrap_or_else(|| {
                    let all = [Befalls::Kill, Befalls::Stop, Befalls::Restart, Befalls::Pause, Befalls::Disconnect];
                    pick(rng, &all)
                }),
                for_us,
            },
            FaultName::CacheFlushed => Fault::CacheFlushed,
            FaultName::Compaction => Fault::Compaction,
            FaultName::SyncConfigChanged => Fault::SyncConfigChanged { down_us: for_us },
            FaultName::KeyRotated => Fault::KeyRotated { lag_us: for_us },
            // What it writes is written with the plan's other transactions, in order of time.
            FaultName::ServerWrite => Fault::ServerWrite { intents: Vec::new() },
        }
    }
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

/// The time during which a fault may keep changes from passing, from `at_us`; whose, `None` being everybody's.
pub(crate) fn hindrance(at_us: i64, fault: &Fault) -> Option<(Option<u32>, i64, i64)> {
    let for_us = match (fault, fault.duration()) {
        (_, Some(duration)) => u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        (Fault::Crash { down_us, .. }, None) => down_us + CRASH_WAITS_US,
        (Fault::TabClose { handover_us, .. }, None) => *handover_us,
        // It has nothing until it has fetched everything.
        (Fault::StorageLost { down_us, .. } | Fault::CopyRestored { down_us, .. }, None) => down_us + RECONNECT_US,
        (Fault::BackendKilled { down_us, .. }, None) => {
            return Some((None, at_us, at_us.saturating_add_unsigned(down_us + KILL_WAITS_US)));
        }
        (Fault::StreamCut { .. }, None) => RECONNECT_US,
        // A restart.
        (Fault::Container { .. }, None) => RESTART_US,
        (_, None) => return None,
    };
    Some((fault.device(), at_us, at_us.saturating_add_unsigned(for_us)))
}
