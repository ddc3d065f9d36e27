//! A run in one sentence, and the words that every report explains it with.

use sim_core::run::{Run, ScenarioRun};
use sim_core::verdict::{Class, Verdict};

use crate::words::{count, counted, seconds};

/// How many claims came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) valid: u64,
    pub(crate) unknown: u64,
    pub(crate) invalid: u64,
    pub(crate) not_run: u64,
}

impl Tally {
    pub(crate) fn of(run: &Run) -> Self {
        let mut tally = Self::default();
        for scenario in &run.scenarios {
            match (scenario, scenario.verdict) {
                (ScenarioRun { not_run: Some(_), .. }, _) => tally.not_run += 1,
                (_, Verdict::Valid) => tally.valid += 1,
                (_, Verdict::Unknown) => tally.unknown += 1,
                (_, Verdict::Invalid) => tally.invalid += 1,
            }
        }
        tally
    }

    /// The greatest verdict of those that ran; `None` when none did.
    pub(crate) fn worst(self) -> Option<Verdict> {
        match self {
            Self { invalid: 1.., .. } => Some(Verdict::Invalid),
            Self { unknown: 1.., .. } => Some(Verdict::Unknown),
            Self { valid: 1.., .. } => Some(Verdict::Valid),
            _ => None,
        }
    }
}

/// The run in one sentence, without its figures: `10 of 27 claims did not hold`.
pub(crate) fn verdict_sentence(run: &Run) -> String {
    let tally = Tally::of(run);
    let judged = tally.valid + tally.unknown + tally.invalid;
    let claims = counted(judged, "claim", "claims");
    let mut parts = Vec::new();
    match (tally.invalid, tally.unknown) {
        (0, 0) if judged == 0 => parts.push("nothing was judged".to_owned()),
        (0, 0) => parts.push(format!("{claims} held")),
        (0, unknown) => {
            parts.push(format!("{} of {claims} held", count(tally.valid)));
            parts.push(format!("{} could not be judged", count(unknown)));
        }
        (invalid, unknown) => {
            parts.push(format!("{} of {claims} did not hold", count(invalid)));
            if unknown > 0 {
                parts.push(format!("{} could not be judged", count(unknown)));
            }
        }
    }
    parts.join(", ")
}

/// The figures that go with it: `2,431 plans, 61,000 operations, 9 h of simulated time`.
pub(crate) fn figures(run: &Run) -> String {
    let not_run = match Tally::of(run).not_run {
        0 => String::new(),
        some => format!("; {} did not run in this world", counted(some, "claim", "claims")),
    };
    format!(
        "{}, {}, {} of {}{not_run}",
        counted(run.totals.plans, "plan", "plans"),
        counted(run.totals.operations, "operation", "operations"),
        seconds(run.totals.simulated_seconds),
        time_name(run)
    )
}

/// Both, as one sentence.
pub(crate) fn sentence(run: &Run) -> String {
    let verdict = verdict_sentence(run);
    let comma = if verdict.contains(',') { "," } else { "" };
    format!("{verdict}{comma} in {}.", figures(run))
}

/// Whether clock and network are simulated.
pub(crate) fn is_simulated(run: &Run) -> bool {
    run.world == "deterministic"
}

fn time_name(run: &Run) -> &'static str {
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
            "from a local commit until it is applied on each other device; it tells of the simulated network and of time \
             spent offline, and is no measurement of PowerSync"
        }
        "embedded" => {
            "from a local commit until it is applied on each other device, in plan time: links are simulated and time spent \
             offline counts, servers take the time that they take; it is no measurement of PowerSync"
        }
        // The number is the harness's (`IDLE_STRETCH`); a test there holds both together.
        "containers" => {
            "from a local commit until it is applied on each other device, in plan time: links are simulated, time spent \
             offline counts, idle time is skipped, and containers take the time that they take. Devices bear with 120 \
             times as much silence on a stream as elsewhere; no other timer is scaled. It is no measurement of PowerSync"
        }
        "external" => {
            "from a local commit until it is applied on each other device, in plan time: links are simulated, time spent \
             offline counts, idle time is skipped, and the stack takes the time that it takes. Devices bear with 120 times \
             as much silence on a stream as elsewhere; no other timer is scaled. Uploads to a backend that leaves no notes \
             in the database's log pass one at a time, so that they wait for each other"
        }
        _ => "from a local commit until it is applied on each other device, as this world's stack showed it",
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
            "real client cores talked to servers that somebody else runs, with a simulated network before them; only rows of \
             the run's own are judged"
        }
        _ => "devices and servers ran in a world of this name",
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sim_core::run::Totals;

    use super::*;

    fn run(verdicts: &[Verdict], not_run: usize) -> Run {
        let judged = verdicts.iter().map(|verdict| ScenarioRun { verdict: *verdict, ..ScenarioRun::default() });
        let left =
            ScenarioRun { not_run: Some("fault".to_owned()), overridden: BTreeMap::new(), ..ScenarioRun::default() };
        Run {
            version: 1,
            seed: String::new(),
            world: "deterministic".to_owned(),
            app: String::new(),
            policy: String::new(),
            commit: String::new(),
            scenarios: judged.chain(std::iter::repeat_n(left, not_run)).collect(),
            totals: Totals { plans: 2431, operations: 61_000, simulated_seconds: 32_400.0, ..Totals::default() },
        }
    }

    #[test]
    fn the_sentence_never_hides_what_was_not_judged() {
        use Verdict::{Invalid, Unknown, Valid};
        let check = |verdicts: &[Verdict], not_run, expect: &str| {
            assert_eq!(verdict_sentence(&run(verdicts, not_run)), expect);
        };
        check(&[], 0, "nothing was judged");
        check(&[Valid], 0, "1 claim held");
        check(&[Valid, Valid], 1, "2 claims held");
        check(&[Valid, Unknown], 0, "1 of 2 claims held, 1 could not be judged");
        check(&[Valid, Unknown, Invalid], 0, "1 of 3 claims did not hold, 1 could not be judged");
        check(&[Invalid, Invalid], 2, "2 of 2 claims did not hold");
        check(&[], 3, "nothing was judged");
    }

    #[test]
    fn the_sentence_ends_with_its_figures() {
        let expect = "1 claim held in 2,431 plans, 61,000 operations, 9 h of simulated time.";
        assert_eq!(sentence(&run(&[Verdict::Valid], 0)), expect);
        let expect = "1 claim held in 2,431 plans, 61,000 operations, 9 h of simulated time; 2 claims did not run in this world.";
        assert_eq!(sentence(&run(&[Verdict::Valid], 2)), expect);
    }
}
