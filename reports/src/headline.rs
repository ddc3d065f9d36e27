//! A run in one sentence: how many scenarios are valid, how many claims held, and its figures.

use sim_core::run::{Run, ScenarioRun};
use sim_core::verdict::Verdict;

use crate::explain::time_name;
use crate::words::{count, counted, seconds};

/// How many scenarios have which result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimCounts {
    /// Valid, with a claim that was judged by itself.
    pub(crate) held: u64,
    /// Valid by the checkers of every run, without a claim of its own.
    pub(crate) valid: u64,
    pub(crate) unknown: u64,
    pub(crate) invalid: u64,
    pub(crate) not_run: u64,
    /// Findings, whosever claims they break.
    pub(crate) findings: u64,
}

impl ClaimCounts {
    pub(crate) fn of(run: &Run) -> Self {
        let mut counts = Self { findings: run.findings.len() as u64, ..Self::default() };
        for scenario in &run.scenarios {
            match (scenario, scenario.verdict) {
                (ScenarioRun { not_run: Some(_), .. }, _) => counts.not_run += 1,
                (_, Verdict::Valid) if scenario.claims.is_empty() => counts.valid += 1,
                (_, Verdict::Valid) => counts.held += 1,
                (_, Verdict::Unknown) => counts.unknown += 1,
                (_, Verdict::Invalid) => counts.invalid += 1,
            }
        }
        counts
    }

    /// The worst verdict among the claims that ran; `None` when none ran.
    pub(crate) fn worst(self) -> Option<Verdict> {
        match self {
            Self { invalid: 1.., .. } | Self { findings: 1.., .. } => Some(Verdict::Invalid),
            Self { unknown: 1.., .. } => Some(Verdict::Unknown),
            Self { held: 0, valid: 0, .. } => None,
            _ => Some(Verdict::Valid),
        }
    }
}

/// The run in one sentence, without its figures: `10 of 27 scenarios invalid`.
pub(crate) fn verdict_sentence(run: &Run) -> String {
    let counts = ClaimCounts::of(run);
    let good = counts.held + counts.valid;
    let judged = good + counts.unknown + counts.invalid;
    let scenarios = counted(judged, "scenario", "scenarios");
    let mut parts = Vec::new();
    match (counts.invalid, counts.unknown) {
        (0, 0) if judged == 0 => parts.push("nothing was judged".to_owned()),
        (0, 0) if counts.valid == 0 => parts.push(format!("{} held", counted(judged, "claim", "claims"))),
        (0, 0) => parts.push(format!("{scenarios} valid")),
        (0, unknown) => {
            parts.push(format!("{} of {scenarios} valid", count(good)));
            parts.push(format!("{} could not be judged", count(unknown)));
        }
        (invalid, unknown) => {
            parts.push(format!("{} of {scenarios} invalid", count(invalid)));
            if unknown > 0 {
                parts.push(format!("{} could not be judged", count(unknown)));
            }
        }
    }
    if counts.findings > 0 {
        parts.insert(0, counted(counts.findings, "finding", "findings"));
    }
    if counts.held > 0 && counts.valid > 0 && counts.invalid == 0 {
        parts.push(format!("{} held", counted(counts.held, "claim", "claims")));
    }
    parts.join(", ")
}

/// The figures of the run: `2,431 plans, 61,000 operations, 9 h of simulated time`.
pub(crate) fn figures(run: &Run) -> String {
    let not_run = match ClaimCounts::of(run).not_run {
        0 => String::new(),
        some => format!("; {} did not run in this world", counted(some, "scenario", "scenarios")),
    };
    format!(
        "{}, {}, {} of {}{not_run}",
        counted(run.totals.plans, "plan", "plans"),
        counted(run.totals.operations, "operation", "operations"),
        seconds(run.totals.simulated_seconds),
        time_name(run)
    )
}

/// Verdict and figures in one sentence.
pub(crate) fn sentence(run: &Run) -> String {
    let verdict = verdict_sentence(run);
    let comma = if verdict.contains(',') { "," } else { "" };
    format!("{verdict}{comma} in {}.", figures(run))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sim_core::run::Totals;

    use super::*;

    fn run(verdicts: &[Verdict], not_run: usize) -> Run {
        let judged = verdicts.iter().map(|verdict| ScenarioRun {
            verdict: *verdict,
            claims: vec!["counters-exact"],
            ..ScenarioRun::default()
        });
        let left =
            ScenarioRun { not_run: Some("fault".to_owned()), overridden: BTreeMap::new(), ..ScenarioRun::default() };
        Run {
            version: 1,
            seed: String::new(),
            world: "deterministic".to_owned(),
            app: String::new(),
            policy: String::new(),
            commit: String::new(),
            findings: Vec::new(),
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
        check(&[Valid, Unknown], 0, "1 of 2 scenarios valid, 1 could not be judged");
        check(&[Valid, Unknown, Invalid], 0, "1 of 3 scenarios invalid, 1 could not be judged");
        check(&[Invalid, Invalid], 2, "2 of 2 scenarios invalid");
        check(&[], 3, "nothing was judged");
    }

    #[test]
    fn a_scenario_without_a_claim_of_its_own_holds_none() {
        let mut some = run(&[Verdict::Valid, Verdict::Valid], 0);
        some.scenarios[0].claims.clear();
        assert_eq!(verdict_sentence(&some), "2 scenarios valid, 1 claim held");
        some.scenarios[1].claims.clear();
        assert_eq!(verdict_sentence(&some), "2 scenarios valid");
    }

    #[test]
    fn the_sentence_ends_with_its_figures() {
        let expect = "1 claim held in 2,431 plans, 61,000 operations, 9 h of simulated time.";
        assert_eq!(sentence(&run(&[Verdict::Valid], 0)), expect);
        let expect = "1 claim held in 2,431 plans, 61,000 operations, 9 h of simulated time; 2 scenarios did not run in this world.";
        assert_eq!(sentence(&run(&[Verdict::Valid], 2)), expect);
    }
}
