//! Faults in plain words: what begins, what ends, what a device is meanwhile.

use sim_core::plan::{Befalls, Direction, Fault, Instant, Part, Server};

use crate::words::{device_name, duration};

/// What a fault strikes. Of the database, the backend shows what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Device(u32),
    Backend,
    Service,
}

/// What the fault strikes.
pub(crate) fn target(fault: &Fault) -> Target {
    match fault {
        Fault::BackendDown { .. }
        | Fault::BackendKilled { .. }
        | Fault::PostgresDown { .. }
        | Fault::PostgresPaused { .. }
        | Fault::KeyRotated { .. }
        | Fault::Container { part: Part::Backend | Part::Postgres | Part::Redis, .. }
        | Fault::CacheFlushed
        | Fault::ServerWrite { .. } => Target::Backend,
        Fault::ServiceDown { .. } | Fault::ServicePaused { .. } | Fault::ReplicationStalled { .. } => Target::Service,
        other => other.device().map_or(Target::Service, Target::Device),
    }
}

/// What holds while the fault lasts, in two or three words; `None` for one that is over at once.
pub(crate) fn state(fault: &Fault) -> Option<String> {
    let text = match fault {
        Fault::Offline { .. } => "offline",
        Fault::Partition { from, direction, .. } => {
            let way = match direction {
                Direction::Up => "cannot send to",
                Direction::Down => "hears nothing from",
                Direction::Both => "cut off from",
            };
            return Some(format!("{way} {}", short_server(*from)));
        }
        Fault::Slow { .. } => "slow network",
        Fault::Lossy { request_lost, reply_lost, duplicated, .. } => {
            let greatest = *request_lost.max(reply_lost).max(duplicated);
            if *reply_lost == greatest {
                "losing replies"
            } else if *request_lost == greatest {
                "losing requests"
            } else {
                "doubling requests"
            }
        }
        Fault::HalfOpen { .. } => "stream silent",
        Fault::Crash { .. } => "killed",
        Fault::Suspend { .. } => "asleep",
        Fault::TabClose { .. } => "tab closed",
        Fault::WrongAudience { .. } => "wrong audience",
        Fault::BackendDown { .. } => "backend down",
        Fault::ServiceDown { .. } => "service down",
        Fault::ServicePaused { .. } => "service paused",
        Fault::ReplicationStalled { .. } => "replication stalled",
        Fault::ReplicationCut { .. } => "replication cut",
        Fault::SlotDropped { .. } => "slot lost",
        Fault::PostgresDown { .. } => "database down",
        Fault::PostgresPaused { .. } => "database paused",
        Fault::BackendKilled { .. } => "backend killed",
        Fault::SyncConfigChanged { .. } => "redeployed",
        Fault::StorageLost { .. } => "storage lost",
        Fault::CopyRestored { .. } => "copy restored",
        Fault::KeyRotated { .. } => "new key unknown",
        Fault::Container { how: Befalls::Restart, .. } => return None,
        Fault::Container { part, how, .. } => {
            return Some(match how {
                Befalls::Pause => format!("{} paused", part_name(*part)),
                Befalls::Disconnect => format!("{} unreachable", part_name(*part)),
                _ => format!("{} down", part_name(*part)),
            });
        }
        Fault::StreamCut { .. }
        | Fault::ClockJump { .. }
        | Fault::Compaction
        | Fault::CacheFlushed
        | Fault::ServerWrite { .. } => return None,
    };
    Some(text.to_owned())
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Backend => "backend",
        Part::Service => "sync service",
        Part::Postgres => "database",
        Part::Redis => "cache",
        Part::Mongodb => "bucket storage",
    }
}

/// A sentence for the moment at which the fault strikes.
pub(crate) fn begins(fault: &Fault) -> String {
    match fault {
        Fault::Offline { device, for_us } => format!("{} goes offline for {}", device_name(*device), duration(*for_us)),
        Fault::Partition { device, from, direction, for_us } => {
            let device = device_name(*device);
            let (server, long) = (server_name(*from), duration(*for_us));
            match direction {
                Direction::Up => {
                    format!("for {long}, nothing that {device} sends reaches {server}, and nobody is told")
                }
                Direction::Down => format!("for {long}, nothing from {server} reaches {device}, and nobody is told"),
                Direction::Both => {
                    format!("for {long}, nothing passes between {device} and {server}, and nobody is told")
                }
            }
        }
        Fault::Slow { device, latency_us, for_us, .. } => {
            let (added, long) = (duration(*latency_us), duration(*for_us));
            format!("the network of {} slows down by {added} a message for {long}", device_name(*device))
        }
        Fault::Lossy { device, server, request_lost, reply_lost, duplicated, for_us } => {
            let fates = [
                (*request_lost, "requests are lost"),
                (*reply_lost, "replies are lost after the server acted"),
                (*duplicated, "requests arrive twice"),
            ];
            let fates: Vec<String> = fates
                .iter()
                .filter(|(percent, _)| *percent > 0)
                .map(|(percent, fate)| format!("{percent} % of its {fate}"))
                .collect();
            let device = device_name(*device);
            format!(
                "the network between {device} and {} turns bad for {}: {}",
                server_name(*server),
                duration(*for_us),
                fates.join(", ")
            )
        }
        Fault::StreamCut { device } => {
            format!("the sync stream of {} is cut in the middle of a line", device_name(*device))
        }
        Fault::HalfOpen { device, for_us } => {
            let device = device_name(*device);
            format!("the sync stream of {device} goes silent for {} without ending", duration(*for_us))
        }
        Fault::Crash { device, after_steps, down_us } => {
            let when = match after_steps {
                0 => String::new(),
                1 => " after 1 more step".to_owned(),
                steps => format!(" after {steps} more steps"),
            };
            format!("{} will be killed{when} and stay down for {}", device_name(*device), duration(*down_us))
        }
        Fault::Suspend { device, for_us } => format!("{} falls asleep for {}", device_name(*device), duration(*for_us)),
        Fault::TabClose { device, .. } => {
            format!("on {}, the tab that owns the connection is closed", device_name(*device))
        }
        Fault::ClockJump { device, by_us } => {
            let way = if *by_us < 0 { "back" } else { "ahead" };
            format!("the clock of {} jumps {} {way}", device_name(*device), duration(by_us.unsigned_abs()))
        }
        Fault::WrongAudience { device, for_us } => {
            let device = device_name(*device);
            format!("for {}, tokens that {device} fetches name another audience", duration(*for_us))
        }
        Fault::BackendDown { for_us } => format!("the backend is killed and stays down for {}", duration(*for_us)),
        Fault::ServiceDown { for_us } => format!("the sync service is killed and stays down for {}", duration(*for_us)),
        Fault::ServicePaused { for_us } => format!("the sync service stops answering for {}", duration(*for_us)),
        Fault::ReplicationStalled { for_us } => {
            format!("replication from the database to the sync service stands still for {}", duration(*for_us))
        }
        Fault::ReplicationCut { for_us } => format!(
            "the replication connection is cut, and the sync service takes {} to connect again",
            duration(*for_us)
        ),
        Fault::SlotDropped { for_us } => format!(
            "the replication slot is lost; the sync service takes a new snapshot {} later",
            duration(*for_us)
        ),
        Fault::PostgresDown { for_us } => format!("the database is killed and stays down for {}", duration(*for_us)),
        Fault::PostgresPaused { for_us } => format!("the database stops answering for {}", duration(*for_us)),
        Fault::BackendKilled { device, instant, down_us } => {
            let instant = match instant {
                Instant::BeforeCommit => "before it commits",
                Instant::AfterCommit => "after it has committed and before it replies",
            };
            let (device, long) = (device_name(*device), duration(*down_us));
            format!("the backend is killed in the middle of an upload of {device}, {instant}, and stays down for {long}")
        }
        Fault::Compaction => "the sync service compacts its buckets".to_owned(),
        Fault::CopyRestored { device, age_us, down_us } => format!(
            "a copy of the database of {}, {} old, takes its place, and the app starts {} later",
            device_name(*device),
            duration(*age_us),
            duration(*down_us)
        ),
        Fault::StorageLost { device, down_us } => {
            format!("the storage of {} is lost, and the app starts anew {} later", device_name(*device), duration(*down_us))
        }
        Fault::SyncConfigChanged { down_us } => format!(
            "the sync service is stopped and, {} later, started with a changed sync configuration: all buckets are new",
            duration(*down_us)
        ),
        Fault::KeyRotated { lag_us: 0 } => "tokens are signed with a new key from now on".to_owned(),
        Fault::KeyRotated { lag_us } => format!(
            "tokens are signed with a new key from now on, and the sync service learns of it {} later",
            duration(*lag_us)
        ),
        Fault::CacheFlushed => "the cache forgets everything".to_owned(),
        Fault::Container { part, how, for_us } => {
            let (part, long) = (part_name(*part), duration(*for_us));
            match how {
                Befalls::Kill => format!("the container of the {part} is killed and stays down for {long}"),
                Befalls::Stop => format!("the container of the {part} is stopped and stays down for {long}"),
                Befalls::Restart => format!("the container of the {part} is restarted"),
                Befalls::Pause => format!("the container of the {part} is paused for {long}"),
                Befalls::Disconnect => format!("the container of the {part} is cut off from the network for {long}"),
            }
        }
        Fault::ServerWrite { intents } => {
            let things = if intents.len() == 1 { "one thing".to_owned() } else { format!("{} things", intents.len()) };
            format!("an administrator writes to the database, past the backend: {things} in one transaction")
        }
    }
}

/// A sentence for the moment at which the fault is undone; `None` for one that was over at once.
pub(crate) fn ends(fault: &Fault) -> Option<String> {
    let device = fault.device().map(device_name).unwrap_or_default();
    let text = match fault {
        Fault::Offline { .. } => format!("{device} is online again"),
        Fault::Partition { from, .. } => format!("{device} reaches {} again", server_name(*from)),
        Fault::Slow { .. } | Fault::Lossy { .. } => format!("the network of {device} is well again"),
        Fault::HalfOpen { .. } => format!("the silent stream of {device} is reset"),
        Fault::Suspend { .. } => format!("{device} wakes up"),
        Fault::TabClose { .. } => format!("another tab of {device} takes over"),
        Fault::WrongAudience { .. } => format!("{device} gets good tokens again"),
        Fault::BackendDown { .. } => "the backend is up again".to_owned(),
        Fault::ServiceDown { .. } => "the sync service is up again".to_owned(),
        Fault::ServicePaused { .. } => "the sync service goes on".to_owned(),
        Fault::ReplicationStalled { .. } => "replication goes on".to_owned(),
        Fault::ReplicationCut { .. } => "the sync service is connected to the database again".to_owned(),
        Fault::SlotDropped { .. } => "the sync service follows the database again, from a new snapshot".to_owned(),
        Fault::PostgresDown { .. } => "the database is up again".to_owned(),
        Fault::PostgresPaused { .. } => "the database goes on".to_owned(),
        Fault::BackendKilled { .. } => "the backend is up again".to_owned(),
        Fault::SyncConfigChanged { .. } => "the sync service is up again, with the changed configuration".to_owned(),
        Fault::KeyRotated { .. } => "the sync service knows the new key".to_owned(),
        Fault::Container { how: Befalls::Restart, .. } => return None,
        Fault::Container { part, .. } => format!("the container of the {} is well again", part_name(*part)),
        Fault::StreamCut { .. }
        | Fault::ClockJump { .. }
        | Fault::CacheFlushed
        | Fault::Crash { .. }
        | Fault::StorageLost { .. }
        | Fault::CopyRestored { .. }
        | Fault::Compaction
        | Fault::ServerWrite { .. } => return None,
    };
    Some(text)
}

fn server_name(server: Server) -> &'static str {
    match server {
        Server::Service => "the sync service",
        Server::Backend => "the backend",
        Server::Both => "either server",
    }
}

fn short_server(server: Server) -> &'static str {
    match server {
        Server::Service => "service",
        Server::Backend => "backend",
        Server::Both => "servers",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told() {
        let check = |fault: Fault, begin: &str, during: Option<&str>, end: Option<&str>| {
            assert_eq!(begins(&fault), begin);
            assert_eq!(state(&fault).as_deref(), during);
            assert_eq!(ends(&fault).as_deref(), end);
        };
        check(
            Fault::Offline { device: 1, for_us: 20_000_000 },
            "device 1 goes offline for 20 s",
            Some("offline"),
            Some("device 1 is online again"),
        );
        check(
            Fault::Lossy {
                device: 0,
                server: Server::Backend,
                request_lost: 0,
                reply_lost: 100,
                duplicated: 5,
                for_us: 1_000_000,
            },
            "the network between device 0 and the backend turns bad for 1 s: 100 % of its replies are lost after the \
             server acted, 5 % of its requests arrive twice",
            Some("losing replies"),
            Some("the network of device 0 is well again"),
        );
        check(
            Fault::ClockJump { device: 2, by_us: -3_600_000_000 },
            "the clock of device 2 jumps 1 h back",
            None,
            None,
        );
        check(
            Fault::Partition { device: 0, from: Server::Service, direction: Direction::Down, for_us: 90_000_000 },
            "for 1 min 30 s, nothing from the sync service reaches device 0, and nobody is told",
            Some("hears nothing from service"),
            Some("device 0 reaches the sync service again"),
        );
        check(
            Fault::BackendKilled { device: 1, instant: Instant::AfterCommit, down_us: 2_000_000 },
            "the backend is killed in the middle of an upload of device 1, after it has committed and before it \
             replies, and stays down for 2 s",
            Some("backend killed"),
            Some("the backend is up again"),
        );
        check(Fault::Compaction, "the sync service compacts its buckets", None, None);
    }
}
