//! What a run found out about its scenarios, as the report says it.

use std::collections::BTreeMap;

use sim_core::checker::{CHECKERS, coverage, refusals};
use sim_core::promise::Claim;
use sim_core::run::{FailureKind, ScenarioRun};
use sim_core::scenario::Scenario;
use sim_core::verdict::{Class, Signature, Verdict};

use crate::campaign::{Failing, ScenarioResult};

/// The failure to show of a scenario: the most frequent signature, of equally frequent ones one of the worst class;
/// and of the plans that show it the one with the fewest operations.
pub(super) fn failure_to_show(result: &ScenarioResult) -> Option<(&Failing, Signature, Class)> {
    let mut counts: BTreeMap<(Class, &Signature), usize> = BTreeMap::new();
    for (signature, class) in result.failing.iter().flat_map(|failing| &failing.signatures) {
        *counts.entry((*class, signature)).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    let ((class, signature), _) = counts.into_iter().find(|(_, count)| *count == most)?;
    let plan = result
        .failing
        .iter()
        .filter(|failing| failing.signatures.iter().any(|(one, _)| one == signature))
        .min_by_key(|failing| (failing.plan.operations(), failing.index))?;
    Some((plan, signature.clone(), class))
}

/// The ways in which a scenario's plans failed, most frequent first.
fn failure_kinds(result: &ScenarioResult) -> Vec<FailureKind> {
    let mut plans: BTreeMap<(&Signature, Class), Vec<u32>> = BTreeMap::new();
    for failing in &result.failing {
        for (signature, class) in &failing.signatures {
            plans.entry((signature, *class)).or_default().push(failing.index);
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

/// The worst class of a scenario's failures.
pub(super) fn worst(result: &ScenarioResult) -> Option<Class> {
    result.failing.iter().flat_map(|failing| &failing.signatures).map(|(_, class)| *class).min()
}

/// One scenario of the report.
pub(super) fn summarize(
    scenario: &Scenario,
    result: &ScenarioResult,
    planned: u32,
    only: Option<&[&str]>,
    policy: &str,
) -> ScenarioRun {
    let (owed, not_owed): (Vec<Claim>, Vec<Claim>) =
        scenario.promises.claims.iter().partition(|claim| claim.is_owed_by(policy));
    let is_asked = |name: &str| only.is_none_or(|only| only.contains(&name));
    let mut verdict = result.verdict;
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
        class: None,
        conflicts: result.conflicts,
        overridden: result.overridden.clone(),
        occurred: result.occurred.clone(),
        checkers: result.checkers.clone(),
        anomalies: Vec::new(),
        unknown,
        not_run: None,
        latency_ms: result.latency.end_to_end(),
        hops_ms: result.latency.hops(),
        failed_plans: result.failed,
        failures: failure_kinds(result),
        shrunk: None,
    }
}
