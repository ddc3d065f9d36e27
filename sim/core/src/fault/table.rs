//! The table of faults: one row each, with everything about it but its parameters and its injection.
//!
//! A row is `Variant of DEVICE for TIME = FaultSpec { … }`: `of` names the parameter that is the device, if the
//! fault strikes one, and `for` the parameter that is its time, if it has one. The compiler holds the table
//! complete: a variant of [`Fault`] without a row does not compile.
//!
//! Long because each row has everything about its fault in one place.

use rand::Rng as _;
use serde::Deserialize;

use super::{
    Aim, Carrier, ContainerFault, Direction, End, Fault, FaultSpec, KILL_WAITS_US, KillInstant, Server, StackPart,
    World,
};
use crate::device::DeviceKind;
use crate::range::Range;

/// A crash that waits for commits strikes after this time at the latest.
const CRASH_WAITS_US: u64 = 10_000_000;
/// How long a device needs to notice that its stream ended and to open another.
const RECONNECT_US: u64 = 1_000_000;
/// How long an app that starts with an empty database has nothing to show.
const FETCH_US: u64 = 1_500_000;

/// The worlds for what concerns a device, or what SQL can do.
const EVERY_WORLD: &[World] = &World::ALL;
/// The worlds whose servers are their own.
const OWN_SERVERS: &[World] = &[World::Deterministic, World::Embedded, World::Containers];
/// The world that has containers.
const CONTAINERS: &[World] = &[World::Containers];

macro_rules! fault_table {
    ($($variant:ident $(of $device:ident)? $(for $time:ident)? = $spec:ident $row:tt;)*) => {
        /// The name of a fault: a [`Fault`] without its parameters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultName {
            $(#[doc = concat!("The name of [`Fault::", stringify!($variant), "`].")] $variant,)*
        }

        /// Every fault, in the order of [`FaultName`].
        pub static FAULTS: &[FaultSpec] = &[$(fault_table!(@row $variant $row),)*];

        impl Fault {
            /// Its row in the table.
            #[must_use]
            pub fn spec(&self) -> &'static FaultSpec {
                match self { $(Self::$variant { .. } => FaultName::$variant.spec(),)* }
            }

            /// The device that it strikes, if it strikes one.
            #[must_use]
            pub fn device(&self) -> Option<u32> {
                match self { $(Self::$variant { $($device,)? .. } => None $(.or(Some(*$device)))?,)* }
            }

            /// The same, to be changed.
            pub(crate) fn device_mut(&mut self) -> Option<&mut u32> {
                match self { $(Self::$variant { $($device,)? .. } => None $(.or(Some($device)))?,)* }
            }

            /// The time that it has: how long it lasts, or how long what it kills stays down.
            #[must_use]
            pub fn time_us(&self) -> Option<u64> {
                match self { $(Self::$variant { $($time,)? .. } => None $(.or(Some(*$time)))?,)* }
            }

            /// The same, to be changed.
            pub(crate) fn time_us_mut(&mut self) -> Option<&mut u64> {
                match self { $(Self::$variant { $($time,)? .. } => None $(.or(Some($time)))?,)* }
            }
        }
    };
    (@row $variant:ident { $($fields:tt)* }) => {
        FaultSpec { fault: FaultName::$variant, $($fields)* }
    };
}

/// What most rows have in common.
const BASE: FaultSpec = FaultSpec {
    fault: FaultName::Offline,
    name: "",
    carrier: Carrier::Device,
    end: End::ByRun,
    worlds: EVERY_WORLD,
    needs_signing_key: false,
    settings: &["for_s"],
    begins: "",
    during: None,
    ends: None,
    armed: None,
    shown_by_lifecycle: false,
    new_installation: false,
    for_s: Range::exactly(0.0),
    aim: Aim::Anywhere,
    before_upload: false,
    device_kinds: &[],
    waits_us: 0,
    hinders_us: Some(0),
    app_down_us: None,
    draw: |_| Fault::Compaction,
    simpler: |_| Vec::new(),
};

fault_table! {
    Offline of device for for_us = FaultSpec {
        name: "offline",
        carrier: Carrier::Network,
        begins: "{device} goes offline for {time}",
        during: Some("offline"),
        ends: Some("{device} is online again"),
        for_s: Range::new(1.0, 30.0),
        draw: |draw| Fault::Offline { device: draw.device, for_us: draw.for_us },
        ..BASE
    };

    Partition of device for for_us = FaultSpec {
        name: "partition",
        carrier: Carrier::Network,
        settings: &["for_s", "server", "direction"],
        begins: "for {time}, {silence}, and nobody is told",
        during: Some("{direction} {servers}"),
        ends: Some("{device} reaches {server} again"),
        for_s: Range::new(1.0, 30.0),
        draw: |draw| {
            let servers = [Server::Service, Server::Backend, Server::Both];
            let directions = [Direction::Up, Direction::Down, Direction::Both];
            Fault::Partition {
                device: draw.device,
                from: draw.strength.server.unwrap_or_else(|| draw.pick(&servers)),
                direction: draw.strength.direction.unwrap_or_else(|| draw.pick(&directions)),
                for_us: draw.for_us,
            }
        },
        simpler: |fault| match *fault {
            Fault::Partition { device, for_us, .. } => vec![Fault::Offline { device, for_us }],
            _ => Vec::new(),
        },
        ..BASE
    };

    Slow of device for for_us = FaultSpec {
        name: "slow",
        carrier: Carrier::Network,
        settings: &["for_s", "latency_ms", "jitter_ms", "bandwidth"],
        begins: "the network of {device} slows down by {latency} a message for {time}",
        during: Some("slow network"),
        ends: Some("the network of {device} is well again"),
        for_s: Range::new(5.0, 30.0),
        draw: |draw| Fault::Slow {
            device: draw.device,
            latency_us: draw.strength.latency_ms.milliseconds(draw.rng) as u64,
            jitter_us: draw.strength.jitter_ms.milliseconds(draw.rng) as u64,
            bandwidth: if draw.rng.random_bool(0.5) { draw.strength.bandwidth.int(draw.rng) as u64 } else { 0 },
            for_us: draw.for_us,
        },
        simpler: |fault| match *fault {
            Fault::Slow { device, latency_us, jitter_us, bandwidth, for_us } if jitter_us > 0 || bandwidth > 0 => {
                vec![Fault::Slow { device, latency_us, jitter_us: 0, bandwidth: 0, for_us }]
            }
            _ => Vec::new(),
        },
        ..BASE
    };

    Lossy of device for for_us = FaultSpec {
        name: "lossy",
        carrier: Carrier::Network,
        settings: &["for_s", "server", "request_lost", "reply_lost", "duplicated"],
        begins: "the network between {device} and {server} turns bad for {time}: {fates}",
        during: Some("{fate}"),
        ends: Some("the network of {device} is well again"),
        for_s: Range::new(2.0, 20.0),
        aim: Aim::Transaction,
        before_upload: true,
        draw: |draw| {
            let servers = [Server::Backend, Server::Both, Server::Service];
            Fault::Lossy {
                device: draw.device,
                server: draw.strength.server.unwrap_or_else(|| draw.pick(&servers)),
                request_lost: draw.strength.request_lost.percent(draw.rng),
                reply_lost: draw.strength.reply_lost.percent(draw.rng),
                duplicated: draw.strength.duplicated.percent(draw.rng),
                for_us: draw.for_us,
            }
        },
        simpler: one_fate_for_all_requests,
        ..BASE
    };

    StreamCut of device = FaultSpec {
        name: "stream-cut",
        carrier: Carrier::Network,
        end: End::AtOnce,
        settings: &[],
        begins: "the sync stream of {device} is cut in the middle of a line",
        hinders_us: Some(RECONNECT_US),
        draw: |draw| Fault::StreamCut { device: draw.device },
        ..BASE
    };

    HalfOpen of device for for_us = FaultSpec {
        name: "half-open",
        carrier: Carrier::Network,
        begins: "the sync stream of {device} goes silent for {time} without ending",
        during: Some("stream silent"),
        ends: Some("the silent stream of {device} is reset"),
        for_s: Range::new(5.0, 90.0),
        draw: |draw| Fault::HalfOpen { device: draw.device, for_us: draw.for_us },
        ..BASE
    };

    Crash of device for down_us = FaultSpec {
        name: "crash",
        end: End::ByItself,
        settings: &["for_s", "after_steps"],
        begins: "{device} will be killed{after_steps} and stay down for {time}",
        during: Some("killed"),
        armed: Some("will be killed"),
        shown_by_lifecycle: true,
        for_s: Range::new(0.1, 10.0),
        aim: Aim::Transaction,
        waits_us: CRASH_WAITS_US,
        app_down_us: Some(0),
        draw: |draw| Fault::Crash {
            device: draw.device,
            after_steps: draw.strength.after_steps.count(draw.rng),
            down_us: draw.for_us,
        },
        simpler: |fault| match *fault {
            Fault::Crash { device, after_steps, down_us } if after_steps > 0 => vec![
                Fault::Crash { device, after_steps: 0, down_us },
                Fault::Crash { device, after_steps: after_steps - 1, down_us },
            ],
            _ => Vec::new(),
        },
        ..BASE
    };

    Suspend of device for for_us = FaultSpec {
        name: "suspend",
        begins: "{device} falls asleep for {time}",
        during: Some("asleep"),
        ends: Some("{device} wakes up"),
        for_s: Range::new(5.0, 120.0),
        aim: Aim::Transaction,
        app_down_us: Some(0),
        draw: |draw| Fault::Suspend { device: draw.device, for_us: draw.for_us },
        ..BASE
    };

    TabClose of device for handover_us = FaultSpec {
        name: "tab-close",
        end: End::ByItself,
        begins: "on {device}, the tab that owns the connection is closed",
        during: Some("tab closed"),
        ends: Some("another tab of {device} takes over"),
        for_s: Range::new(0.0, 5.0),
        aim: Aim::Transaction,
        device_kinds: &[DeviceKind::Web],
        app_down_us: Some(0),
        draw: |draw| Fault::TabClose { device: draw.device, handover_us: draw.for_us },
        ..BASE
    };

    ClockJump of device = FaultSpec {
        name: "clock-jump",
        end: End::AtOnce,
        settings: &["by_s"],
        begins: "the clock of {device} jumps {by}",
        hinders_us: None,
        draw: |draw| Fault::ClockJump { device: draw.device, by_us: draw.strength.by_s.seconds(draw.rng) },
        ..BASE
    };

    WrongAudience of device for for_us = FaultSpec {
        name: "wrong-audience",
        carrier: Carrier::Tokens,
        needs_signing_key: true,
        begins: "for {time}, tokens that {device} fetches name another audience",
        during: Some("wrong audience"),
        ends: Some("{device} gets good tokens again"),
        for_s: Range::new(1.0, 10.0),
        draw: |draw| Fault::WrongAudience { device: draw.device, for_us: draw.for_us },
        ..BASE
    };

    BackendDown for for_us = FaultSpec {
        name: "backend-down",
        carrier: Carrier::Backend,
        worlds: OWN_SERVERS,
        begins: "the backend is killed and stays down for {time}",
        during: Some("backend down"),
        ends: Some("the backend is up again"),
        for_s: Range::new(0.5, 10.0),
        aim: Aim::Transaction,
        draw: |draw| Fault::BackendDown { for_us: draw.for_us },
        ..BASE
    };

    ServiceDown for for_us = FaultSpec {
        name: "service-down",
        carrier: Carrier::Service,
        worlds: OWN_SERVERS,
        begins: "the sync service is killed and stays down for {time}",
        during: Some("service down"),
        ends: Some("the sync service is up again"),
        for_s: Range::new(0.5, 10.0),
        draw: |draw| Fault::ServiceDown { for_us: draw.for_us },
        ..BASE
    };

    ServicePaused for for_us = FaultSpec {
        name: "service-paused",
        carrier: Carrier::Service,
        worlds: OWN_SERVERS,
        begins: "the sync service stops answering for {time}",
        during: Some("service paused"),
        ends: Some("the sync service goes on"),
        for_s: Range::new(1.0, 20.0),
        draw: |draw| Fault::ServicePaused { for_us: draw.for_us },
        ..BASE
    };

    ReplicationStalled for for_us = FaultSpec {
        name: "replication-stalled",
        carrier: Carrier::Replication,
        worlds: OWN_SERVERS,
        begins: "replication from the database to the sync service stands still for {time}",
        during: Some("replication stalled"),
        ends: Some("replication goes on"),
        for_s: Range::new(1.0, 20.0),
        draw: |draw| Fault::ReplicationStalled { for_us: draw.for_us },
        ..BASE
    };

    ReplicationCut for for_us = FaultSpec {
        name: "replication-cut",
        carrier: Carrier::Replication,
        worlds: OWN_SERVERS,
        begins: "the replication connection is cut, and the sync service takes {time} to connect again",
        during: Some("replication cut"),
        ends: Some("the sync service is connected to the database again"),
        // The official service was seen to need about 18 s.
        for_s: Range::new(17.0, 19.0),
        draw: |draw| Fault::ReplicationCut { for_us: draw.for_us },
        simpler: stalled_replication,
        ..BASE
    };

    SlotDropped for for_us = FaultSpec {
        name: "slot-dropped",
        carrier: Carrier::Replication,
        worlds: OWN_SERVERS,
        begins: "the replication slot is lost; the sync service takes a new snapshot {time} later",
        during: Some("slot lost"),
        ends: Some("the sync service follows the database again, from a new snapshot"),
        for_s: Range::new(0.5, 10.0),
        draw: |draw| Fault::SlotDropped { for_us: draw.for_us },
        simpler: stalled_replication,
        ..BASE
    };

    PostgresDown for for_us = FaultSpec {
        name: "postgres-down",
        carrier: Carrier::Database,
        worlds: OWN_SERVERS,
        begins: "the database is killed and stays down for {time}",
        during: Some("database down"),
        ends: Some("the database is up again"),
        for_s: Range::new(0.5, 15.0),
        aim: Aim::Transaction,
        draw: |draw| Fault::PostgresDown { for_us: draw.for_us },
        simpler: backend_down,
        ..BASE
    };

    PostgresPaused for for_us = FaultSpec {
        name: "postgres-paused",
        carrier: Carrier::Database,
        worlds: OWN_SERVERS,
        begins: "the database stops answering for {time}",
        during: Some("database paused"),
        ends: Some("the database goes on"),
        for_s: Range::new(0.5, 40.0),
        aim: Aim::Transaction,
        draw: |draw| Fault::PostgresPaused { for_us: draw.for_us },
        simpler: backend_down,
        ..BASE
    };

    BackendKilled of device for down_us = FaultSpec {
        name: "backend-killed",
        carrier: Carrier::Backend,
        end: End::ByItself,
        worlds: OWN_SERVERS,
        settings: &["for_s", "instant"],
        begins: "the backend is killed in the middle of an upload of {device}, {instant}, and stays down for {time}",
        during: Some("backend killed"),
        ends: Some("the backend is up again"),
        for_s: Range::new(0.5, 10.0),
        aim: Aim::Transaction,
        before_upload: true,
        waits_us: KILL_WAITS_US,
        draw: |draw| {
            let instants = [KillInstant::BeforeCommit, KillInstant::AfterCommit];
            Fault::BackendKilled {
                device: draw.device,
                instant: draw.strength.instant.unwrap_or_else(|| draw.pick(&instants)),
                down_us: draw.for_us,
            }
        },
        simpler: |fault| match *fault {
            Fault::BackendKilled { device, instant: KillInstant::AfterCommit, down_us } => vec![
                Fault::BackendKilled { device, instant: KillInstant::BeforeCommit, down_us },
                Fault::BackendDown { for_us: down_us },
            ],
            _ => backend_down(fault),
        },
        ..BASE
    };

    Compaction = FaultSpec {
        name: "compaction",
        carrier: Carrier::Service,
        end: End::AtOnce,
        worlds: OWN_SERVERS,
        settings: &[],
        begins: "the sync service compacts its buckets",
        hinders_us: None,
        draw: |_| Fault::Compaction,
        ..BASE
    };

    SyncConfigChanged for down_us = FaultSpec {
        name: "sync-config-changed",
        carrier: Carrier::Service,
        worlds: OWN_SERVERS,
        begins: "the sync service is stopped and, {time} later, started with a changed sync configuration: all buckets \
                 are new",
        during: Some("redeployed"),
        ends: Some("the sync service is up again, with the changed configuration"),
        for_s: Range::new(0.5, 5.0),
        draw: |draw| Fault::SyncConfigChanged { down_us: draw.for_us },
        simpler: service_down,
        ..BASE
    };

    KeyRotated for lag_us = FaultSpec {
        name: "key-rotated",
        carrier: Carrier::Backend,
        worlds: OWN_SERVERS,
        begins: "tokens are signed with a new key from now on{lag}",
        during: Some("new key unknown"),
        ends: Some("the sync service knows the new key"),
        for_s: Range::new(0.0, 30.0),
        draw: |draw| Fault::KeyRotated { lag_us: draw.for_us },
        ..BASE
    };

    ServerWrite = FaultSpec {
        name: "server-write",
        carrier: Carrier::Database,
        end: End::AtOnce,
        settings: &[],
        begins: "an administrator writes to the database, past the backend: {things} in one transaction",
        hinders_us: None,
        // What it writes is drawn later, with the plan's other transactions, in order of time.
        draw: |_| Fault::ServerWrite { intents: Vec::new() },
        ..BASE
    };

    StorageLost of device for down_us = FaultSpec {
        name: "storage-lost",
        end: End::ByItself,
        begins: "the storage of {device} is lost, and the app starts anew {time} later",
        during: Some("storage lost"),
        shown_by_lifecycle: true,
        new_installation: true,
        for_s: Range::new(0.5, 20.0),
        aim: Aim::Transaction,
        hinders_us: Some(RECONNECT_US),
        app_down_us: Some(FETCH_US),
        draw: |draw| Fault::StorageLost { device: draw.device, down_us: draw.for_us },
        simpler: |fault| match *fault {
            Fault::StorageLost { device, down_us } => vec![Fault::Crash { device, after_steps: 0, down_us }],
            _ => Vec::new(),
        },
        ..BASE
    };

    CopyRestored of device for down_us = FaultSpec {
        name: "copy-restored",
        end: End::ByItself,
        settings: &["for_s", "age_s"],
        begins: "a copy of the database of {device}, {age} old, takes its place, and the app starts {time} later",
        during: Some("copy restored"),
        shown_by_lifecycle: true,
        new_installation: true,
        for_s: Range::new(0.5, 20.0),
        aim: Aim::Transaction,
        hinders_us: Some(RECONNECT_US),
        app_down_us: Some(FETCH_US),
        draw: |draw| Fault::CopyRestored {
            device: draw.device,
            age_us: draw.strength.age_s.seconds(draw.rng).max(0) as u64,
            down_us: draw.for_us,
        },
        simpler: |fault| match *fault {
            Fault::CopyRestored { device, age_us, down_us } => vec![
                Fault::StorageLost { device, down_us },
                Fault::CopyRestored { device, age_us: age_us / 2, down_us },
            ],
            _ => Vec::new(),
        },
        ..BASE
    };

    Container for for_us = FaultSpec {
        name: "container",
        carrier: Carrier::Container,
        worlds: CONTAINERS,
        settings: &["for_s", "part", "how"],
        begins: "the container of the {part} {event}",
        during: Some("{part} {condition}"),
        ends: Some("the container of the {part} is well again"),
        for_s: Range::new(0.5, 10.0),
        draw: |draw| {
            use ContainerFault as How;
            // MongoDB is not in every stack, so a scenario that wants it has to name it.
            let parts = [StackPart::Backend, StackPart::Service, StackPart::Postgres, StackPart::Redis];
            Fault::Container {
                part: draw.strength.part.unwrap_or_else(|| draw.pick(&parts)),
                how: draw.strength.how.unwrap_or_else(|| {
                    draw.pick(&[How::Kill, How::Stop, How::Restart, How::Pause, How::Disconnect])
                }),
                for_us: draw.for_us,
            }
        },
        // Faults that the other worlds have as well.
        simpler: |fault| match *fault {
            Fault::Container { part: StackPart::Backend, .. } => backend_down(fault),
            Fault::Container { part: StackPart::Service, .. } => service_down(fault),
            Fault::Container { part: StackPart::Postgres, for_us, .. } => vec![Fault::PostgresDown { for_us }],
            _ => Vec::new(),
        },
        ..BASE
    };

    CacheFlushed = FaultSpec {
        name: "cache-flushed",
        carrier: Carrier::Cache,
        end: End::AtOnce,
        worlds: CONTAINERS,
        settings: &[],
        begins: "the cache forgets everything",
        hinders_us: None,
        draw: |_| Fault::CacheFlushed,
        ..BASE
    };
}

impl FaultName {
    /// Its row in the table.
    #[must_use]
    pub fn spec(self) -> &'static FaultSpec {
        &FAULTS[self as usize]
    }
}

impl Fault {
    /// The name that scenario files and reports use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.spec().name
    }
}

/// All requests meet the same fate, where some met one.
fn one_fate_for_all_requests(fault: &Fault) -> Vec<Fault> {
    let Fault::Lossy { device, server, request_lost, reply_lost, duplicated, for_us } = *fault else {
        return Vec::new();
    };
    let lossy = |(request_lost, reply_lost, duplicated), server| Fault::Lossy {
        device,
        server,
        request_lost,
        reply_lost,
        duplicated,
        for_us,
    };
    let fates = [(request_lost, (100, 0, 0)), (reply_lost, (0, 100, 0)), (duplicated, (0, 0, 100))];
    let drawn = fates.into_iter().filter(|(percent, _)| *percent > 0);
    drawn.flat_map(|(_, fate)| [lossy(fate, Server::Backend), lossy(fate, server)]).collect()
}

fn backend_down(fault: &Fault) -> Vec<Fault> {
    fault.time_us().map(|for_us| Fault::BackendDown { for_us }).into_iter().collect()
}

fn service_down(fault: &Fault) -> Vec<Fault> {
    fault.time_us().map(|for_us| Fault::ServiceDown { for_us }).into_iter().collect()
}

fn stalled_replication(fault: &Fault) -> Vec<Fault> {
    fault.time_us().map(|for_us| Fault::ReplicationStalled { for_us }).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete() {
        for (place, spec) in FAULTS.iter().enumerate() {
            assert_eq!(spec.fault as usize, place, "{}", spec.name);
            assert!(!spec.name.is_empty() && !spec.begins.is_empty() && !spec.worlds.is_empty(), "{:?}", spec.fault);
            let named: FaultName = serde_json::from_value(spec.name.into()).expect("scenario files use the name");
            assert_eq!(named, spec.fault);
            assert_eq!(spec.end == End::AtOnce, !spec.settings.contains(&"for_s"), "{}", spec.name);
            assert_eq!(spec.during.is_none(), spec.end == End::AtOnce, "{}", spec.name);
        }
    }

    #[test]
    fn each_row_draws_its_own_fault() {
        for spec in FAULTS {
            let mut rng = crate::seed::Seed(1).fork("fault", &[]);
            let strength = super::super::Strength::default_of(spec);
            let mut draw = super::super::Draw { rng: &mut rng, strength: &strength, device: 3, for_us: 7 };
            let mut fault = (spec.draw)(&mut draw);
            assert_eq!(fault.spec().fault, spec.fault);
            assert_eq!(fault.time_us().is_some(), spec.settings.contains(&"for_s"), "{}", spec.name);
            assert!(!spec.carrier.is_of_a_device() || fault.device() == Some(3), "{}", spec.name);
            assert_eq!(fault.device(), fault.device_mut().copied());
            assert_eq!(fault.time_us(), fault.time_us_mut().copied());
            assert!((spec.simpler)(&fault).iter().all(|simpler| *simpler != fault || fault.name() == "lossy"));
            // Plan files use the same name.
            let written = serde_json::to_value(&fault).expect("a fault can be written");
            let name = written.as_str().or_else(|| written.as_object()?.keys().next().map(String::as_str));
            assert_eq!(name, Some(spec.name));
        }
    }
}
