//! Words with which several reports explain a run to people.

use sim_core::run::{FindingRun, MetIn, Run, ScenarioRun, Shrunk};
use sim_core::verdict::Class;

use crate::words::{counted, visible};

/// Whether clock and network are simulated.
pub(crate) fn is_simulated(run: &Run) -> bool {
    run.world == "deterministic"
}

/// What the duration of plans is called.
pub(crate) fn time_name(run: &Run) -> &'static str {
    if is_simulated(run) { "simulated time" } else { "plan time" }
}

/// What the latency figures are called.
pub(crate) fn latency_title(run: &Run) -> &'static str {
    if is_simulated(run) { "simulated latency" } else { "latency" }
}

/// What the latency figures are, and what they are not.
pub(crate) fn latency_note(run: &Run) -> &'static str {
    match run.world.as_str() {
        "deterministic" => {
            "from a local commit until it is applied on each other device; it reflects the simulated network and time \
             spent offline, and is no measurement of PowerSync"
        }
        "embedded" => {
            "from a local commit until it is applied on each other device, in plan time: links are simulated, time spent offline \
             counts, and servers run at their own speed; it is no measurement of PowerSync"
        }
        // The number is the harness's (`IDLE_STRETCH`); a test there holds both together.
        "containers" => {
            "from a local commit until it is applied on each other device, in plan time: links are simulated, time spent \
             offline counts, idle time is skipped, and containers run at their own speed. Devices accept 120 \
             times as much silence on a stream as elsewhere; no other timer is scaled. It is no measurement of PowerSync"
        }
        "external" => {
            "from a local commit until it is applied on each other device, in plan time: links are simulated, time spent \
             offline counts, idle time is skipped, and the stack runs at its own speed. Devices accept 120 times \
             as much silence on a stream as elsewhere; no other timer is scaled. Uploads to a backend that writes no notes \
             to the database's log are sent one at a time, so they wait for each other"
        }
        _ => "from a local commit until it is applied on each other device, as this world's stack showed it",
    }
}

/// What judged a scenario's own sentence, in one sentence.
pub(crate) fn what_judged(scenario: &ScenarioRun) -> String {
    if scenario.not_run.is_some() {
        return "It did not run, so nothing was judged.".to_owned();
    }
    let judged = match &scenario.claims[..] {
        [] => "No claim of its own was judged: valid means that every checker held.".to_owned(),
        claims => format!("Claims judged: {}.", claims.join(", ")),
    };
    match &scenario.not_owed[..] {
        [] => judged,
        not_owed => format!("{judged} Not promised by this policy, and so not judged: {}.", not_owed.join(", ")),
    }
}

/// What a world is made of, for newcomers.
pub(crate) fn world_words(world: &str) -> &'static str {
    match world {
        "deterministic" => {
            "everything ran in one process: real client cores on real SQLite databases, with a simulated network and a \
             simulated clock, so that the same seed gives the same history again"
        }
        "embedded" => {
            "real client cores talked over the loopback network to a private PostgreSQL, a sync service and an upload \
             backend, each a process of its own"
        }
        "containers" => {
            "real client cores talked to the deployment itself: PostgreSQL, the sync service and the backend in containers"
        }
        "external" => {
            "real client cores talked to servers that somebody else runs, with a simulated network before them; only \
             the run's own rows are judged"
        }
        _ => "devices and servers ran in this world",
    }
}

/// The kind of promise that was broken.
pub(crate) fn class_name(class: Class) -> &'static str {
    match class {
        Class::Safety => "safety",
        Class::Liveness => "liveness",
        Class::Latency => "latency",
    }
}

/// The findings that break the claim of a scenario, with their numbers from 1.
pub(crate) fn findings_that_break<'r>(run: &'r Run, scenario: &str) -> Vec<(usize, &'r FindingRun)> {
    let breaks = |finding: &FindingRun| finding.breaks.iter().any(|met| met.scenario == scenario);
    (1..).zip(&run.findings).filter(|(_, finding)| breaks(finding)).collect()
}

/// How many findings a scenario met that are no matter of its own.
pub(crate) fn findings_met(run: &Run, scenario: &str) -> usize {
    run.findings.iter().filter(|finding| finding.met_in.iter().any(|met| met.scenario == scenario)).count()
}

/// `durability/wrong-winner of notes.title`.
pub(crate) fn finding_name(finding: &FindingRun) -> String {
    const MOST: usize = 4;
    let mut roles: Vec<String> =
        finding.roles.iter().filter(|role| !role.is_empty()).take(MOST).map(|role| visible(role)).collect();
    if finding.roles.len() > MOST {
        roles.push(format!("{} more", finding.roles.len() - MOST));
    }
    let of = if roles.is_empty() { String::new() } else { format!(" of {}", roles.join(", ")) };
    format!("{}/{}{of}", visible(&finding.checker), visible(&finding.code))
}

/// `same-field (3 plans), reference (1 plan)`, those with most plans first.
pub(crate) fn met_words(met: &[MetIn]) -> String {
    const MOST: usize = 6;
    let mut met: Vec<&MetIn> = met.iter().collect();
    met.sort_by_key(|met| std::cmp::Reverse(met.plans));
    let one = |met: &&MetIn| format!("{} ({})", visible(&met.scenario), counted(met.plans as u64, "plan", "plans"));
    let mut words: Vec<String> = met.iter().take(MOST).map(one).collect();
    if met.len() > MOST {
        words.push(counted((met.len() - MOST) as u64, "other scenario", "other scenarios"));
    }
    words.join(", ")
}

/// `1 operation, 2 faults, 2 devices`.
pub(crate) fn shrunk_size(shrunk: &Shrunk) -> String {
    format!(
        "{}, {}, {}",
        counted(shrunk.operations as u64, "operation", "operations"),
        counted(shrunk.faults as u64, "fault", "faults"),
        counted(shrunk.devices as u64, "device", "devices")
    )
}

/// The command that replays what is stored in a folder or file.
#[must_use]
pub fn replay_command(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    let path = visible(path);
    if !path.is_empty() && path.chars().all(plain) {
        format!("syncstorm replay {path}")
    } else {
        format!("syncstorm replay '{}'", path.replace('\'', r"'\''"))
    }
}
