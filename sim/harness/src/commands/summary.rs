//! What a run found out about its scenarios, as the report says it.

use std::collections::BTreeMap;

use sim_core::checker::{CHECKERS, coverage, refusals};
use sim_core::promise::Claim;
use sim_core::run::{FailureKind, ScenarioRun};
use sim_core::scenario::Scenario;
use sim_core::verdict::{Class, Signature, Verdict};

use crate::campaign::ScenarioResult;

/// The ways in which a scenario's plans failed, most frequent first.
fn failure_kinds(result: &ScenarioResult) -> Vec<FailureKind> {
    let mut plans: BTreeMap<(&Signature, Class), Vec<u32>> = BTreeMap::new();
    for failing in &result.failing {
        for way in &failing.ways {
            plans.entry((&way.signature, way.class)).or_default().push(failing.index);
        }
    }
    let mut kinds: Vec<FailureKind> = plans
        .into_iter()
        .map(|((signature, class), plans)| FailureKind {
            checker: signature.checker.clone(),
            code: signature.code.clone(),
            role: signature.role.clone(),
            class,
            plans,
        })
        .collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.plans.len()));
    kinds
}

/// One scenario of the report. `invalid` is the worst class of the findings that break its claim.
pub(super) fn summarize(
    scenario: &Scenario,
    result: &ScenarioResult,
    invalid: Option<Class>,
    planned: u32,
    only: Option<&[&str]>,
    policy: &str,
) -> ScenarioRun {
    let (owed, not_owed): (Vec<Claim>, Vec<Claim>) =
        scenario.promises.claims.iter().partition(|claim| claim.is_owed_by(policy));
    let is_asked = |name: &str| only.is_none_or(|only| only.contains(&name));
    // What it met that is no matter of its own does not make it invalid.
    let mut verdict = match (invalid, result.unknown.is_empty()) {
        (Some(_), _) => Verdict::Invalid,
        (None, true) => Verdict::Valid,
        (None, false) => Verdict::Unknown,
    };
    let mut unknown: Vec<String> = result
        .unknown
        .iter()
        .flat_map(|(plan, why)| why.iter().map(move |why| format!("plan {plan}: {why}")))
        .collect();
    unknown.truncate(10);
    if result.plans < planned {
        unknown.push(format!("{} of {planned} plans ran", result.plans));
        verdict = verdict.max(Verdict::Unknown);
    }
    let unproven = refusals::why_nothing_is_proven(&scenario.promises, &result.occurred);
    let unproven = unproven.filter(|_| result.plans > 0 && verdict != Verdict::Invalid);
    let not_asked: Vec<&str> = CHECKERS.iter().map(|(name, _)| *name).filter(|name| !is_asked(name)).collect();
    if result.plans > 0 && !not_asked.is_empty() {
        unknown.push(format!("not judged, because --checkers leaves them out: {}", not_asked.join(", ")));
        verdict = verdict.max(Verdict::Unknown);
    }
    if result.plans > 0 && verdict == Verdict::Valid {
        let missing = coverage::missing(&scenario.promises.must_occur, &result.occurred);
        if !missing.is_empty() {
            verdict = Verdict::Unknown;
            unknown.extend(missing.into_iter().map(|missing| format!("vacuous: {missing}")));
        }
    }
    if let Some(why) = unproven {
        verdict = Verdict::Unknown;
        unknown.insert(0, why);
    }
    ScenarioRun {
        name: scenario.name.clone(),
        claim: scenario.claim.clone(),
        claims: owed.iter().filter(|_| result.plans > 0 && is_asked("claims")).map(|claim| claim.name()).collect(),
        not_owed: not_owed.iter().map(|claim| claim.name()).collect(),
        plans: result.plans,
        verdict,
        class: invalid,
        conflicts: result.conflicts,
        overridden: result.overridden.clone(),
        occurred: result.occurred.clone(),
        checkers: result.checkers.clone(),
        unknown,
        not_run: None,
        latency_ms: result.latency.end_to_end(),
        hops_ms: result.latency.hops(),
        failed_plans: result.failed,
        failures: failure_kinds(result),
    }
}
