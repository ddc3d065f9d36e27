//! Faults in plain words: what begins, what ends, what holds meanwhile.
//!
//! The words are in the table of faults ([`sim_core::fault`]); here its parameters are filled in.

use sim_core::fault::{Carrier, ContainerFault, Direction, End, Fault, KillInstant, Server, StackPart};

use crate::words::{device_name, duration};

/// The line of the diagram that a fault is drawn on. Faults of the database show at the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lifeline {
    Device(u32),
    Backend,
    Service,
}

/// The line that the fault is drawn on.
pub(crate) fn lifeline(fault: &Fault) -> Lifeline {
    match fault.spec().carrier {
        Carrier::Device | Carrier::Network | Carrier::Tokens => {
            fault.device().map_or(Lifeline::Service, Lifeline::Device)
        }
        Carrier::Backend | Carrier::Database | Carrier::Cache => Lifeline::Backend,
        Carrier::Service | Carrier::Replication => Lifeline::Service,
        Carrier::Container => match fault {
            Fault::Container { part: StackPart::Service | StackPart::Mongodb, .. } => Lifeline::Service,
            _ => Lifeline::Backend,
        },
    }
}

/// What holds while the fault lasts, in two or three words; `None` for one that is over at once.
pub(crate) fn state(fault: &Fault) -> Option<String> {
    let during = fault.spec().during.filter(|_| fault.end() != End::AtOnce)?;
    Some(filled(during, fault))
}

/// A sentence for the moment at which the fault strikes.
pub(crate) fn begins(fault: &Fault) -> String {
    filled(fault.spec().begins, fault)
}

/// A sentence for the moment at which the fault ends; `None` for one that was over at once.
pub(crate) fn ends(fault: &Fault) -> Option<String> {
    let ends = fault.spec().ends.filter(|_| fault.end() != End::AtOnce)?;
    Some(filled(ends, fault))
}

/// The text with its parameters, `{device}`, filled in.
fn filled(text: &str, fault: &Fault) -> String {
    let mut filled = String::new();
    for (place, part) in text.split(['{', '}']).enumerate() {
        if place % 2 == 0 {
            filled.push_str(part);
        } else {
            filled.push_str(&parameter(part, fault).unwrap_or_else(|| "?".to_owned()));
        }
    }
    filled
}

/// A parameter of the fault in words; `None` if it has no such parameter.
fn parameter(name: &str, fault: &Fault) -> Option<String> {
    let time = fault.time_us().map(duration);
    let text = match (name, fault) {
        ("device", _) => device_name(fault.device()?),
        ("time", _) => time?,
        ("server", Fault::Partition { from: server, .. } | Fault::Lossy { server, .. }) => {
            server_name(*server).to_owned()
        }
        ("servers", Fault::Partition { from, .. }) => short_server(*from).to_owned(),
        ("direction", Fault::Partition { direction, .. }) => match direction {
            Direction::Up => "cannot send to".to_owned(),
            Direction::Down => "hears nothing from".to_owned(),
            Direction::Both => "cut off from".to_owned(),
        },
        ("silence", Fault::Partition { device, from, direction, .. }) => {
            let (device, server) = (device_name(*device), server_name(*from));
            match direction {
                Direction::Up => format!("nothing that {device} sends reaches {server}"),
                Direction::Down => format!("nothing from {server} reaches {device}"),
                Direction::Both => format!("nothing passes between {device} and {server}"),
            }
        }
        ("latency", Fault::Slow { latency_us, .. }) => duration(*latency_us),
        ("fates", Fault::Lossy { request_lost, reply_lost, duplicated, .. }) => {
            let fates = [
                (*request_lost, "requests are lost"),
                (*reply_lost, "replies are lost after the server acted"),
                (*duplicated, "requests arrive twice"),
            ];
            let fates = fates.iter().filter(|(percent, _)| *percent > 0);
            fates.map(|(percent, fate)| format!("{percent} % of its {fate}")).collect::<Vec<_>>().join(", ")
        }
        ("fate", Fault::Lossy { request_lost, reply_lost, duplicated, .. }) => {
            let greatest = request_lost.max(reply_lost).max(duplicated);
            let fate = if reply_lost == greatest {
                "losing replies"
            } else if request_lost == greatest {
                "losing requests"
            } else {
                "doubling requests"
            };
            fate.to_owned()
        }
        ("after_steps", Fault::Crash { after_steps, .. }) => match after_steps {
            0 => String::new(),
            1 => " after 1 more step".to_owned(),
            steps => format!(" after {steps} more steps"),
        },
        ("by", Fault::ClockJump { by_us, .. }) => {
            let direction = if *by_us < 0 { "back" } else { "ahead" };
            format!("{} {direction}", duration(by_us.unsigned_abs()))
        }
        ("instant", Fault::BackendKilled { instant, .. }) => match instant {
            KillInstant::BeforeCommit => "before it commits".to_owned(),
            KillInstant::AfterCommit => "after it has committed and before it replies".to_owned(),
        },
        ("age", Fault::CopyRestored { age_us, .. }) => duration(*age_us),
        ("lag", Fault::KeyRotated { lag_us: 0 }) => String::new(),
        ("lag", Fault::KeyRotated { .. }) => format!(", and the sync service learns of it {} later", time?),
        ("part", Fault::Container { part, .. }) => part_name(*part).to_owned(),
        ("event", Fault::Container { how, .. }) => {
            let time = time?;
            match how {
                ContainerFault::Kill => format!("is killed and stays down for {time}"),
                ContainerFault::Stop => format!("is stopped and stays down for {time}"),
                ContainerFault::Restart => "is restarted".to_owned(),
                ContainerFault::Pause => format!("is paused for {time}"),
                ContainerFault::Disconnect => format!("is cut off from the network for {time}"),
            }
        }
        ("condition", Fault::Container { how, .. }) => match how {
            ContainerFault::Pause => "paused".to_owned(),
            ContainerFault::Disconnect => "unreachable".to_owned(),
            ContainerFault::Kill | ContainerFault::Stop | ContainerFault::Restart => "down".to_owned(),
        },
        ("things", Fault::ServerWrite { intents }) => match intents.len() {
            1 => "one thing".to_owned(),
            several => format!("{several} things"),
        },
        _ => return None,
    };
    Some(text)
}

fn part_name(part: StackPart) -> &'static str {
    match part {
        StackPart::Backend => "backend",
        StackPart::Service => "sync service",
        StackPart::Postgres => "database",
        StackPart::Redis => "cache",
        StackPart::Mongodb => "bucket storage",
    }
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
    use sim_core::fault::{FAULTS, FaultName};

    use super::*;

    #[test]
    fn faults_are_put_into_words() {
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
            Fault::BackendKilled { device: 1, instant: KillInstant::AfterCommit, down_us: 2_000_000 },
            "the backend is killed in the middle of an upload of device 1, after it has committed and before it \
             replies, and stays down for 2 s",
            Some("backend killed"),
            Some("the backend is up again"),
        );
        check(Fault::Compaction, "the sync service compacts its buckets", None, None);
    }
    #[test]
    fn every_parameter_in_the_table_has_words() {
        for spec in FAULTS {
            let fault = sample(spec.fault);
            let texts = [Some(spec.begins), spec.during, spec.ends];
            for text in texts.into_iter().flatten() {
                let filled = filled(text, &fault);
                assert!(!filled.contains(['{', '}', '?']), "{}: {filled}", spec.name);
            }
        }
    }

    /// A fault of this name, from a plan file.
    fn sample(name: FaultName) -> Fault {
        let all = serde_json::json!({
            "device": 1, "for_us": 1000, "down_us": 1000, "handover_us": 1000, "lag_us": 1000, "age_us": 1000,
            "from": "both", "direction": "up", "server": "both", "request_lost": 1, "reply_lost": 2, "duplicated": 3,
            "latency_us": 1000, "jitter_us": 0, "bandwidth": 0, "after_steps": 2, "by_us": -5, "instant": "before-commit",
            "part": "redis", "how": "pause", "intents": [],
        });
        let mut fields = all.as_object().expect("an object").clone();
        let name = name.spec().name;
        loop {
            let written = if fields.is_empty() { name.into() } else { serde_json::json!({ name: fields }) };
            match serde_json::from_value(written) {
                Ok(fault) => return fault,
                // Fields that the fault does not have are named in the error, one at a time.
                Err(error) => {
                    let error = error.to_string();
                    let field = error.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
                    match field {
                        Some(field) => drop(fields.remove(field)),
                        None => fields.clear(),
                    }
                }
            }
        }
    }
}
